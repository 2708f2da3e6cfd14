"""A login is sent to every server, and shown to nobody."""

from types import SimpleNamespace
from urllib.parse import urlparse

import pytest

from brokers.servers import NextServer, ServerOptions


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("nats://h:1", {}),
        ("nats://u:p%40x@h:1", {"user": "u", "password": "p@x"}),
        ("u:p@h:1", {"user": "u", "password": "p"}),
        ("tls://t%2Fk@h:1", {"token": "t/k"}),
    ],
)
def test_the_urls_login_goes_to_all_servers(url, login):
    """Those of which only the cluster tells have no URL of ours."""
    options = ServerOptions((url, "h:2"), "name").for_client()

    given = {key: options.get(key) for key in ("user", "password", "token")}
    assert {key: value for key, value in given.items() if value} == login
    assert all("@" not in server for server in options["servers"])


def test_the_options_show_no_secret():
    options = ServerOptions(("nats://u:hush@h:1",), "name")

    assert "hush" not in repr(options)


def test_the_lost_server_is_tried_last_and_whoever_failed_after_it():
    def server(name, reconnects):
        return SimpleNamespace(uri=urlparse(f"nats://{name}:1"), reconnects=reconnects)

    choose = NextServer()
    choose.connected(urlparse("nats://lost:1"))

    first, pause_s = choose([server("lost", 0), server("other", 0)], {})
    second, _ = choose([server("lost", 0), server("other", 1)], {})

    assert first.uri.hostname == "other"
    assert 0 < pause_s <= 0.02
    assert second.uri.hostname == "lost"
