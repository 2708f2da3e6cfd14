"""What manifests say of our processes is what the code says of itself."""

import re
from pathlib import Path

import pytest
import yaml

import telemetry
from brokers.dispatch import routes
from scripts.seal_secrets import SECRETS
from settings import FailoverSettings, Settings
from tests.unit.k8s.cluster import K8S, OVERLAYS, cluster

#: Set for the servers' own images, by them.
THEIRS = {"nats", "dragonfly", "clickhouse", "postgres"}
REGIONS = ("production", "production-ashburn")


def settings_names() -> set[str]:
    """Return each variable that the code reads."""
    return {
        name.upper()
        for kind in (Settings, FailoverSettings)
        for name in kind.model_fields
    }


def secrets_of(found) -> dict[str, set[str]]:
    """Return the keys of each secret: the overlay's own, or those to be sealed."""
    own = {
        one["metadata"]["name"]: set(one.get("data", {})) for one in found.of("Secret")
    }
    return own or {name: set(keys) for name, keys in SECRETS.items()}


def environment(found, container) -> set[str]:
    """Return the names that a container's environment has."""
    secrets = secrets_of(found)
    maps = {one["metadata"]["name"]: set(one["data"]) for one in found.of("ConfigMap")}
    names = {one["name"] for one in container.get("env", [])}
    for source in container.get("envFrom", []):
        if "secretRef" in source:
            names |= secrets[source["secretRef"]["name"]]
        else:
            names |= maps[source["configMapRef"]["name"]]
    return names


def test_each_variable_that_is_set_is_a_setting(rendered_cluster):
    """Nobody sets what nobody reads."""
    for name, one in rendered_cluster.containers():
        if name not in THEIRS:
            assert environment(rendered_cluster, one) <= settings_names(), name


@pytest.mark.parametrize("overlay", REGIONS)
def test_each_setting_is_set_by_some_manifest(overlay):
    """Whoever runs this sees all that can be set."""
    found = cluster(overlay)

    given = set[str]().union(
        *(
            environment(found, one)
            for name, one in found.containers()
            if name not in THEIRS
        )
    )

    assert given == settings_names()


def test_each_process_gets_what_it_cannot_start_without(rendered_cluster):
    """The four neighbours have no default."""
    needed = {
        name.upper() for name, one in Settings.model_fields.items() if one.is_required()
    }

    for name, one in rendered_cluster.containers():
        if name not in THEIRS | {"dns-failover"}:
            assert needed <= environment(rendered_cluster, one), name


def test_the_receiver_knows_no_database():
    """It is the door to the world: what it does not know it cannot lose."""
    receiver = dict(cluster("production").containers())["webhook-receiver"]
    secrets = {
        one["secretRef"]["name"] for one in receiver["envFrom"] if "secretRef" in one
    }

    assert secrets == {
        "nats-credentials",
        "webhook-signing-keys",
        "webhook-secrets-key",
    }
    assert all("none.invalid" in one["value"] for one in receiver["env"])


def test_the_values_of_worker_config_can_be_read(rendered_cluster):
    """As a process would read them, together with each other."""
    values = rendered_cluster.data("worker-config")
    given = {name.lower(): value for name, value in values.items()}

    read = Settings(
        _env_file=None,
        database_url="postgresql://x/x",
        nats_url="nats://x",
        dragonfly_url="redis://x",
        clickhouse_url="http://x",
        **given,
    )

    assert read.timing.lease_s * 2 <= read.unknown_window_s


def test_what_is_not_said_is_the_codes_default():
    """worker-config differs from the defaults only in what a cluster needs."""
    values = cluster("production").data("worker-config")
    different = {
        name
        for name, value in values.items()
        if str(value) != written(Settings.model_fields[name.lower()].default)
    }

    assert different == {
        "DATABASE_PREPARE",
        "NATS_REPLICAS",
        "NATS_CA",
        "PUBLIC_URL",
        "WORKER_PROCESSES",
        "METRICS_HOST",
        "METRICS_PORT",
        "PROMETHEUS_MULTIPROC_DIR",
        "SPOOL_DIR",
        "TRUSTED_PROXIES",
        "CLICKHOUSE_COLD_POLICY",
    }


def written(default: object) -> str:
    """Return a default as an environment file has it."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float) and default.is_integer():
        return str(int(default))
    return str(default)


def queues_of(args: list[str]) -> list[str]:
    """Return the queues that a command names; none without `--queues`."""
    return args[args.index("--queues") + 1 :] if "--queues" in args else []


def test_each_queue_has_exactly_one_deployment(rendered_cluster):
    """A queue without workers stands still; with two kinds, nobody knows how many."""
    named = [
        queue
        for _, one in rendered_cluster.containers()
        for queue in queues_of(one.get("args", []))
    ]

    assert sorted(named) == sorted(route.queue for route in routes())


def test_while_dragonfly_is_away_the_limit_is_shared_by_all_who_may_send(
    rendered_cluster,
):
    """WORKER_PROCESSES and one more, which sends single messages."""
    scaled = {
        one["spec"]["scaleTargetRef"]["name"]: one["spec"]["maxReplicaCount"]
        for one in rendered_cluster.of("ScaledObject")
    }
    sending = 0
    for name in ("sender-worker", "priority-worker"):
        deployment = rendered_cluster.one("Deployment", name)["spec"]
        args = deployment["template"]["spec"]["containers"][0]["args"]
        processes = int(args[args.index("--processes") + 1])
        sending += processes * scaled.get(name, deployment.get("replicas", 1))

    config = rendered_cluster.data("worker-config")
    assert int(config["WORKER_PROCESSES"]) + 1 == sending


def test_streams_have_as_many_copies_as_there_are_servers(rendered_cluster):
    """More cannot be made, and fewer lose what a server loses."""
    servers = rendered_cluster.one("StatefulSet", "nats")["spec"]["replicas"]

    assert int(rendered_cluster.data("worker-config")["NATS_REPLICAS"]) == servers


def test_a_command_names_modules_that_exist(rendered_cluster):
    """And a granian listens where its Service leads."""
    root = Path(K8S).parent
    for name, one in rendered_cluster.containers():
        args = one.get("args", [])
        if args[:1] == ["granian"]:
            port = next(p["containerPort"] for p in one["ports"] if p["name"] == "http")
            assert args[args.index("--port") + 1] == str(port), name
            assert (root / args[-1].partition(":")[0] / "__init__.py").exists()
        elif args[:1] == ["python"]:
            assert (root / args[2] / "__main__.py").exists()


def test_ports_and_probes_lead_to_ports_that_are_declared(rendered_cluster):
    """By name, in Services, probes and monitors."""
    declared: dict[str, set[str]] = {}
    for name, one in rendered_cluster.containers():
        ports = {port["name"] for port in one.get("ports", [])}
        declared[name] = ports
        for key in ("livenessProbe", "readinessProbe", "startupProbe"):
            probe = one.get(key, {})
            for how in ("httpGet", "tcpSocket"):
                if how in probe:
                    assert probe[how]["port"] in ports, name
    for one in rendered_cluster.of("Service"):
        selected = rendered_cluster.selected({"matchLabels": one["spec"]["selector"]})
        assert selected, one["metadata"]["name"]
        for port in one["spec"]["ports"]:
            assert all(port["targetPort"] in declared[name] for name in selected)


def test_metrics_are_served_where_they_are_asked_for(rendered_cluster):
    """The setting's port is the containers', and workers are probed there."""
    port = int(rendered_cluster.data("worker-config")["METRICS_PORT"])

    for _, one in rendered_cluster.containers():
        for declared in one.get("ports", []):
            if declared["name"] == "metrics":
                assert declared["containerPort"] == port


def test_metrics_are_counted_in_a_directory_of_the_pod_alone(rendered_cluster):
    """An emptyDir, since the root cannot be written."""
    folder = Path(rendered_cluster.data("worker-config")["PROMETHEUS_MULTIPROC_DIR"])

    for name, pod in rendered_cluster.pods():
        if pod["metadata"]["labels"].get("batchsender.com/metrics") == "true":
            mounts = pod["spec"]["containers"][0]["volumeMounts"]
            volumes = {one["name"]: one for one in pod["spec"]["volumes"]}
            mount = next(
                one for one in mounts if one["mountPath"] == str(folder.parent)
            )
            assert "emptyDir" in volumes[mount["name"]], name


def test_every_process_of_ours_is_scraped():
    """By one Service that only Prometheus uses."""
    found = cluster("production")
    monitor = found.one("ServiceMonitor", "batchsender")["spec"]
    service = found.one("Service", "metrics")

    assert (
        service["metadata"]["labels"].items()
        >= monitor["selector"]["matchLabels"].items()
    )
    assert {one["port"] for one in monitor["endpoints"]} <= {
        port["name"] for port in service["spec"]["ports"]
    }
    assert found.selected({"matchLabels": service["spec"]["selector"]}) == found.names(
        "Deployment"
    )


@pytest.mark.parametrize("overlay", [one for one in OVERLAYS if one != "local"])
def test_keda_asks_for_gauges_that_exist(overlay):
    """Recipients and events that wait, at the agreed numbers for one worker each."""
    gauges = {figure.name for figure in telemetry.FIGURES.values()}
    asked = {}
    for one in cluster(overlay).of("ScaledObject"):
        trigger = one["spec"]["triggers"][0]
        assert trigger["type"] == "prometheus"
        query = trigger["metadata"]["query"]
        (metric,) = re.findall(r"[a-z_]*batchsender_\w+", query)
        assert metric in gauges
        asked[one["metadata"]["name"]] = (metric, trigger["metadata"]["threshold"])

    assert asked == {
        "sender-worker-scaler": ("batchsender_waiting_recipients", "1000"),
        "webhook-processor-scaler": ("batchsender_waiting_events", "500"),
    }


def test_each_secret_that_is_used_is_known(rendered_cluster):
    """With the keys that are asked of it."""
    known = secrets_of(rendered_cluster)

    for name, pod in rendered_cluster.pods():
        for secret, key in asked_of_secrets(pod["spec"]):
            assert secret in known, name
            assert key is None or key in known[secret], name


def asked_of_secrets(spec):
    """Yield each secret that a pod uses, with a key where one is named."""
    for one in spec["containers"]:
        for source in one.get("envFrom", []):
            if "secretRef" in source:
                yield source["secretRef"]["name"], None
        for variable in one.get("env", []):
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                yield reference["name"], reference["key"]
    for secret in (one["secret"] for one in spec.get("volumes", []) if "secret" in one):
        for key in secret.get("items", [{"key": None}]):
            yield secret["secretName"], key["key"]


def test_every_secret_that_is_sealed_is_used():
    """In one region or the other."""
    text = "".join(
        yaml.safe_dump(one) for name in REGIONS for one in cluster(name).manifests
    )

    assert [name for name in SECRETS if f": {name}\n" not in text] == []
