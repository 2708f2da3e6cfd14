"""The verifier finds what is wrong: each check fails on made-up evidence."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from embedded.sink_ledger import SinkCall
from models.limit import Limit
from tests.chaos import verifier
from tests.chaos.batches import make_batch, queue
from tests.chaos.evidence import Evidence
from tests.chaos.house import House


@pytest.fixture(scope="module")
def honest(built_house: House) -> dict[bool, Evidence]:
    """What is known of two small batches, by whether they have keys."""
    built_house.heal()
    found = {}
    for keyed in (False, True):
        batch = make_batch(built_house, keyed=keyed, recipients=2000)
        queue(built_house, batch)
        found[keyed] = verifier.verify(built_house, batch)
    return found


def _calls(found: Evidence, change: Callable[[list[SinkCall]], Any]) -> Evidence:
    calls = list(found.calls)
    change(calls)
    return replace(found, calls=calls)


def _called_twice(found: Evidence) -> Evidence:
    return _calls(found, lambda calls: calls.append(replace(calls[0])))


def _lost_call(found: Evidence) -> Evidence:
    return _calls(found, lambda calls: calls.pop())


def _called_early(found: Evidence) -> Evidence:
    begun = found.versions[0].committed_at
    return _calls(
        found, lambda calls: calls.__setitem__(0, replace(calls[0], t=begun - 1))
    )


def _other_body(found: Evidence) -> Evidence:
    again = replace(found.calls[0], body_hash="other", is_replay=True)
    return _calls(found, lambda calls: calls.append(again))


def _other_key_too_soon(found: Evidence) -> Evidence:
    key = f"{found.batch.id}:0:99"
    return _calls(found, lambda calls: calls.append(replace(calls[0], key=key)))


def _called_by_another(found: Evidence) -> Evidence:
    again = replace(found.calls[0], t=found.calls[-1].t)
    return replace(found, calls=[*found.calls, again], other_calls=[again])


def _row(found: Evidence, **values: Any) -> Evidence:
    return replace(found, row={**found.row, **values})


def _chunk(found: Evidence, **values: Any) -> Evidence:
    [first, *others] = found.chunks
    return replace(found, chunks=[{**first, **values}, *others])


def _bit_lost(found: Evidence) -> Evidence:
    sent = "0" + found.bitmaps["sent"][1:]
    return replace(found, bitmaps={**found.bitmaps, "sent": sent})


def _nobody_told(found: Evidence) -> Evidence:
    recipients = [(0, "pending"), *found.recipients[1:]]
    return replace(found, recipients=recipients)


def _two_places(found: Evidence) -> Evidence:
    last = found.versions[-1]
    twice = replace(last, sets={**last.sets, "unknown": 1})
    return replace(found, versions=[*found.versions, twice])


def _sent_no_more(found: Evidence) -> Evidence:
    last = found.versions[-1]
    fallen = replace(last, sets={**last.sets, "sent": 0})
    return replace(found, versions=[*found.versions, fallen])


def _slower_limit(found: Evidence) -> Evidence:
    return replace(found, batch=replace(found.batch, limit=Limit(100, 100)))


def _at_least_once(found: Evidence) -> Evidence:
    return replace(found, batch=replace(found.batch, policy="at_least_once"))


@pytest.mark.parametrize(
    ("check", "doctored", "keyed"),
    [
        (verifier.upload_is_partitioned, lambda e: _row(e, invalid=9), False),
        (verifier.upload_is_partitioned, lambda e: _chunk(e, last=7), False),
        (verifier.everybody_is_somewhere_once, _two_places, False),
        (verifier.rows_only_go_forward, _sent_no_more, False),
        (verifier.all_agree_on_the_end, _nobody_told, False),
        (verifier.all_agree_on_the_end, _bit_lost, False),
        (verifier.all_agree_on_the_end, lambda e: _row(e, sent=1), False),
        (verifier.all_agree_on_the_end, lambda e: _chunk(e, sent="0" * 250), False),
        (verifier.all_agree_on_the_end, lambda e: replace(e, events={
            **e.events, "sent": 1}), False),
        (verifier.outcomes_are_true, _lost_call, False),
        (verifier.nobody_is_called_twice, _called_twice, False),
        (verifier.a_key_has_one_body, _other_body, True),
        (verifier.a_key_has_one_body, _other_key_too_soon, True),
        (verifier.a_key_has_one_body, _called_twice, True),
        (verifier.nobody_is_left_out, lambda e: _at_least_once(_lost_call(e)), False),
        (verifier.nobody_is_left_out, lambda e: _at_least_once(_called_twice(e)),
         False),
        (lambda e: verifier.unknown_was_in_call(e, 4), lambda e: _row(e, unknown=5),
         False),
        (verifier.intents_come_first, _called_early, False),
        (verifier.intents_come_first, _called_early, True),
        (verifier.intents_come_first, _called_twice, False),
        (verifier.intents_come_first, _other_key_too_soon, True),
        (verifier.nothing_is_left_over, lambda e: replace(e, stored=1), False),
        (verifier.nothing_is_left_over, lambda e: replace(e, dead_letters=1), False),
        (verifier.nothing_is_left_over, lambda e: _chunk(e, folded_at=None), False),
        (lambda e: verifier.nothing_was_called(e, (e.calls[0].t - 9, 2e9)),
         lambda e: e, False),
        (verifier.the_limit_holds, _slower_limit, False),
        (verifier.nobody_in_doubt_changed_provider, _called_by_another, False),
        (verifier.the_ledger_knows_by_whom, _called_by_another, False),
    ],
)  # fmt: skip
def test_a_violation_is_found(
    honest: dict[bool, Evidence],
    check: Callable[[Evidence], None],
    doctored: Callable[[Evidence], Evidence],
    keyed: bool,  # noqa: FBT001 - pytest gives parameters by name
) -> None:
    """On honest evidence every check passed; on doctored evidence its check fails."""
    false = doctored(honest[keyed])

    with pytest.raises(AssertionError):
        check(false)
