"""The four servers as one thing."""

import socket
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis
from clickhouse_connect import get_client

from embedded.data_dir import choose_ports
from embedded.process import StartError, gone
from embedded.stack import NAMES, Stack
from models.errors import ConflictError


def _postgres(stack: Stack) -> "psycopg2.extensions.connection":
    return psycopg2.connect(stack.postgres.url.replace("+psycopg2", ""))


def test_data_survive_a_power_cut(own_stack: Stack) -> None:
    """Whatever a server acknowledged is there after all were killed at once."""
    own_stack.start()
    with _postgres(own_stack) as connection, connection.cursor() as cursor:
        cursor.execute("create table t as select 7 as n")
    redis.Redis.from_url(own_stack.dragonfly.url).set("n", 7)
    clickhouse = get_client(dsn=own_stack.clickhouse.url)
    clickhouse.command("create table t (n UInt8) engine = MergeTree order by n")
    clickhouse.insert("t", [[7]], column_names=["n"])

    for server in own_stack.servers:
        server.kill()
    own_stack.start()

    with _postgres(own_stack) as connection, connection.cursor() as cursor:
        cursor.execute("select n from t")
        assert cursor.fetchall() == [(7,)]
    assert redis.Redis.from_url(own_stack.dragonfly.url).get("n") == b"7"
    clickhouse = get_client(dsn=own_stack.clickhouse.url)
    assert clickhouse.query("select n from t").result_rows == [(7,)]


def test_stop_leaves_nobody_behind(own_stack: Stack) -> None:
    """No process of ours lives after stop, and the ports are free."""
    own_stack.start()
    family = [member for server in own_stack.servers for member in server.family()]
    assert len(family) > len(own_stack.servers)

    own_stack.stop()

    assert all(gone(member, timeout_s=0) for member in family)


def test_a_second_stack_runs_beside_the_first(own_stack: Stack, tmp_path: Path) -> None:
    """Two directories are two stacks, with other ports and other data."""
    own_stack.dragonfly.start()
    redis.Redis.from_url(own_stack.dragonfly.url).set("mine", 1)

    with Stack(tmp_path / "other", names=("dragonfly", "nats")) as other:
        assert redis.Redis.from_url(other.dragonfly.url).get("mine") is None
        assert not set(other.ports.values()) & set(own_stack.ports.values())


def test_one_directory_has_one_stack(own_stack: Stack, tmp_path: Path) -> None:
    """A second one in the same directory is told what to do."""
    with pytest.raises(ConflictError, match=r"already up in .*batchsender down"):
        Stack(tmp_path / "data")


def test_ports_are_remembered_and_yield_to_who_has_them(tmp_path: Path) -> None:
    """A taken port is replaced, unless somebody insisted on it."""
    first = choose_ports(tmp_path, ["a", "b"], explicit={})
    assert choose_ports(tmp_path, ["a", "b"], explicit={}) == first

    with socket.create_server(("127.0.0.1", first["a"])):
        second = choose_ports(tmp_path, ["a", "b"], explicit={})
        with pytest.raises(ConflictError, match=f"Port {first['a']}, asked for a, is"):
            choose_ports(tmp_path, ["a"], explicit={"a": first["a"]})

    assert second["a"] != first["a"]
    assert second["b"] == first["b"]


@pytest.mark.parametrize("name", NAMES)
def test_a_port_taken_meanwhile_is_named(own_stack: Stack, name: str) -> None:
    """One sentence says which port it is and what to do; nothing else is touched."""
    port = own_stack.ports[name]

    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(StartError, match=f"{name} cannot start because port {port} is"),
    ):
        own_stack.start()

    assert not [server for server in own_stack.servers if server.running]


def test_a_pid_file_of_another_program_does_not_keep_postgres_down(
    own_stack: Stack, tmp_path: Path
) -> None:
    """After a crash its number may belong to anybody, as in a new container."""
    own_stack.postgres.start()
    own_stack.postgres.kill()
    pid_file = tmp_path / "data" / "postgres" / "postmaster.pid"
    lines = pid_file.read_text().split("\n")
    pid_file.write_text("\n".join([str(psutil.Process().pid), *lines[1:]]))

    own_stack.postgres.start()

    assert own_stack.postgres.running


def test_dragonfly_goes_back_in_time(own_stack: Stack, tmp_path: Path) -> None:
    """A snapshot holds what was acknowledged; restoring forgets what came later."""
    own_stack.dragonfly.start()
    redis.Redis.from_url(own_stack.dragonfly.url).set("n", 1)
    own_stack.dragonfly.snapshot(tmp_path / "snapshot")
    redis.Redis.from_url(own_stack.dragonfly.url).set("n", 2)

    own_stack.dragonfly.restore(tmp_path / "snapshot")
    assert redis.Redis.from_url(own_stack.dragonfly.url).get("n") == b"1"

    own_stack.dragonfly.restart_empty()
    assert redis.Redis.from_url(own_stack.dragonfly.url).dbsize() == 0
