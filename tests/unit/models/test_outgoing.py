"""What endpoints are told is packed in order, told alike, and tried for three days."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.outgoing import (
    EVENTS,
    RETRY_AFTER_S,
    Noted,
    Secrets,
    body_of,
    new_secret,
    packed,
    size_of,
    wait_s,
)
from providers.signatures import standard_webhooks_key

BATCH = UUID(int=7)
AT = datetime(2026, 11, 22, 20, 0, tzinfo=UTC)


def row(event="message.sent", seqs=(0, 1, 2), details=None, batch_id=BATCH):
    return {
        "event": event,
        "batch_id": batch_id,
        "at": AT,
        "seqs": list(seqs),
        "details": details,
    }


def told(groups, addresses=None):
    """Return the events of a body as JSON has them."""
    body = body_of(orjson.loads(orjson.dumps(groups)), addresses or {}, at=AT)
    return orjson.loads(orjson.dumps(body))["data"]


@given(
    st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 40)), max_size=12),
    st.sets(st.sampled_from(EVENTS)),
    st.integers(1, 17),
)
def test_everything_wanted_is_packed_once_and_in_order(rows, wanted, batch_size):
    """No delivery is too large; none but the last has room."""
    rows = [row(event, range(size)) for event, size in rows]

    packs = list(packed(rows, events=wanted, batch_size=batch_size))

    sizes = [size_of(groups) for groups in packs]
    found = [
        (group["event"], seq)
        for groups in packs
        for group in groups
        for seq in group["seqs"] or [None]
    ]
    assert all(size == batch_size for size in sizes[:-1])
    assert all(0 < size <= batch_size for size in sizes[-1:])
    assert found == [
        (one["event"], seq)
        for one in rows
        if one["event"] in wanted
        for seq in one["seqs"] or [None]
    ]


def test_an_event_tells_whom_it_is_about():
    """Details are by position; who was erased is told without an address."""
    details = [{"providerMessageId": "m-0"}, {}, {"reason": "No mailbox."}]
    groups = next(packed([row(details=details)], events=["message.sent"], batch_size=2))
    addresses = {(str(BATCH), 0): "ada@example.com"}

    first, second = told(groups, addresses)

    assert first == {
        "id": f"{BATCH}:0:message.sent",
        "type": "message.sent",
        "timestamp": "2026-11-22T20:00:00+00:00",
        "data": {
            "batch": str(BATCH),
            "seq": 0,
            "to": "ada@example.com",
            "providerMessageId": "m-0",
        },
    }
    assert second["data"] == {"batch": str(BATCH), "seq": 1}


def test_a_report_tells_its_own_id_and_time():
    """So that a click that is noted twice is known again, and two clicks are two."""
    click = Noted(BATCH, 3, "message.clicked", AT, "evt_1", {"link": "https://x.io"})
    details = [orjson.loads(orjson.dumps(click.stored))]

    (event,) = told(
        [{"event": click.event, "batch": str(BATCH), "at": "later", "seqs": [3],
          "details": details}]
    )  # fmt: skip

    assert (event["id"], event["timestamp"]) == ("evt_1", "2026-11-22T20:00:00+00:00")
    assert event["data"] == {"batch": str(BATCH), "seq": 3, "link": "https://x.io"}


def test_what_is_of_no_batch_is_one_event():
    endpoint = str(uuid4())
    groups = next(
        packed(
            [row("endpoint.disabled", (), [{"endpoint": endpoint}], batch_id=None)],
            events=["endpoint.disabled"],
            batch_size=9,
        )
    )

    (event,) = told(groups)

    assert event["data"] == {"endpoint": endpoint}


def test_attempts_are_those_of_the_standard():
    """With some jitter upwards, and never sooner than the endpoint asked for."""
    waits = [wait_s(attempts) for attempts in range(1, 10)]

    assert all(
        least <= wait <= least * 1.2
        for least, wait in zip(RETRY_AFTER_S, waits, strict=True)
    )
    assert wait_s(10) is None
    assert wait_s(1, asked_s=90) >= 90


def test_after_a_change_both_secrets_sign_for_a_while():
    first = Secrets(new_secret())
    both = first.rotated(new_secret(), AT, timedelta(hours=1))
    again = Secrets.of(orjson.loads(orjson.dumps(both.stored)))

    assert len(standard_webhooks_key(first.secret)) == 32
    assert again == both
    assert Secrets.of(first.stored) == first
    assert again.signing(AT.timestamp() + 3599) == [both.secret, first.secret]
    assert again.signing(AT.timestamp() + 3600) == [both.secret]


@pytest.mark.parametrize(
    "event", ["message.sent", "message.bounced", "batch.completed"]
)
def test_what_is_promised_can_be_subscribed_to(event):
    assert event in EVENTS
