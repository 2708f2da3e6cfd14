"""A provider fails in mid-batch, its fall-back takes over and gives back."""

from collections.abc import Callable

from models.limit import Limit
from tests.chaos.batches import Batch, make_batch, send_to_the_middle, sink_calls
from tests.chaos.evidence import seqs_of
from tests.chaos.house import CALL, LATENCY_MS, Fault, House, until
from tests.chaos.test_providers import IN_CALL
from tests.chaos.verifier import verify

#: The batch takes eight seconds by it and goes on when the provider is back.
LIMIT = Limit(5000, 500)
RECIPIENTS = 40_000


def _people(house: House, batch: Batch, *, fallback: bool) -> int:
    return sum(len(seqs_of(c)) for c in sink_calls(house, batch, fallback=fallback))


def _outage(
    house: House, batch: Batch, stop: Callable[[], None], start: Callable[[], None]
) -> Fault:
    """Stop the first provider until the other has sent much, and see it come back."""
    send_to_the_middle(house, batch)
    with house.fault() as fault:
        stop()
        until(
            lambda: _people(house, batch, fallback=True) > RECIPIENTS // 10,
            "the fall-back sends",
        )
    start()
    before = _people(house, batch, fallback=False)
    until(
        lambda: _people(house, batch, fallback=False) > before + 4 * CALL,
        "the first provider sends again",
    )
    return fault


def test_a_dead_provider_is_replaced_until_it_is_back(house: House) -> None:
    """Everybody open goes by the other; who was in call at its death does not."""
    batch = make_batch(house, limit=LIMIT, recipients=RECIPIENTS, falls_back=True)

    fault = _outage(house, batch, house.processes["sink-plain"].kill, house.heal)

    found = verify(house, batch, faults=[fault])
    assert found.row["sent"] + found.row["unknown"] == batch.recipients
    assert found.row["unknown"] <= IN_CALL * CALL


def test_who_is_in_doubt_waits_for_the_provider_that_knows_the_key(
    house: House,
) -> None:
    """It takes every message and answers none: these are repeated there, not here."""
    batch = make_batch(
        house, limit=LIMIT, recipients=RECIPIENTS, keyed=True, falls_back=True
    )

    _outage(
        house,
        batch,
        lambda: house.sink_behaves(
            keyed=True, resetAfterAccept=True, latencyMs=LATENCY_MS
        ),
        lambda: house.sink_behaves(keyed=True, latencyMs=LATENCY_MS),
    )

    found = verify(house, batch)
    assert found.row["sent"] == batch.recipients
    assert sum(call.is_replay for call in found.calls) > 0, "Nobody was in doubt."
