"""The application's jobs reach their actors through their queues."""

import dramatiq

from brokers import current_delivery, dispatch
from models.jobs import ExpandBatch, RecordWebhook, SendChunk
from tests.integration.brokers.conftest import until


def test_each_job_reaches_its_actor(server, work):
    broker = dispatch.connect(server.url, middleware=[])
    got = {}
    for job in (ExpandBatch, SendChunk, RecordWebhook):

        def take(_name=job.actor, **fields):
            got[_name] = (fields, current_delivery().deliveries)

        dramatiq.actor(take, actor_name=job.actor, queue_name=job.queue, broker=broker)
    chunk = SendChunk("b", "t1", 0, 0, 2, 1, addresses=["a", "b"])

    assert dispatch.send(broker, ExpandBatch("b"))
    assert dispatch.send(broker, chunk, dedup_id="b:0:1")
    assert not dispatch.send(broker, chunk, dedup_id="b:0:1")
    assert dispatch.send_many(broker, [RecordWebhook("custom", "sent", {"id": 1})]) == 1
    assert broker.stored("chunk") == {"t1": 1}
    work(broker)

    until(lambda: len(got) == 3)
    assert got["send_chunk"][0]["addresses"] == ["a", "b"]
    assert got["record_webhook"][0]["body"] == {"id": 1}
    for queue in ("batch", "chunk", "webhook"):
        broker.join(queue, timeout=3000)
    broker.close()
