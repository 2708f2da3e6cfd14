"""Whether a server takes messages is asked of the server itself."""

import asyncio

import nats
import pytest

from brokers.health import server_health
from embedded.data_dir import choose_ports
from embedded.nats_server import NatsServer


@pytest.fixture(params=[None, 1])
def limited(request, tmp_path):
    """A server with a message in it: one without a limit, and one with no room."""
    (port,) = choose_ports(tmp_path, ["nats"], explicit={}).values()
    server = NatsServer(tmp_path, port, "secret", max_stored_bytes=request.param)
    server.start()
    asyncio.run(store_one(server.url))
    yield server.url, request.param is not None
    server.stop()


async def store_one(url):
    async with await nats.connect(url) as client:
        await client.jetstream().add_stream(name="ours", subjects=["ours"])
        await client.jetstream().publish("ours", b"A message.")


async def streams(url):
    async with await nats.connect(url) as client:
        return (await client.jetstream().account_info()).streams


def test_a_server_without_room_is_full_and_nothing_is_added_to_it(limited):
    """No limit of the account says so; only the refusal does."""
    url, full = limited

    health = server_health(url)

    assert health.is_full == full
    assert health.most_bytes is None
    assert asyncio.run(streams(url)) == 1
