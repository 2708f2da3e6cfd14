"""Every overlay is valid to the letter, and what it runs is pinned and harmless."""

import re
from configparser import ConfigParser

import pytest
import yaml

from settings import Settings
from tests.unit.k8s.cluster import K8S, NAME, OVERLAYS, ROOT, cluster
from tests.unit.k8s.schemas import faults

APPLICATIONS = sorted((K8S / "argocd").glob("*.yaml"))
PINNED = re.compile(
    r"[a-z0-9./-]+(:v?\d+\.\d+(\.\d+)?(-[a-z0-9.]+)?|@sha256:[0-9a-f]{64})"
)


def test_each_manifest_is_valid_to_the_letter(rendered_cluster):
    """No key that its kind does not know, no kind that nobody knows."""
    wrong = {
        f"{one['kind']}/{one['metadata']['name']}": found
        for one in rendered_cluster.manifests
        if (found := list(faults(one)))
    }

    assert wrong == {}


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Deployment", ("spec", "template", "spec", "containers", 0)),
        ("ScaledObject", ("spec", "triggers", 0)),
        ("ServiceMonitor", ("spec", "endpoints", 0)),
    ],
)
def test_a_misspelt_key_is_found(kind, path):
    """The test above can fail."""
    manifest = yaml.safe_load(yaml.safe_dump(cluster("production").of(kind)[0]))
    inner = manifest
    for step in path:
        inner = inner[step]
    inner["misspelt"] = 1

    assert list(faults(manifest)) != []


def test_each_overlay_has_an_application_that_leads_to_it():
    """And Argo CD would take it."""
    applications = [yaml.safe_load(one.read_text()) for one in APPLICATIONS]

    assert [fault for one in applications for fault in faults(one)] == []
    assert {one["spec"]["source"]["path"] for one in applications} == {
        f"k8s/overlays/{overlay}" for overlay in OVERLAYS
    }


def test_each_image_is_pinned(rendered_cluster):
    """To a version at least; ours to that of this repository, or to a digest."""
    images = {one["image"] for _, one in rendered_cluster.containers()}
    setup = ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")

    ours = {image for image in images if "batchsender" in image}
    assert [image for image in images if not PINNED.fullmatch(image)] == []
    assert all(
        "@sha256:" in one or one.endswith(f":{setup['metadata']['version']}")
        for one in ours
    )


def test_each_container_may_do_as_little_as_it_needs(rendered_cluster):
    """No root, nothing written but to volumes, no capability, no API token."""
    for name, pod in rendered_cluster.pods():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        for one in spec["containers"]:
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name


def test_each_container_has_requests_a_memory_limit_and_probes(rendered_cluster):
    """Jobs end by themselves and are not probed; workers are never *ready*."""
    for name, one in rendered_cluster.containers():
        assert {"cpu", "memory"} <= one["resources"]["requests"].keys(), name
        assert "memory" in one["resources"]["limits"], name
        if name not in {"migrations", "dns-failover"}:
            assert {"livenessProbe", "startupProbe"} <= one.keys(), name


def test_each_volume_that_is_mounted_is_there(rendered_cluster):
    """Kubernetes would find it only when the pod is made."""
    claims = {
        one["metadata"]["name"]: one["spec"].get("volumeClaimTemplates", [])
        for one in rendered_cluster.of("StatefulSet")
    }
    for name, pod in rendered_cluster.pods():
        known = {one["name"] for one in pod["spec"].get("volumes", [])}
        known |= {one["metadata"]["name"] for one in claims.get(name, [])}
        for one in pod["spec"]["containers"]:
            assert {at["name"] for at in one.get("volumeMounts", [])} <= known, name


def test_a_pod_is_given_longer_than_a_chunk_is_leased(rendered_cluster):
    """Whoever holds a chunk gives it back itself."""
    lease_s = Settings.model_fields["lease_s"].default

    graces = {
        name: pod["spec"]["terminationGracePeriodSeconds"]
        for name, pod in rendered_cluster.pods()
        if name.endswith(("worker", "processor"))
    }

    assert len(graces) == 6
    assert all(grace > lease_s for grace in graces.values())


def test_replicas_of_one_kind_are_spread(rendered_cluster):
    """Among the nodes; a node that fails takes only its share."""
    several = [
        pod["spec"]["topologySpreadConstraints"]
        for name, pod in rendered_cluster.pods()
        if name not in {"migrations", "dns-failover", "postgres"}
    ]

    assert all(one[0]["topologyKey"] == "kubernetes.io/hostname" for one in several)


def test_the_tables_are_migrated_before_the_processes_start(rendered_cluster):
    """Servers, then the job, then whoever needs the tables, by Argo CD's waves."""

    def wave(one):
        return int(one["metadata"].get("annotations", {}).get(WAVE, 0))

    job = rendered_cluster.one("Job", "migrations")

    assert job["metadata"]["annotations"]["argocd.argoproj.io/hook"] == "Sync"
    assert all(wave(one) < wave(job) for one in rendered_cluster.of("StatefulSet"))
    assert all(wave(one) > wave(job) for one in rendered_cluster.of("Deployment"))


WAVE = "argocd.argoproj.io/sync-wave"

#: By overlay: servers of NATS, least and most senders.
FIGURES = {
    "production": (3, 2, 50),
    "production-ashburn": (3, 2, 50),
    "staging": (1, 1, 10),
}


@pytest.mark.parametrize(("overlay", "figures"), FIGURES.items())
def test_an_overlay_has_its_figures(overlay, figures):
    """As the table of overlays has them."""
    found = cluster(overlay)
    scaler = found.one("ScaledObject", "sender-worker-scaler")["spec"]

    assert (
        found.one("StatefulSet", "nats")["spec"]["replicas"],
        scaler["minReplicaCount"],
        scaler["maxReplicaCount"],
    ) == figures


def test_local_has_one_of_each_and_needs_nothing_else():
    """A Postgres of its own, and neither KEDA's nor Prometheus' kinds."""
    local = cluster("local")

    counts = {
        one["metadata"]["name"]: one["spec"].get("replicas", 1)
        for one in local.of("Deployment", "StatefulSet")
    }

    assert set(counts.values()) == {1}
    assert "postgres" in counts
    assert local.of("ScaledObject", "ServiceMonitor", "SealedSecret") == []


@pytest.mark.parametrize("overlay", [one for one in OVERLAYS if one != "local"])
def test_elsewhere_no_database_and_no_secret_is_committed(overlay):
    """Postgres is outside; secrets are sealed by whoever runs it."""
    found = cluster(overlay)

    assert "postgres" not in found.names("StatefulSet")
    assert found.of("Secret") == []


def test_staging_requests_half_of_what_production_does():
    """By container and by resource."""
    production = dict(cluster("production").containers())

    for name, one in cluster("staging").containers():
        if name == "migrations":
            continue
        for resource, value in one["resources"]["requests"].items():
            whole = production[name]["resources"]["requests"][resource]
            assert quantity(value) * 2 == quantity(whole), (name, resource)


def quantity(text: str) -> int:
    """Return a quantity in thousandths of a core, or in MiB."""
    number = int(re.match(r"\d+", str(text))[0])
    unit = str(text)[len(str(number)) :]
    return number * {"m": 1, "": 1000, "Mi": 1, "Gi": 1024}[unit]


def test_names_and_limits_are_those_agreed_on():
    """Other documents and people's habits know them."""
    found = cluster("production")
    pdbs = {
        one["metadata"]["name"]: one["spec"]["minAvailable"]
        for one in found.of("PodDisruptionBudget")
    }
    clickhouse = dict(found.containers())["clickhouse"]["resources"]["limits"]
    claim = found.one("StatefulSet", "clickhouse")["spec"]["volumeClaimTemplates"][0]
    receiver = found.one("HorizontalPodAutoscaler", "webhook-receiver")["spec"]

    assert {one["metadata"]["namespace"] for one in found.of("Deployment")} == {
        "batchsender"
    }
    assert pdbs == {
        "nats-pdb": 2,
        "webhook-receiver-pdb": 1,
        "sender-worker-pdb": 1,
        "web-app-pdb": 1,
    }
    assert {key: str(value) for key, value in clickhouse.items()} == {
        "cpu": "2",
        "memory": "4Gi",
    }
    assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"
    assert (receiver["minReplicas"], receiver["maxReplicas"]) == (2, 10)
    assert receiver["metrics"][0]["resource"]["target"]["averageUtilization"] == 70
    assert {"nats-config", "clickhouse-config", "worker-config"} <= {
        one["metadata"]["name"].rpartition("-")[0] for one in found.of("ConfigMap")
    }


def test_a_budget_and_an_autoscaler_speak_of_pods_that_exist(rendered_cluster):
    """A name that is misspelt would protect or scale nobody."""
    for one in rendered_cluster.of("PodDisruptionBudget"):
        assert len(rendered_cluster.selected(one["spec"]["selector"])) == 1
    for one in rendered_cluster.of("HorizontalPodAutoscaler", "ScaledObject"):
        target = one["spec"]["scaleTargetRef"]["name"]
        deployment = rendered_cluster.one("Deployment", target)
        assert "replicas" not in deployment["spec"] or not rendered_cluster.of(
            "ScaledObject"
        ), "Two would decide."


def test_each_pod_carries_its_components_name(rendered_cluster):
    """All that selects does so by it."""
    for one in rendered_cluster.of("Deployment", "StatefulSet"):
        assert one["spec"]["selector"]["matchLabels"][NAME] == one["metadata"]["name"]
