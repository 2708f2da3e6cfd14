"""NATS is killed, loses what it stored, or its answers are lost."""

from models.jobs import SendChunk
from tests.chaos.batches import make_batch, queue, send_to_the_middle
from tests.chaos.fault_proxy import FaultProxy
from tests.chaos.house import House, until
from tests.chaos.verifier import verify


def test_nats_is_killed_and_comes_back(house: House) -> None:
    """Workers reconnect; what was delivered and not settled comes again."""
    batch = make_batch(house)
    send_to_the_middle(house, batch)

    house.stack.nats.kill()
    house.stack.nats.start()

    found = verify(house, batch)
    assert found.row["sent"] == batch.recipients


def test_nats_comes_back_without_what_it_stored(house: House) -> None:
    """Recovery sees that messages are gone and publishes the open rows anew."""
    batch = make_batch(house)
    send_to_the_middle(house, batch)

    house.stack.nats.wipe()
    house.stack.nats.start()

    found = verify(house, batch)
    assert found.row["sent"] == batch.recipients
    assert any(chunk["epoch"] for chunk in found.chunks), "Nothing had been lost."


def test_the_queue_is_purged(house: House) -> None:
    """The streams stay, their messages are gone, and ids are still remembered."""
    batch = make_batch(house)
    send_to_the_middle(house, batch)

    house.broker.flush(SendChunk.queue)

    found = verify(house, batch)
    assert found.row["sent"] == batch.recipients
    assert any(chunk["epoch"] for chunk in found.chunks), "Nothing had been lost."


def test_the_answer_to_a_page_is_lost(house: House) -> None:
    """Its messages are published again under their ids, and each chunk is sent once.

    Only the worker behind the proxy runs, so that it is the one that expands.
    """
    batch = make_batch(house)
    with (
        FaultProxy(house.stack.ports["nats"]) as proxy,
        house.worker_through(proxy, "NATS_URL"),
    ):
        house.processes["worker-1"].kill()
        proxy.lose_answers_after(b"HPUB email.user.")
        queue(house, batch)

        until(proxy.met.is_set, "a page is published")
        proxy.reset()

        found = verify(house, batch)
    assert found.row["sent"] == batch.recipients
