"""Every line that a job logs tells which job it was."""

import logging

import dramatiq
import pytest
from dramatiq import Message
from dramatiq.middleware import Middleware, Retries

from brokers import Route
from brokers.job_context import JobContext, JobFilter, job_fields
from tests.integration.brokers.conftest import until


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)

    def of(self, text):
        return [one for one in self.records if text in one.getMessage()]


@pytest.fixture
def lines():
    lines = Lines()
    lines.addFilter(JobFilter())
    logging.getLogger().addHandler(lines)
    yield lines
    logging.getLogger().removeHandler(lines)


class Striking(Middleware):
    """Raises where Dramatiq does not expect it."""

    def after_process_message(self, broker, message, **_):
        if message.options.get("strike"):
            raise KeyboardInterrupt


def test_lines_of_a_job_carry_message_actor_queue_tenant_and_deliveries(
    make_broker, work, lines
):
    """The actor's own, Dramatiq's about its failure, and ours about its thread."""
    route = Route("t", "lines", "lines.{tenant}.x")
    broker = make_broker(
        routes=[route],
        middleware=[Retries(max_retries=0), JobContext(), Striking()],
    )

    @dramatiq.actor(actor_name="work", queue_name="t", broker=broker)
    def actor(what):
        logging.getLogger("mine").warning("Doing %s.", what)
        if what == "fail":
            raise ValueError

    worker = work(broker, threads=1)
    failing = Message("t", "work", ("fail",), {}, {"tenant": "ann"})
    broker.enqueue(failing)
    until(lambda: lines.of("unhandled exception"))
    striking = Message("t", "work", ("do",), {}, {"tenant": "bob", "strike": True})
    broker.enqueue(striking)
    until(lambda: lines.of("Raised outside of an actor"))
    worker.stop()
    logging.getLogger("mine").warning("Nothing to do.")

    expected = (failing.message_id, "work", "t", "ann", 1)
    for text in ("Doing fail.", "unhandled exception"):
        line = lines.of(text)[0]
        found = (line.message_id, line.actor, line.queue, line.tenant, line.deliveries)
        assert found == expected
    first, *_ = lines.of("Raised outside of an actor")
    assert (first.message_id, first.tenant) == (striking.message_id, "bob")
    [line] = lines.of("Nothing to do.")
    assert line.message_id == line.tenant == ""
    assert job_fields() == {}
    broker.flush("t")
