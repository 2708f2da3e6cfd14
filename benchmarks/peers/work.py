"""What each task of a peer does, the same under Celery and under Dramatiq.

It imports nothing of the project: this is what somebody writes who has only the usual
libraries. One POST of an array, then one statement for all statuses and one for the
counter, in one transaction.
"""

import os
import threading
from functools import cache
from typing import Any

import orjson
import psycopg2
import requests

_STATUSES = """
    update recipients r set status = s.status
    from unnest(%s::int[], %s::recipient_status[]) as s(seq, status)
    where r.batch_id = %s and r.seq = s.seq and r.status < s.status
    """
_COUNTER = "update batches set sent = sent + %s where id = %s"
#: What our own fold asks for as well: else a task may read the whole table.
_BY_KEY = "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off"
_MINE = threading.local()


@cache
def templates() -> tuple[str, str]:
    """Return the subject and the text, as `str.format` takes them."""
    return os.environ["BENCH_SUBJECT"], os.environ["BENCH_TEXT"]


def deliver(
    batch_id: str, first: int, addresses: list[str], variables: list[dict[str, Any]]
) -> None:
    """Render, post and record the recipients from `first` on."""
    subject, body = templates()
    messages = [
        {
            "batch": batch_id,
            "seq": seq,
            "to": address,
            "subject": subject.format_map(values),
            "text": body.format_map(values),
        }
        for seq, (address, values) in enumerate(
            zip(addresses, variables, strict=True), start=first
        )
    ]
    answer = _session().post(
        os.environ["BENCH_SINK"],
        data=orjson.dumps(messages),
        headers={
            "Content-Type": "application/json",
            "Idempotency-Key": f"{batch_id}:{first}",
        },
        timeout=20,
    )
    answer.raise_for_status()
    _record(batch_id, list(range(first, first + len(addresses))))


def _record(batch_id: str, seqs: list[int]) -> None:
    connection = _connection()
    with connection, connection.cursor() as cursor:
        cursor.execute(_STATUSES, [seqs, ["sent"] * len(seqs), batch_id])
        cursor.execute(_COUNTER, [cursor.rowcount, batch_id])


def _session() -> requests.Session:
    if not hasattr(_MINE, "session"):
        _MINE.session = requests.Session()
        # Else it looks for proxies and passwords anew for every call.
        _MINE.session.trust_env = False
    session: requests.Session = _MINE.session
    return session


def _connection() -> Any:
    if not hasattr(_MINE, "connection"):
        _MINE.connection = psycopg2.connect(os.environ["DATABASE_URL"], options=_BY_KEY)
    return _MINE.connection
