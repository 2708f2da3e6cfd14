"""What applications do with a broker: any of them works with any broker."""

import asyncio
import threading

import dramatiq
import pytest
from dramatiq import group, pipeline
from dramatiq.middleware import (
    AsyncIO,
    Callbacks,
    CurrentMessage,
    GroupCallbacks,
    Pipelines,
    Retries,
    TimeLimit,
    TimeLimitExceeded,
)
from dramatiq.rate_limits.backends import StubBackend as StubLimits
from dramatiq.results import Results
from dramatiq.results.backends import StubBackend as StubResults

from tests.contracts.broker import Contract, until


class ApplicationContract(Contract):
    """Dramatiq's own features, over the broker."""

    @pytest.fixture
    def actor(self, backend, work):
        """Declare actors on a started worker's broker, all of the one queue."""
        broker = backend.broker(
            TimeLimit(interval=50),
            Callbacks(),
            Pipelines(),
            Retries(min_backoff=1, max_backoff=1),
            GroupCallbacks(StubLimits()),
            Results(backend=StubResults()),
            AsyncIO(),
            CurrentMessage(),
        )
        broker.declare_queue(backend.queue)
        # Results are looked for where the global broker says.
        dramatiq.set_broker(broker)
        broker.emit_after("process_boot")
        work(broker, threads=4)

        def declare(function, **options):
            return dramatiq.actor(
                function,
                actor_name=options.pop("name", None),
                queue_name=backend.queue,
                broker=broker,
                **options,
            )

        yield declare
        dramatiq.set_broker(None)

    def test_results_come_back(self, actor):
        double = actor(lambda n: 2 * n, name="double", store_results=True)

        assert double.send(21).get_result(block=True, timeout=20_000) == 42

    def test_a_pipeline_passes_results_on(self, actor):
        add = actor(lambda a, b: a + b, name="add", store_results=True)

        sums = pipeline([add.message(1, 2), add.message(3), add.message(4)]).run()

        assert sums.get_result(block=True, timeout=20_000) == 10

    def test_a_pipeline_may_be_delayed(self, actor):
        add = actor(lambda a, b: a + b, name="add", store_results=True)

        sums = pipeline([add.message(1, 2), add.message(3)]).run(delay=100)

        assert sums.get_result(block=True, timeout=20_000) == 6

    def test_a_group_is_finished_with_its_last_member(self, actor):
        finished = []
        double = actor(lambda n: 2 * n, name="double", store_results=True)
        end = actor(lambda: finished.append(1), name="end")
        members = group([double.message(n) for n in range(8)])
        members.add_completion_callback(end.message())

        found = members.run().get_results(block=True, timeout=20_000)

        assert list(found) == [2 * n for n in range(8)]
        until(lambda: finished == [1])

    def test_callbacks_are_called(self, actor):
        told = []
        actor(lambda data, result: told.append(("success", result)), name="succeeded")
        actor(lambda data, error: told.append(error["type"]), name="failed")

        def maybe(ok):
            if not ok:
                raise ValueError
            return ok

        work = actor(
            maybe,
            name="maybe",
            max_retries=0,
            on_success="succeeded",
            on_failure="failed",
        )
        work.send(7)
        work.send(0)

        until(lambda: len(told) == 2)
        assert sorted(told, key=str) == [("success", 7), "ValueError"]

    def test_failures_are_retried(self, actor):
        retries = []

        def fail():
            retries.append(CurrentMessage.get_current_message().options.get("retries"))
            if len(retries) < 4:
                raise ValueError

        actor(fail, name="fail").send()

        until(lambda: retries == [None, 1, 2, 3])

    def test_who_gave_up_is_told_of(self, actor):
        told = []
        actor(lambda data, n: told.append(n["retries"]), name="exhausted")

        def fail():
            raise ValueError

        actor(fail, name="fail", max_retries=2, on_retry_exhausted="exhausted").send()

        until(lambda: told == [2])

    def test_a_time_limit_ends_a_job(self, actor):
        ended = []

        def endless():
            try:
                while True:
                    threading.Event().wait(0.01)
            except TimeLimitExceeded:
                ended.append(1)
                raise

        actor(endless, name="endless", time_limit=200, max_retries=0).send()
        until(lambda: ended == [1])

        alive = []
        actor(lambda: alive.append(1), name="alive").send()
        until(lambda: alive == [1])

    def test_an_actor_may_be_asynchronous(self, actor):
        async def double(n):
            await asyncio.sleep(0.01)
            return 2 * n

        messages = [actor(double, name="double", store_results=True).message(4)]

        assert list(group(messages).run().get_results(block=True, timeout=20_000)) == [
            8
        ]

    def test_an_actor_sends_to_others(self, actor):
        seen = []
        leaf = actor(seen.append, name="leaf")

        def branch(n):
            for i in range(n):
                leaf.send(i)

        actor(branch, name="branch").send(20)

        until(lambda: sorted(seen) == list(range(20)))
