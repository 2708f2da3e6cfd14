"""Traces that go on from whoever enqueued a job to its worker, by OpenTelemetry.

The trace travels in the message's options (`traceparent`, `tracestate`, `baggage`), not
in NATS' headers: so it survives a retry, a delay, a dead letter and its replay, and any
broker's worker finds it. Without `opentelemetry-api` nothing is imported or done.
"""

import threading
from importlib import import_module
from typing import Any

from dramatiq.broker import Broker, MessageProxy
from dramatiq.message import Message
from dramatiq.middleware import Middleware

from brokers.delivery import delivery_of


class Tracing(Middleware):
    """Gives each message the trace at hand, and each job a span in that trace.

    Put it first, so that what other middleware enqueues after a job (a retry, a
    callback) belongs to the job's own span.

    Args:
        tracer_provider: Makes the spans; none means OpenTelemetry's global one.
    """

    def __init__(self, tracer_provider: Any = None) -> None:
        self._here = threading.local()
        self._tracer: Any = None
        try:
            self._trace = import_module("opentelemetry.trace")
        except ModuleNotFoundError:
            return
        self._propagate = import_module("opentelemetry.propagate")
        self._context = import_module("opentelemetry.context")
        self._tracer = self._trace.get_tracer(
            "dramatiq_nats", tracer_provider=tracer_provider
        )

    def before_enqueue(
        self, broker: Broker, message: Message[Any], delay: int | None
    ) -> None:
        """Put the trace at hand into the message's options; without one, nothing."""
        if self._tracer is not None:
            self._propagate.inject(message.options)

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Begin the job's span."""
        if self._tracer is None:
            return
        options = {k: v for k, v in message.options.items() if isinstance(v, str)}
        span = self._tracer.start_span(
            f"process {message.actor_name}",
            context=self._propagate.extract(options),
            kind=self._trace.SpanKind.CONSUMER,
            attributes=_attributes(message),
        )
        token = self._context.attach(self._trace.set_span_in_context(span))
        # By message: a batched actor's thread has many at once.
        begun = self._here.__dict__.setdefault("begun", {})
        begun[id(message)] = (span, token)

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        """End the job's span, with what was raised."""
        self._end(message, exception)

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        """End the job's span."""
        self._end(message, None)

    def _end(self, message: MessageProxy, error: BaseException | None) -> None:
        begun = self._here.__dict__.get("begun", {})
        span, token = begun.pop(id(message), (None, None))
        if span is None:
            return
        if error is not None:
            span.record_exception(error)
            status = self._trace.StatusCode.ERROR
            span.set_status(self._trace.Status(status, str(error)))
        self._context.detach(token)
        span.end()


def _attributes(message: MessageProxy) -> dict[str, Any]:
    """Return OpenTelemetry's names for what is known of a message."""
    found: dict[str, Any] = {
        "messaging.system": "nats",
        "messaging.operation.type": "process",
        "messaging.destination.name": message.queue_name,
        "messaging.message.id": message.message_id,
        "dramatiq.actor": message.actor_name,
    }
    if delivery := delivery_of(message):
        found["dramatiq.deliveries"] = delivery.deliveries
    if tenant := message.options.get("tenant"):
        found["dramatiq.tenant"] = tenant
    return found
