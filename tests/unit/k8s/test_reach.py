"""Who reaches whom: the internet little, pods exactly whom the design says."""

import pytest

import web_app
import webhook_app
from settings import Settings
from tests.unit.k8s.cluster import NAME, cluster

#: Ports that nothing outside may reach, and paths.
INSIDE = {4222, 6222, 8222, 6379, 8123, 9000, 9464, 5432}
PROBES = {"/health", "/health/live", "/health/ready"}

_ALL = {"nats": 4222, "dragonfly": 6379, "clickhouse": 8123}
_NO_LOG = {"nats": 4222, "dragonfly": 6379}
#: From a component to those it calls inside, with the port.
ARROWS = {
    "web-app": _ALL,
    "batch-processor": _ALL,
    "webhook-processor": _ALL,
    "leader-worker": _ALL,
    "sender-worker": _NO_LOG,
    "priority-worker": _NO_LOG,
    "outgoing-worker": _NO_LOG,
    "webhook-receiver": {"nats": 4222},
    "migrations": {"clickhouse": 8123},
    "nats": {"nats": 6222},
    "dragonfly": {"dragonfly": 6379},
}
#: Who may call addresses outside, and at which ports.
OUTSIDE = {
    "web-app": {5432},
    "batch-processor": {5432},
    "webhook-processor": {5432},
    "leader-worker": {5432},
    "migrations": {5432},
    "sender-worker": {5432, 80, 443},
    "priority-worker": {5432, 80, 443},
    "outgoing-worker": {5432, 80, 443},
    "clickhouse": {443},
    "dns-failover": {443},
    "nats": {7222},
}


@pytest.fixture(scope="module")
def applications(tmp_path_factory):
    """Both applications' routes, by the Service that leads to them."""
    settings = Settings(
        _env_file=None,
        database_url="postgresql://none.invalid/x",
        nats_url="nats://none.invalid",
        dragonfly_url="redis://none.invalid",
        clickhouse_url="http://none.invalid/x",
        spool_dir=tmp_path_factory.mktemp("spool"),
    )
    return {
        "web-app": web_app.create_app(settings),
        "webhook-receiver": webhook_app.create_app(settings),
    }


def entrances(found):
    """Yield the paths that lead in, each with its Service."""
    for one in found.of("Ingress"):
        assert "defaultBackend" not in one["spec"]
        for rule in one["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                assert path["pathType"] == "Prefix"
                yield path["path"], path["backend"]["service"]["name"]


def test_an_ingress_leads_to_all_that_is_served_but_probes_and_metrics(
    rendered_cluster, applications
):
    """What has no path from outside is /health and /metrics, and only that."""
    for service, app in applications.items():
        paths = [path for path, name in entrances(rendered_cluster) if name == service]
        routes = {rule.rule for rule in app.url_map.iter_rules()}

        reached = {
            one for one in routes if one.startswith(tuple(f"{p}/" for p in paths))
        }

        assert routes - reached == PROBES
        assert "/" not in paths


def test_nothing_else_leads_in(rendered_cluster):
    """The hosts are ours, and no Service opens an inner port to the outside."""
    services = {one["metadata"]["name"]: one for one in rendered_cluster.of("Service")}
    for _, name in entrances(rendered_cluster):
        port = services[name]["spec"]["ports"][0]
        assert port["port"] in {3000, 6001}
    for name, one in services.items():
        if one["spec"].get("type", "ClusterIP") != "ClusterIP":
            ports = set(numbers(rendered_cluster, one))
            assert name == "nats-gateway"
            assert ports.isdisjoint(INSIDE)
    for _, one in rendered_cluster.containers():
        assert all("hostPort" not in port for port in one.get("ports", []))
    assert all(not pod["spec"].get("hostNetwork") for _, pod in rendered_cluster.pods())


def numbers(found, service):
    """Yield the numbers of the container ports that a Service leads to."""
    selected = found.selected({"matchLabels": service["spec"]["selector"]})
    names = {port["targetPort"] for port in service["spec"]["ports"]}
    for name, one in found.containers():
        if name in selected:
            for port in one.get("ports", []):
                if port["name"] in names or port["containerPort"] in names:
                    yield port["containerPort"]


def test_the_hosts_are_those_agreed_on():
    hosts = {
        rule["host"]
        for one in cluster("production").of("Ingress")
        for rule in one["spec"]["rules"]
    }

    assert hosts == {"webhooks.batchsender.com", "api.batchsender.com"}


def test_nobody_reaches_anybody_by_default(rendered_cluster):
    """In and out, every pod; names may be looked up."""
    denied = rendered_cluster.one("NetworkPolicy", "default-deny")["spec"]

    assert denied == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def allowed(found, direction):
    """Return the (from, to, port) that policies of one direction let through."""
    key, peer = {"egress": ("egress", "to"), "ingress": ("ingress", "from")}[direction]
    arrows = set()
    for policy in found.of("NetworkPolicy"):
        mine = found.selected(policy["spec"]["podSelector"])
        for rule in policy["spec"].get(key, []):
            others = {
                other
                for one in rule[peer]
                if "podSelector" in one and "namespaceSelector" not in one
                for other in found.selected(one["podSelector"])
            }
            for port in rule["ports"]:
                arrows |= {
                    (a, b, port["port"])
                    if direction == "egress"
                    else (b, a, port["port"])
                    for a in mine
                    for b in others
                }
    return arrows


def wanted(found, overlay):
    """Return the arrows of the design among the pods that an overlay has."""
    here = {name for name, _ in found.pods()}
    arrows = {
        (caller, called, port)
        for caller, calls in ARROWS.items()
        for called, port in calls.items()
        if called in here
    }
    if "postgres" in here:
        arrows |= {
            (name, "postgres", 5432) for name, ports in OUTSIDE.items() if 5432 in ports
        }
    return arrows


@pytest.mark.parametrize("direction", ["egress", "ingress"])
def test_inside_the_arrows_are_those_of_the_design(
    rendered_cluster, overlay, direction
):
    """Both ends say so: a call needs the one's leave to go and the other's to come."""
    found = allowed(rendered_cluster, direction)
    expected = wanted(rendered_cluster, overlay)
    if direction == "egress":
        # Postgres is reached by its port, wherever it is.
        expected = {arrow for arrow in expected if arrow[1] != "postgres"}

    assert found == expected


def calls_outside(found):
    """Yield (component, ports, block) for each block that is let out to."""
    for policy in found.of("NetworkPolicy"):
        for rule in policy["spec"].get("egress", []):
            ports = {port["port"] for port in rule["ports"]}
            for peer in (one for one in rule["to"] if "ipBlock" in one):
                for name in found.selected(policy["spec"]["podSelector"]):
                    yield name, ports, peer["ipBlock"]


def expected_outside(found, overlay):
    """Return the ports that each component may call outside."""
    here = {name for name, _ in found.pods()}
    expected = {name: set(ports) for name, ports in OUTSIDE.items() if name in here}
    if not overlay.startswith("production"):
        del expected["nats"]
    if overlay == "production-ashburn":
        # Falkenstein's ClickHouse, by HTTPS.
        for name in (one for one, calls in ARROWS.items() if "clickhouse" in calls):
            expected[name].add(8443)
    return expected


def test_outside_only_some_are_called(rendered_cluster, overlay):
    """Providers by those who send; nothing private by HTTP, such as a cloud's own."""
    reached = {}
    for name, ports, block in calls_outside(rendered_cluster):
        reached[name] = reached.get(name, set()) | ports
        if ports & {80, 443}:
            assert {"169.254.0.0/16", "10.0.0.0/8"} <= set(block["except"])

    assert reached == expected_outside(rendered_cluster, overlay)


def test_from_other_namespaces_come_the_ingress_and_prometheus(rendered_cluster):
    """The Ingress to the two doors, Prometheus to every process of ours."""
    seen = set()
    for policy in rendered_cluster.of("NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            for peer in (one for one in rule["from"] if "namespaceSelector" in one):
                space = peer["namespaceSelector"]["matchLabels"]
                for name in rendered_cluster.selected(policy["spec"]["podSelector"]):
                    for port in rule["ports"]:
                        seen.add((*space.values(), name, port["port"]))

    doors = {
        ("ingress-nginx", "web-app", 3000),
        ("ingress-nginx", "webhook-receiver", 6001),
    }
    ours = {one["metadata"]["labels"][NAME] for one in rendered_pods(rendered_cluster)}
    assert seen == doors | {("monitoring", name, 9464) for name in ours}


def rendered_pods(found):
    """Return the pods that serve metrics."""
    return [
        pod
        for _, pod in found.pods()
        if pod["metadata"]["labels"].get("batchsender.com/metrics") == "true"
    ]
