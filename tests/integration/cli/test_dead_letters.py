"""`dead-letters` and `queues`, with letters that really died."""

import io
import json
import time
from contextlib import closing
from dataclasses import replace
from uuid import UUID

import dramatiq
import pytest
from dramatiq.middleware import Retries

from brokers import dispatch
from cli import main
from cli.machine import running_machine
from embedded.state import running_state
from models import chunk as rules
from models.database import Database
from models.jobs import RecordWebhook, SendChunk, SendMessage
from models.queries import ledger, publishing
from tests.factories import claimed, fields_of


@pytest.fixture
def urls(machine_dir):
    return running_state(machine_dir).urls


@pytest.fixture
def die(urls, shell):
    """Have jobs fail in a real worker; no letter is left from test to test."""
    broker = dispatch.connect(urls["NATS_URL"], middleware=[Retries(max_retries=0)])

    def wrong(**_):
        raise ValueError("It broke.")

    for job in (RecordWebhook, SendChunk, SendMessage):
        dramatiq.actor(wrong, actor_name=job.actor, queue_name=job.queue, broker=broker)
    worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=50)
    worker.start()

    def die(*jobs):
        letters = broker.dead_letters()
        letters.drop()
        dispatch.send_many(broker, jobs)
        deadline = time.monotonic() + 20
        while letters.count() < len(jobs):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return [one.sequence for one in letters]

    yield die
    worker.stop()
    broker.flush_all()
    broker.close()


@pytest.fixture
def dead_chunk(shell, machine_dir, urls):
    """A batch of three, one in call, whose chunk was buried."""
    url = running_machine(machine_dir).url("sink")
    options = ("--channel", "email", "--data", str(machine_dir))
    main(["config", "create", "dead", "--url", url, *options])
    file = shell.file("a.csv", "email\na@b.example\nc@d.example\ne@f.example\n")
    sent = shell.run("send", file, "--config", "dead", "--text", "Hi", "--json")[1]
    batch_id = UUID(json.loads(sent.splitlines()[-1])["batch_id"])
    with closing(Database(urls["DATABASE_URL"], pool_size=2)) as database:
        with database.transaction() as connection:
            publishing.start_due_batches(connection)
        held = claimed(database, batch_id, calls=[0b001])
        buried = rules.buried(replace(held, crashes=5))
        with database.statement() as connection:
            ledger.advance(connection, buried, then=None, lease_s=45, dead=True)
        tenant_id = str(fields_of(database, "batches", batch_id)["tenant_id"])
        job = SendChunk(str(batch_id), tenant_id, 0, 0, 3, 0)
        yield job, lambda: fields_of(database, "chunks", batch_id, no=0)


REPORTS = [RecordWebhook("custom", "sent", {"id": n}) for n in range(3)]


def test_letters_are_listed_and_shown_without_what_they_carry(shell, die):
    """Whoever wants the body, with the people in it, asks for it."""
    first, *_ = die(*REPORTS)

    code, out, err = shell.run("dead-letters", "list", "--limit", "2", "--json")

    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [one["number"] for one in found] == [first, first + 1]
    assert {one["error"] for one in found} == {"ValueError: It broke."}
    table = shell.run("dead-letters", "list", "--limit", "2")[1]
    assert "2 of 3" in table
    shown = shell.run("dead-letters", "show", str(first))[1]
    assert "actor: record_webhook" in shown
    assert "raise ValueError" in shown
    assert "body" not in shown
    as_json = shell.run("dead-letters", "show", str(first), "--body", "--json")[1]
    assert json.loads(json.loads(as_json)["body"])["kwargs"]["body"] == {"id": 0}


def test_many_are_touched_only_after_a_yes(shell, die, monkeypatch):
    """And nothing is replayed or dropped that was not named."""
    first, *_ = die(*REPORTS)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))

    assert shell.run("dead-letters", "drop", "--all")[0] == 130
    assert shell.run("dead-letters", "drop")[0] == 2
    assert shell.run("dead-letters", "replay", "1", "--all")[0] == 2
    code, out, _ = shell.run("dead-letters", "drop", str(first))
    assert (code, out) == (0, "1 dropped.\n")

    code, _, err = shell.run("dead-letters", "drop", str(first))
    assert code == 1
    assert f"no dead letter {first}" in err
    assert shell.run("dead-letters", "show", str(first))[0] == 1
    out = shell.run("dead-letters", "drop", "--queue", "webhook", "--yes")[1]
    assert out == "2 dropped.\n"


def test_replayed_letters_run_and_die_again(shell, die):
    numbers = die(*REPORTS)

    code, out, _ = shell.run("dead-letters", "replay", "--all", "--yes")

    assert (code, out) == (0, "3 replayed.\n")
    listed = json.loads(shell.run("dead-letters", "list", "--json")[1])
    assert not {one["number"] for one in listed} & set(numbers)


def test_a_chunks_letter_is_replayed_by_the_ledger(shell, die, dead_chunk):
    """The row is open for whom nobody called; a second letter of it finds nothing."""
    job, row = dead_chunk
    first, second = die(job, job)

    code, out, err = shell.run("dead-letters", "replay", str(first))

    assert (code, err) == (0, "")
    assert out == f"{first}: 2 recipients are sent now.\n1 replayed.\n"
    found = row()
    assert (found["state"], found["unknown"], found["failed"]) == ("open", "100", "000")
    out = shell.run("dead-letters", "replay", str(second))[1]
    assert out == f"{second}: 0 recipients are sent now.\n1 replayed.\n"
    assert shell.run("dead-letters", "list", "--json")[1] == "[]\n"


def test_a_single_messages_letter_is_replayed_by_the_ledger(shell, die, dead_chunk):
    """As that of any chunk."""
    job, row = dead_chunk
    (letter,) = die(SendMessage(job.batch_id, job.tenant_id))

    code, out, err = shell.run("dead-letters", "replay", str(letter))

    assert (code, err) == (0, "")
    assert out == f"{letter}: 2 recipients are sent now.\n1 replayed.\n"
    assert row()["state"] == "open"


def test_a_chunk_that_cannot_be_replayed_stays_a_letter(shell, die, dead_chunk):
    """It says why; the others are replayed all the same."""
    job, _ = dead_chunk
    gone = replace(job, batch_id="00000000-0000-0000-0000-000000000000")
    shell.run("cancel", job.batch_id)
    die(job, gone, REPORTS[0])
    listed = ("dead-letters", "list", "--queue", "chunk", "--json")
    before = json.loads(shell.run(*listed)[1])
    cancelled, missing = [one["number"] for one in before]

    code, out, err = shell.run("dead-letters", "replay", "--all", "--yes")

    assert (code, out) == (1, "1 replayed.\n")
    assert f"letter {cancelled} is of a batch that is cancelled" in err
    assert f"letter {missing} is of a batch that is gone" in err
    assert json.loads(shell.run(*listed)[1]) == before


def test_queues_are_shown_with_their_figures(shell, die):
    die(*REPORTS)

    code, out, err = shell.run("queues", "--every", "0.2", "--json")

    assert (code, err) == (0, "")
    figures = {one.pop("queue"): one for one in json.loads(out)}
    assert figures.keys() == {"batch", "priority", "chunk", "webhook", "outgoing"}
    webhook = figures["webhook"]
    assert (webhook["dead"], webhook["ready"], webhook["in_flight"]) == (3, 0, 0)
    assert "webhook" in shell.run("queues", "--every", "0.1")[1]
