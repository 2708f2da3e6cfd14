"""`endpoints`: the way of a webhook endpoint from its making to its end."""

import base64
import json
from contextlib import closing

from sqlalchemy import text

from embedded.state import running_state
from models.credentials import seal, unseal
from models.database import Database

URL = "https://example.com/hook"


def made(shell, *options):
    code, out, err = shell.run("endpoints", "create", URL, "--json", *options)
    assert code == 0, err
    return json.loads(out)


def test_an_endpoint_is_made_tried_and_deleted(shell):
    """Its secret is told once; what became of each delivery is told at any time."""
    endpoint = made(shell, "--event", "message.bounced", "--event", "batch.completed")

    listed = shell.run("endpoints", "list", "--json")[1]
    tried = shell.run("endpoints", "test", endpoint["id"])
    deliveries = json.loads(
        shell.run("endpoints", "deliveries", endpoint["id"], "--json")[1]
    )
    since = ("--since", "2020-01-01T00:00:00Z")
    replayed = shell.run("endpoints", "replay", endpoint["id"], *since)

    assert endpoint["events"] == ["batch.completed", "message.bounced"]
    assert endpoint["id"] in listed
    assert endpoint["secret"] not in listed
    assert (tried[0], deliveries[0]["id"] in tried[1]) == (0, True)
    assert replayed[:2] == (0, "0 deliveries are on their way again.\n")
    assert endpoint["id"][:8] in shell.run("endpoints", "list")[1]
    assert shell.run("endpoints", "deliveries", endpoint["id"])[0] == 0
    assert shell.run("endpoints", "delete", endpoint["id"])[0] == 0
    assert shell.run("endpoints", "delete", endpoint["id"])[0] == 1


def test_without_events_it_hears_everything(shell):
    code, out, err = shell.run("endpoints", "create", URL)

    assert code == 0, err
    assert "Its secret is whsec_" in out


def test_an_endpoints_secret_is_put_under_the_new_key(shell, monkeypatch):
    endpoint = made(shell)
    keys = [base64.b64encode(letter * 32).decode() for letter in (b"p", b"q")]
    url = running_state(shell.data_dir).urls["DATABASE_URL"]
    with closing(Database(url)) as database, database.statement() as connection:
        given = {"id": endpoint["id"], "sealed": seal({"secret": "hush"}, keys[0])}
        connection.execute(
            text("update webhook_endpoints set secret = :sealed where id = :id"), given
        )
        monkeypatch.setenv("CREDENTIALS_KEY", ",".join(reversed(keys)))

        shell.run("credentials", "rotate")

        kept = connection.execute(
            text("select secret from webhook_endpoints where id = :id"), given
        ).scalar_one()
    assert unseal(bytes(kept), keys[1]) == {"secret": "hush"}
