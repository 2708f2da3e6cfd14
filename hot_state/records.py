"""Outcome records as the lines that wait in Dragonfly for sync.

One record is one line of JSON: sets of positions in hexadecimal under their status,
`ids` and `errors` beside the positions (`ids_at`, `errors_at`) they belong to; what
is empty is left out. A chunk that recorded several groups has several lines.
"""

from collections.abc import Iterable
from typing import Any

import orjson

from hot_state import keys
from models.outcome import Outcome

#: The statuses that a record can give, of highest rank first.
_RANKED = [status.value for status in keys.RANKED if hasattr(Outcome, status.value)]


def to_line(outcome: Outcome) -> bytes:
    """Return the record of an outcome, with the line's end."""
    record: dict[str, Any] = {
        status: f"{members:x}"
        for status in _RANKED
        if (members := getattr(outcome, status))
    }
    if outcome.provider_ids:
        record["ids_at"] = list(outcome.provider_ids)
        record["ids"] = list(outcome.provider_ids.values())
    if outcome.errors:
        record["errors_at"] = list(outcome.errors)
        record["errors"] = list(outcome.errors.values())
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def from_lines(lines: bytes) -> Outcome:
    """Return what the lines come to together.

    A position given several statuses keeps the one of highest rank; one that was
    sent in the end has no error.
    """
    records = [orjson.loads(line) for line in lines.splitlines()]
    taken = 0
    sets = {}
    for status in _RANKED:
        sets[status] = _union(record.get(status, "0") for record in records) & ~taken
        taken |= sets[status]
    return Outcome(
        **sets,
        provider_ids=_by_position(records, "ids"),
        errors={
            position: error
            for position, error in _by_position(records, "errors").items()
            if not sets["sent"] >> position & 1
        },
    )


def _union(sets: Iterable[str]) -> int:
    members = 0
    for text in sets:
        members |= int(text, 16)
    return members


def _by_position(records: Iterable[dict[str, Any]], name: str) -> dict[int, str]:
    found: dict[int, str] = {}
    for record in records:
        found.update(
            zip(record.get(f"{name}_at", ()), record.get(name, ()), strict=True)
        )
    return found
