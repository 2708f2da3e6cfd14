"""What an operator does by the command: tenants, keys and limits."""

import json
from uuid import uuid4


def test_a_tenant_gets_a_key_and_loses_it(shell, monkeypatch):
    name = f"tenant-{uuid4()}"
    assert shell.run("tenants", "create", name)[0] == 0
    code, key, err = shell.run("keys", "create", name, "--scope", "read")
    assert code == 0, err
    key = key.strip()
    named = [
        json.loads(x)
        for x in shell.run("tenants", "list", "--json")[1].split("\n")
        if x
    ]
    assert name in [one["name"] for one in named]

    listed = json.loads(shell.run("keys", "list", name, "--json")[1])
    assert (listed["prefix"], listed["scopes"]) == (key.split("_")[1], ["read"])
    monkeypatch.setenv("BATCHSENDER_API_KEY", key)
    assert shell.run("config", "list")[0] == 0
    assert shell.run("config", "create", "x", "--url", "http://127.0.0.1:9/")[0] != 0
    assert shell.run("keys", "revoke", name, listed["prefix"])[0] == 0
    assert shell.run("config", "list")[0] != 0
    assert shell.run("keys", "revoke", name, listed["prefix"])[0] == 1


def test_nobody_is_made_twice_or_named_wrongly(shell):
    name = f"tenant-{uuid4()}"
    assert shell.run("tenants", "create", name)[0] == 0

    code, _, err = shell.run("tenants", "create", name)
    assert (code, "already" in err) == (1, True)
    code, _, err = shell.run("keys", "create", "nobody")
    assert (code, "tenants list" in err) == (1, True)


def test_a_limit_is_changed_and_reset(shell):
    code, out, err = shell.run("limits", "set", "provider/ses", "14", "--reason", "new")
    assert (code, out) == (0, "14 a second, 7 at once (override).\n"), err

    listed = json.loads(shell.run("limits", "list", "--json")[1])
    assert (listed["scope"], listed["reason"]) == ("provider:ses", "new")
    assert "provider:ses" in shell.run("limits", "list")[1]
    assert shell.run("limits", "reset", "provider/ses")[0] == 0
    assert shell.run("limits", "show", "provider/ses")[1] == "100 a second (default).\n"
    assert shell.run("limits", "reset", "provider/ses")[0] == 1
