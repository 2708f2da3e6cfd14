"""Rates along the whole way, as a provider sees them: processes, queue and ledger."""

from collections.abc import Iterator

import pytest

from embedded.sink_ledger import from_ranges
from models.limit import Limit
from tests.chaos.batches import make_batch, queue, sink_calls, wait_ended
from tests.chaos.house import House


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("house"))
    try:
        house.start()
        house.heal()
        yield house
    finally:
        house.stop()


@pytest.mark.load
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("per_s", "recipients"), [(14.0, 500), (5000.0, 60_000)], ids=["ses", "fast"]
)
def test_a_batch_takes_as_long_as_its_limit_says(house, per_s, recipients):
    """500 at 14/s take 35.7 s, to within 2 %; at 5,000/s as well 98 % are used."""
    batch = make_batch(house, limit=Limit.of(per_s), recipients=recipients)
    queue(house, batch)
    wait_ended(house, batch)

    calls = sink_calls(house, batch)
    sizes = [sum(len(part) for part in from_ranges(call.seqs)) for call in calls]
    seconds = calls[-1].t - calls[0].t
    # What went out at the very beginning was saved up before.
    per_s_used = (sum(sizes) - Limit.of(per_s).burst) / seconds
    told = f"{sum(sizes)} in {seconds:.2f} s by {len(calls)} calls, {per_s_used:.2f}/s"
    print(told)  # noqa: T201 - the figure is what one runs this for
    assert sum(sizes) == recipients
    assert 0.98 * per_s <= per_s_used <= 1.02 * per_s, told
