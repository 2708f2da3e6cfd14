"""Whose account is called, what it is called, and what goes along with a call."""

import base64
import logging
from dataclasses import replace
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from brokers.delivery import Choice
from models import credentials
from models.errors import InvalidInputError
from models.queries.accounts import change_credentials
from models.queries.attachments import store_attachment
from models.unsubscribe import Subscription, Unsubscribing, subscription_of
from tasks.files import Files
from tests.factories import fields_of, make_config, make_started, set_chunk
from tests.fakes.endpoint import FakeEndpoint

KEY = base64.b64encode(b"k" * 32).decode()
SECRETS = ["whsec_" + base64.b64encode(c * 24).decode() for c in (b"a", b"b")]
AT_ONCE = "not_before = null"


@pytest.fixture
def endpoint():
    found = FakeEndpoint()
    found.keeps_keys = True
    yield found
    found.stop()


@pytest.fixture
def worker(start_worker):
    return start_worker(credentials_key=SecretStr(KEY))


@pytest.fixture
def config(ledger_database, endpoint):
    return make_config(ledger_database, url=endpoint.url, idempotencyKeys=True)


@pytest.fixture
def started(ledger_database, config):
    def start(**fields):
        batch_id = make_started(ledger_database, config, **fields)
        set_chunk(ledger_database, batch_id, "published_at = now()")
        return batch_id

    return start


@pytest.fixture
def change(ledger_database, config, worker):
    """Change the config's secret; the worker looks at once, and not in 2 s."""

    def changed(secret):
        sealed = credentials.seal({"secret": secret}, KEY)
        with ledger_database.transaction() as connection:
            change_credentials(connection, config["tenant_id"], config, sealed)
        worker.senders._accounts._read_at = float("-inf")

    return changed


def set_plan(database, batch_id, **sealed):
    """Change a sealed plan, as if it had been sealed so."""
    with database.statement() as connection:
        for name, value in sealed.items():
            connection.execute(
                text(
                    "update batches set sealed = jsonb_set(sealed, array[:name],"
                    " to_jsonb(cast(:value as text))) where id = :id"
                ),
                {"name": name, "value": value, "id": batch_id},
            )


def test_changed_credentials_are_used_within_seconds(
    *, started, deliver, endpoint, change, config, worker
):
    """Without a restart; and the ledger is told the account that was called."""
    accounts = []
    for secret in SECRETS:
        change(secret)
        batch_id = started()
        assert deliver(batch_id).choice is Choice.ACK
        accounts.append(worker.senders.of(str(batch_id)).plan.account)

    signatures = [seen.headers["webhook-signature"] for seen in endpoint.requests]
    assert accounts == [f"{config['id']}:{revision}" for revision in (2, 3)]
    assert len(set(signatures)) == 2


def test_a_batch_under_way_goes_on_by_the_new_account(
    *, started, deliver, endpoint, change, worker, config
):
    """It was sealed by the former one."""
    change(SECRETS[0])
    batch_id = started(recipients=4, chunk=2)
    deliver(batch_id, no=0)

    change(SECRETS[1])
    deliver(batch_id, no=1)

    assert worker.senders.of(str(batch_id)).plan.account == f"{config['id']}:3"
    assert len(endpoint.took) == 4


def test_what_another_account_was_asked_is_not_repeated(
    *, started, deliver, endpoint, change, row, ledger_database
):
    """Its key is unknown there: whoever was in doubt is unknown, and stays it."""
    change(SECRETS[0])
    batch_id = started()
    endpoint.hangs()
    assert deliver(batch_id).choice is not Choice.ACK
    set_chunk(ledger_database, batch_id, AT_ONCE)

    change(SECRETS[1])
    assert deliver(batch_id, times=2).choice is Choice.ACK

    assert row(batch_id)["unknown"] == "111"
    assert len(endpoint.requests) == 1


def test_the_same_account_repeats_it(
    *, started, deliver, endpoint, change, row, ledger_database, worker
):
    """A key of ours that is rotated changes no account."""
    change(SECRETS[0])
    batch_id = started()
    endpoint.hangs()
    deliver(batch_id)
    set_chunk(ledger_database, batch_id, AT_ONCE)

    worker.senders._accounts._read_at = float("-inf")
    assert deliver(batch_id, times=2).choice is Choice.ACK

    assert row(batch_id)["sent"] == "111"


def test_a_managed_config_sends_by_the_platforms_account(
    *, started, ledger_database, start_worker
):
    """With the provider's shared limit, and an account that tells of another key."""
    batch_id = started()
    set_plan(ledger_database, batch_id, mode="managed", provider="resend")
    plan_settings = "sealed = jsonb_set(sealed, '{settings}', '{}')"
    with ledger_database.statement() as connection:
        connection.exec_driver_sql(
            f"update batches set {plan_settings} where id = %s", (batch_id,)
        )
    keys = ["re_platform_hush", "re_platform_new"]

    senders = [
        start_worker(resend_api_key=SecretStr(key)).senders.of(str(batch_id))
        for key in keys
    ]

    config_id = senders[0].plan.config_id
    assert [bucket.scope for bucket in senders[0].buckets] == [
        "system",
        "provider:resend",
        f"config:{config_id}",
    ]
    accounts = [sender.plan.account for sender in senders]
    assert len(set(accounts)) == 2
    assert all(one.startswith("managed:resend:") for one in accounts)
    assert not any(key in f"{senders!r}" for key in keys)
    with pytest.raises(InvalidInputError, match="platform's account"):
        start_worker().senders.of(str(batch_id))


def test_credentials_are_in_no_repr_and_no_log(
    *, started, deliver, change, worker, caplog
):
    """Of all that a worker holds while it sends."""
    with caplog.at_level(logging.DEBUG):
        change(SECRETS[0])
        batch_id = started()
        deliver(batch_id)

    shown = f"{worker!r}{worker.senders.of(str(batch_id))!r}{caplog.text}"
    assert SECRETS[0] not in shown
    assert KEY not in shown


def test_links_to_unsubscribe_by_arrive_and_outlast_a_rotation(
    *, started, endpoint, ledger_database, start_worker, deliver
):
    """The batch's key is sealed: a repeated call has the same body."""
    old, new = "o" * 32, "n" * 32
    sealed = Unsubscribing.now("https://x.io", old).as_json()
    batch_id = started(content={"text": "x", "listUnsubscribe": True}, chunk=2)
    with ledger_database.statement() as connection:
        connection.execute(
            text(
                "update batches set sealed = sealed || jsonb_build_object("
                "'unsubscribe', jsonb_build_object('url', cast(:url as text),"
                " 'key', cast(:key as text))) where id = :id"
            ),
            {"id": batch_id, **sealed},
        )

    for no, keys in enumerate([old, f"{new},{old}"]):
        by = start_worker(unsubscribe_keys=SecretStr(keys))
        assert deliver(batch_id, no=no, by=by).choice is Choice.ACK

    messages = [message for seen in endpoint.requests for message in seen.json]
    links = [m["headers"]["List-Unsubscribe"] for m in messages]
    tokens = [link.removeprefix("<https://x.io/u/")[:-1] for link in links]
    assert [subscription_of(token, f"{new},{old}") for token in tokens] == [
        Subscription(UUID(str(batch_id)), seq) for seq in range(3)
    ]


def test_a_row_with_a_line_break_fails_before_any_call(
    *, started, deliver, endpoint, row
):
    """It is told why; the others are sent."""
    people = [{"name": "Ann"}, {"name": "Bo\r\nBcc: all@x.io"}, {}]
    batch_id = started(recipients=people, content={"subject": "Hi {{name}}"})

    assert deliver(batch_id).choice is Choice.ACK

    found = row(batch_id)
    assert (found["sent"], found["failed"]) == ("100", "011")
    assert found["errors"] == {
        "1": "A variable puts a line break into “subject”.",
        "2": 'Variable "name" is missing.',
    }
    assert [one.seq for one in endpoint.took] == ["0"]


def test_files_go_along_with_each_message(
    *, started, deliver, endpoint, ledger_database, config, worker
):
    """They are read once for a process, and each call has one message."""
    with ledger_database.transaction() as connection:
        sha256 = store_attachment(connection, config["tenant_id"], b"PDF")
    file = {"sha256": sha256, "filename": "a.pdf", "contentType": "application/pdf"}
    batch_id = started(content={"text": "x", "attachments": [file]})

    assert deliver(batch_id).choice is Choice.ACK

    expected = {
        "filename": "a.pdf",
        "contentType": "application/pdf",
        "content": "UERG",
    }
    assert [seen.json[0]["attachments"] for seen in endpoint.requests] == [
        [expected]
    ] * 3
    fields = fields_of(ledger_database, "batches", batch_id)
    assert fields["sealed"]["content"]["attachments"] == [file]


def test_files_are_kept_while_there_is_room(
    *, started, ledger_database, config, worker
):
    """Then the oldest goes; another tenant's is never found."""
    plans = []
    for content in (b"12", b"34", b"56"):
        with ledger_database.transaction() as connection:
            sha256 = store_attachment(connection, config["tenant_id"], content)
        about = {"sha256": sha256, "filename": "a", "contentType": "text/plain"}
        batch_id = started(content={"text": "x", "attachments": [about]})
        plans.append(worker.senders.of(str(batch_id)).plan)
    files = Files(ledger_database, most_bytes=4)

    found = [files.of(plan)[0].content for plan in (*plans, plans[0])]

    assert found == [b"12", b"34", b"56", b"12"]
    assert sum(map(len, files._kept.values())) == 4
    with pytest.raises(InvalidInputError, match="not stored"):
        files.of(replace(plans[0], tenant_id=plans[0].batch_id))
