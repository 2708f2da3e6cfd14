"""The application's jobs reach their actors through their queues."""

import dramatiq

from brokers import current_delivery, dispatch
from models.jobs import ExpandBatch, RecordWebhook, SendChunk, SendMessage
from tests.integration.brokers.conftest import until


def test_each_job_reaches_its_actor(server, work):
    broker = dispatch.connect(server.url, middleware=[])
    got = {}
    for job in (ExpandBatch, SendChunk, SendMessage, RecordWebhook):

        def take(_name=job.actor, **fields):
            got[_name] = (fields, current_delivery().deliveries)

        dramatiq.actor(take, actor_name=job.actor, queue_name=job.queue, broker=broker)
    chunk = SendChunk("b", "t1", 0, 0, 2, 1, addresses=["a", "b"])

    assert dispatch.send(broker, ExpandBatch("b"))
    assert dispatch.send(broker, chunk, dedup_id="b:0:1")
    assert not dispatch.send(broker, chunk, dedup_id="b:0:1")
    assert dispatch.send(broker, SendMessage("m", "t1", address="a"))
    assert dispatch.send_many(broker, [RecordWebhook("custom", "sent", {"id": 1})]) == 1
    assert broker.stored("chunk") == {"t1": 1}
    work(broker)

    until(lambda: len(got) == 4)
    assert got["send_message"][0]["address"] == "a"
    assert got["send_chunk"][0]["addresses"] == ["a", "b"]
    assert got["record_webhook"][0]["body"] == {"id": 1}
    for queue in ("batch", "chunk", "priority", "webhook"):
        broker.join(queue, timeout=3000)
    broker.close()


def test_a_process_expands_so_many_batches_at_once(server):
    """`CONCURRENT_BATCHES`: the next one comes when one of these is done."""
    broker = dispatch.connect(server.url, middleware=[], concurrent_batches=2)
    broker.declare_queue("batch")
    dispatch.send_many(broker, [ExpandBatch(f"b{n}") for n in range(4)])
    consumer = broker.consume("batch", prefetch=16, timeout=300)

    first = [until(lambda: next(consumer)) for _ in range(2)]
    nothing = next(consumer)
    consumer.ack(first[0])
    third = until(lambda: next(consumer))

    assert nothing is None
    assert third.kwargs == {"batch_id": "b2"}
    assert next(consumer) is None
    consumer.close()
    broker.flush("batch")
    broker.close()
