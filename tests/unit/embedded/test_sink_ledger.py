"""The sink's ledger tells who was lost and who was repeated."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.sink_ledger import from_ranges, read, to_ranges


def line(seqs: str, **more) -> str:
    call = {"t": 1.0, "key": None, "hash": "0", "batch": "b", "status": 200}
    return json.dumps({**call, "answer": "accepted", "seqs": seqs, **more}) + "\n"


@given(st.lists(st.integers(0, 40), max_size=30))
def test_ranges_come_back_as_they_were(seqs):
    """In their order, repeats and all."""
    assert [seq for part in from_ranges(to_ranges(seqs)) for seq in part] == seqs


def test_who_is_lost_and_who_is_repeated(tmp_path):
    """Only deliveries count: no refusals, no replays, nobody rejected."""
    ledger_file = tmp_path / "sink.ndjson"
    ledger_file.write_text(
        line("0-4,6", rejected="2-3")
        + line("1-2")
        + line("3", answer="refused", status=503)
        + line("0-4", replay=True, key="k")
        + line("9", batch="other")
        + '{"t": 1.0, "key"'
    )

    ledger = read(ledger_file)

    assert len(ledger.calls) == 5
    assert ledger.accepted("b") == 5
    assert ledger.lost("b", 8) == [3, 5, 7]
    assert ledger.lost("b", [0, 1, 3, 6]) == [3]
    assert ledger.repeated("b") == [1]
    assert ledger.lost("none", 2) == [0, 1]


def test_a_seq_repeated_within_a_call_is_repeated(tmp_path):
    """However often it came."""
    ledger_file = tmp_path / "sink.ndjson"
    ledger_file.write_text(line("0-2,1") + line("5", rejected="5"))

    ledger = read(ledger_file)

    assert ledger.repeated("b") == [1]
    assert ledger.lost("b", 3) == []
    assert ledger.lost("b", 6) == [3, 4, 5]


@pytest.mark.parametrize("content", [None, ""])
def test_a_ledger_without_calls_is_empty(tmp_path, content):
    """The sink may not have been called yet."""
    ledger_file = tmp_path / "sink.ndjson"
    if content is not None:
        ledger_file.write_text(content)

    assert read(ledger_file).calls == []
