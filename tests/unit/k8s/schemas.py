"""Strict schemas of all kinds that the manifests use, without a cluster.

Core kinds are Kubernetes' own. Those of operators come from packages generated from
their CRDs, with every object closed, so that a misspelt key is found. Argo CD has no
such package; its part that we use is written down here.
"""

import json
import os
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
from referencing import Registry, Resource

VERSION = "1.37"
_KEPT = Path(__file__).parents[3] / ".pytest_cache" / "crd-schemas"
_OPERATORS = {
    "ScaledObject": ("keda", "v1alpha1"),
    "PrometheusRule": ("prometheus_operator", "v1"),
    "SealedSecret": ("sealed_secrets", "v1alpha1"),
    "ServiceMonitor": ("prometheus_operator", "v1"),
}


def closed(**properties: Any) -> dict[str, Any]:
    """Return the schema of an object that has these keys and no others."""
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


_TEXT, _FLAG, _NUMBER = {"type": "string"}, {"type": "boolean"}, {"type": "integer"}
_TEXTS = {"type": "array", "items": _TEXT}
# https://argo-cd.readthedocs.io/en/stable/operator-manual/application.yaml
_APPLICATION = closed(
    apiVersion={"const": "argoproj.io/v1alpha1"},
    kind={"const": "Application"},
    metadata=closed(name=_TEXT, namespace=_TEXT),
    spec=closed(
        project=_TEXT,
        source=closed(repoURL=_TEXT, targetRevision=_TEXT, path=_TEXT),
        destination=closed(name=_TEXT, namespace=_TEXT),
        ignoreDifferences={
            "type": "array",
            "items": closed(group=_TEXT, kind=_TEXT, jsonPointers=_TEXTS),
        },
        syncPolicy=closed(
            automated=closed(prune=_FLAG, selfHeal=_FLAG),
            syncOptions=_TEXTS,
            retry=closed(
                limit=_NUMBER,
                backoff=closed(duration=_TEXT, factor=_NUMBER, maxDuration=_TEXT),
            ),
        ),
    ),
)


def faults(manifest: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a manifest; a kind that nobody knows is wrong."""
    kind = manifest["kind"]
    if kind == "Application" or kind in _OPERATORS:
        for error in _validator(kind).iter_errors(manifest):
            yield f"{error.json_path}: {error.message}"
        return
    validator = _core(manifest["apiVersion"], kind)
    if validator is None:
        yield f"{manifest['apiVersion']}/{kind} is no kind of Kubernetes {VERSION}"
        return
    for error in validator.iter_errors(manifest):
        yield f"{error.json_path}: {error.message}"


@cache
def _core(api_version: str, kind: str) -> jsonschema.Draft202012Validator | None:
    # As the package names its files: rbac.authorization.k8s.io/v1 is rbac-v1.
    api = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    try:
        schema = _contents(f"{kind.lower()}-{api}.json")
    except FileNotFoundError:
        return None
    return jsonschema.Draft202012Validator(schema, registry=_definitions())


@cache
def _definitions() -> Registry:
    return Resource.from_contents(_contents("_definitions.json")) @ Registry()


def _contents(file: str) -> Any:
    folder = files("kubernetes_validate") / "kubernetes-json-schema"
    return json.loads((folder / f"v{VERSION}.0-local-strict" / file).read_bytes())


@cache
def _validator(kind: str) -> jsonschema.Draft202012Validator:
    if kind == "Application":
        return jsonschema.Draft202012Validator(_APPLICATION)
    return jsonschema.Draft202012Validator(_operators_schema(kind))


def _operators_schema(kind: str) -> dict[str, Any]:
    """Return the schema of an operator's kind, from the CRD's package.

    The packages take seconds to import, so that what they say is kept.
    """
    package, api = _OPERATORS[kind]
    release = version(f"cloudcoil.models.{package}")
    kept = _KEPT / f"{kind}-{release}.json"
    if not kept.exists():
        module = import_module(f"cloudcoil.models.{package}.{api}")
        schema = getattr(module, kind).model_json_schema(by_alias=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        # Several test processes may do this at once.
        written = kept.with_suffix(f".{os.getpid()}")
        written.write_text(json.dumps(_strict(schema)))
        written.replace(kept)
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def _strict(schema: Any) -> Any:
    """Return the schema with all its objects closed."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _strict(value) for key, value in schema.items()}
    if found.get("type") == "object" and "properties" in found:
        found["additionalProperties"] = False
    return found
