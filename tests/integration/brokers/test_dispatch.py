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


def test_the_server_holds_what_was_agreed(make_server, work):
    """Streams, subjects and consumers by name, after one worker has consumed."""
    url = make_server()
    broker = dispatch.connect(url, middleware=[])
    done = []
    for job in (ExpandBatch, SendChunk, RecordWebhook):
        dramatiq.actor(
            lambda **fields: done.append(fields),
            actor_name=job.actor,
            queue_name=job.queue,
            broker=broker,
        )
    chunks = [SendChunk("b", t, 0, 0, 1, 1, addresses=["a"]) for t in ("7", "t-8")]
    dispatch.send_many(broker, [ExpandBatch("b"), *chunks])
    dispatch.send(broker, RecordWebhook("custom", "sent", {}))

    work(broker)
    until(lambda: len(done) == 4)

    link = broker._connected_link()
    streams = link.run(link.api("STREAM.LIST", {}))["streams"]
    assert {one["config"]["name"]: one["config"]["subjects"] for one in streams} == {
        "email-system": [
            "delayed.email-system.>",
            "email.user.*.>",
            "sys.batch.process",
            "sys.email.priority",
            "unique.email-system.>",
        ],
        "webhooks": ["delayed.webhooks.>", "unique.webhooks.>", "webhook.>"],
    }
    consumers = link.run(link.api("CONSUMER.LIST.email-system", {}))["consumers"]
    filters = {one["name"]: one["config"]["filter_subject"] for one in consumers}
    assert filters == {
        "batch": "sys.batch.process",
        "user-7": "email.user.7.>",
        "user-t-8": "email.user.t-8.>",
    }
    assert all(
        one["config"]["inactive_threshold"] == 3600 * 10**9
        for one in consumers
        if one["name"].startswith("user-")
    )
    broker.close()


def test_only_the_setting_spreads_the_mail(make_server):
    broker = dispatch.connect(make_server(), email_shards=2, middleware=[])

    dispatch.send_many(
        broker, [SendChunk("b", f"t{n}", 0, 0, 1, 1, addresses=["a"]) for n in range(9)]
    )

    link = broker._connected_link()
    streams = link.run(link.api("STREAM.LIST", {}))["streams"]
    assert {one["config"]["name"]: one["config"]["subjects"] for one in streams} == {
        f"email-system-{n}": [
            f"delayed.email-system-{n}.>",
            f"email-system-{n}.email.user.*.>",
            f"unique.email-system-{n}.>",
        ]
        for n in range(2)
    }
    broker.close()
