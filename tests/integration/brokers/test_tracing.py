"""A trace goes on from who enqueued to who works, retries and replays included."""

import subprocess
import sys

import dramatiq
import pytest
from dramatiq import Message
from dramatiq.middleware import Middleware, Retries, SkipMessage
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from brokers.tracing import Tracing
from tests.integration.brokers.conftest import until


@pytest.fixture
def spans():
    return InMemorySpanExporter()


@pytest.fixture
def provider(spans):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return provider


class Skipping(Middleware):
    """Skips what asks for it."""

    def before_process_message(self, broker, message):
        if message.options.get("skip"):
            raise SkipMessage


def test_a_job_and_its_retry_belong_to_the_trace_that_sent_it(
    make_broker, work, spans, provider
):
    """The retry is the failed attempt's child; a replayed letter is too."""
    broker = make_broker(
        middleware=[
            Tracing(provider),
            Retries(max_retries=1, min_backoff=1, max_backoff=1),
            Skipping(),
        ]
    )
    broker.dead_letters().drop()
    seen = []

    @dramatiq.actor(actor_name="work", broker=broker)
    def actor():
        seen.append(get_current_span().get_span_context().trace_id)
        raise ValueError("It broke.")

    worker = work(broker, threads=1)
    with provider.get_tracer("test").start_as_current_span("request") as request:
        broker.enqueue(Message("default", "work", (), {}, {}))
    until(lambda: broker.dead_letters("default").count())
    broker.dead_letters("default").replay()
    broker.enqueue(Message("default", "work", (), {}, {"skip": True}))
    jobs = until(
        lambda: (
            len(found := spans.get_finished_spans()) >= 5
            and sorted(found[1:], key=lambda one: one.start_time)
        )
    )
    worker.stop()

    first, retry, replayed, skipped = sorted(jobs[:4], key=lambda it: it.start_time)
    trace_id = request.get_span_context().trace_id
    assert set(seen) == {trace_id}
    assert first.parent.span_id == request.get_span_context().span_id
    assert retry.parent.span_id == replayed.parent.span_id == first.context.span_id
    assert skipped.parent is None
    assert first.kind is SpanKind.CONSUMER
    assert first.status.status_code is StatusCode.ERROR
    assert first.events[0].attributes["exception.message"] == "It broke."
    assert first.attributes["messaging.destination.name"] == "default"
    assert first.attributes["dramatiq.deliveries"] == 1


def test_each_message_of_a_batch_has_its_span(make_broker, work, spans, provider):
    """Afterwards none of them is current on the thread any more."""
    broker = make_broker(middleware=[Tracing(provider)])
    left = []
    dramatiq.actor(
        lambda messages: messages[0].fail(ValueError("It broke.")),
        actor_name="work",
        broker=broker,
        batch_size=3,
    )

    class Looking(Middleware):
        def before_worker_thread_shutdown(self, broker, thread):
            left.append(get_current_span().get_span_context().is_valid)

    broker.add_middleware(Looking())
    broker.enqueue_many([Message("default", "work", (n,), {}, {}) for n in range(3)])
    worker = work(broker, threads=1)

    broker.join("default", timeout=5000)
    worker.stop()

    found = spans.get_finished_spans()
    assert [one.status.status_code for one in found].count(StatusCode.ERROR) == 1
    assert len({one.attributes["messaging.message.id"] for one in found}) == 3
    assert left == [False]


def test_without_a_trace_nothing_is_added(make_broker, provider):
    broker = make_broker(middleware=[Tracing(provider)])

    message = broker.enqueue(Message("default", "work", (), {}, {}))

    assert message.options == {}


#: The libraries are hidden, as where they are not installed.
HIDDEN = """
import sys
sys.modules["opentelemetry"] = sys.modules["prometheus_client"] = None
from dramatiq import Message
from brokers import JetStreamBroker
from brokers.tracing import Tracing
tracing = Tracing()
message = Message("default", "work", (), {}, {})
tracing.before_enqueue(None, message, None)
tracing.before_process_message(None, message)
tracing.after_process_message(None, message)
assert message.options == {}
assert not [one for one in sys.modules if one.startswith("opentelemetry.")]
"""


def test_without_the_libraries_the_broker_works_and_nothing_is_traced():
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN], check=False, capture_output=True, text=True
    )

    assert done.stderr == ""
