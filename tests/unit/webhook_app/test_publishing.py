"""Reports that come at once are stored together, and each hears its own outcome."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from brokers.errors import NotStoredError
from models.errors import InvalidInputError, NeighbourUnavailableError
from models.jobs import RecordWebhook
from webhook_app.publishing import MOST_TOGETHER, Publisher

MANY = 40


def job(number: int) -> RecordWebhook:
    return RecordWebhook("resend", "email.sent", {"number": number})


class Server:
    """Takes groups of jobs; the first only when it is let."""

    def __init__(self, refuse=lambda ids: None) -> None:
        self.groups: list[list[str]] = []
        self.may_go = threading.Event()
        self.began = threading.Event()
        self._refuse = refuse

    def __call__(self, jobs, dedup_ids) -> None:
        self.began.set()
        assert self.may_go.wait(60)
        self._refuse(dedup_ids)
        self.groups.append(list(dedup_ids))


def all_at_once(server: Server) -> list[Exception | None]:
    """Return what each of many threads heard, all there before the first is stored."""
    publisher = Publisher(server)

    def publish(number: int) -> Exception | None:
        try:
            publisher(job(number), dedup_id=str(number))
        except Exception as error:  # noqa: BLE001 - it is what is looked at
            return error
        return None

    with ThreadPoolExecutor(MANY) as threads:
        heard = [threads.submit(publish, 0)]
        assert server.began.wait(60)
        heard += [threads.submit(publish, number) for number in range(1, MANY)]
        while len(publisher._waiting) < MANY - 1:
            assert threading.Event().wait(0.001) is False
        server.may_go.set()
        return [one.result(60) for one in heard]


def test_what_comes_while_another_is_stored_is_stored_together():
    server = Server()

    heard = all_at_once(server)

    assert heard == [None] * MANY
    assert len(server.groups) == 2
    assert sorted(map(int, sum(server.groups, []))) == list(range(MANY))  # noqa: RUF017 - two lists


def test_one_that_cannot_be_stored_takes_no_other_with_it():
    def refuse(ids):
        if "7" in ids:
            raise TypeError("Recursion limit reached")

    server = Server(refuse)

    heard = all_at_once(server)

    assert [n for n, error in enumerate(heard) if error] == [7]
    assert isinstance(heard[7], InvalidInputError)


def test_when_nats_refuses_nobody_is_told_that_it_is_stored():
    def refuse(ids):
        raise NotStoredError("no")

    heard = all_at_once(Server(refuse))

    assert {type(error) for error in heard} == {NeighbourUnavailableError}


def test_an_unforeseen_error_is_no_storage_either():
    """And whoever waited is not left waiting."""

    def refuse(ids):
        if len(ids) > 1:
            raise RuntimeError("unforeseen")

    heard = all_at_once(Server(refuse))

    assert heard[0] is None
    assert all(heard[1:])


def test_no_more_than_so_many_go_together(monkeypatch):
    monkeypatch.setattr("webhook_app.publishing.MOST_TOGETHER", 10)
    server = Server()

    heard = all_at_once(server)

    assert heard == [None] * MANY
    assert max(map(len, server.groups)) == 10 < MOST_TOGETHER


def test_the_next_one_can_be_stored_after_a_failure():
    failing = [NotStoredError("no"), None]

    def send(jobs, ids):
        if error := failing.pop(0):
            raise error

    publisher = Publisher(send)
    with pytest.raises(NeighbourUnavailableError):
        publisher(job(1), dedup_id="1")

    publisher(job(1), dedup_id="1")
