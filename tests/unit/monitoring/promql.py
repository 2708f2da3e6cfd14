"""What a PromQL expression asks for: metrics, the labels it selects and groups by."""

from collections.abc import Iterator
from dataclasses import dataclass

from promql_parser import parse

from tests.metrics_catalog import exposed

#: From Kubernetes, Prometheus and the ServiceMonitor, with the labels used here.
FOREIGN = {
    "up": (),
    "kubelet_volume_stats_used_bytes": ("namespace", "persistentvolumeclaim"),
    "kubelet_volume_stats_capacity_bytes": ("namespace", "persistentvolumeclaim"),
}
#: What Prometheus adds to every series of ours.
ADDED = ("app_kubernetes_io_name",)

_PARTS = ("lhs", "rhs", "expr", "vector_selector", "param")


@dataclass(frozen=True)
class Asked:
    """One metric in an expression, and the labels that matter to it there."""

    metric: str
    labels: frozenset[str]


def asked(expression: str) -> Iterator[Asked]:
    """Yield what an expression asks for; `ValueError` where it is no PromQL."""
    return _walk(parse(expression), frozenset())


def unknown(expression: str) -> list[str]:
    """Return the metrics and labels of an expression that nobody has."""
    known = {name: (*labels, *ADDED) for name, labels in exposed().items()}
    known |= {name: (*labels, *ADDED) for name, labels in FOREIGN.items()}
    found = []
    for one in asked(expression):
        if one.metric not in known:
            found.append(one.metric)
        else:
            strange = one.labels - set(known[one.metric])
            found += [f"{one.metric}{{{label}}}" for label in sorted(strange)]
    return found


def _walk(node: object, grouped: frozenset[str]) -> Iterator[Asked]:
    kind = type(node).__name__
    if kind == "VectorSelector":
        matched = {matcher.name for matcher in node.matchers.matchers}
        yield Asked(node.name, grouped | matched)
    if kind == "AggregateExpr" and node.modifier is not None:
        grouped = grouped | set(node.modifier.labels)
    parts = [getattr(node, name, None) for name in _PARTS]
    parts += getattr(node, "args", None) or []
    for part in parts:
        if part is not None:
            yield from _walk(part, grouped)
