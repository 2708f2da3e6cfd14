"""clickhouse-connect, unchanged, against our own endpoint."""

from collections.abc import Iterator

import pytest
from clickhouse_connect import get_client
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError


@pytest.fixture
def client(clickhouse_url: str) -> Iterator[Client]:
    """A client with an empty table `numbers_seen`."""
    client = get_client(dsn=clickhouse_url)
    client.command("drop table if exists numbers_seen")
    client.command(
        "create table numbers_seen (n UInt64, name String, bits Array(UInt8))"
        " engine = ReplacingMergeTree order by n"
    )
    yield client
    client.close()


def test_columns_go_in_and_come_out(client: Client) -> None:
    """An INSERT is streamed as compressed blocks; the summary counts its rows."""
    count = 100_000
    columns = [list(range(count)), ["x"] * count, [[1, 2]] * count]
    names = ["n", "name", "bits"]

    summary = client.insert("numbers_seen", columns, names, column_oriented=True)

    assert summary.written_rows == count
    found = client.query("select count(), sum(n), any(bits) from numbers_seen final")
    assert found.result_rows == [(count, count * (count - 1) // 2, [1, 2])]


@pytest.mark.parametrize("compress", [False, "lz4", "gzip"])
def test_bodies_may_be_compressed(
    client: Client, clickhouse_url: str, compress: object
) -> None:
    """Whatever the client chooses, the same rows arrive."""
    other = get_client(dsn=clickhouse_url, compress=compress)

    other.insert("numbers_seen", [[5, "five"]], column_names=["n", "name"])

    assert client.query("select n, name from numbers_seen").result_rows == [(5, "five")]


def test_an_insert_may_carry_text(client: Client) -> None:
    """`INSERT … FORMAT x`, with values in the statement, or from a query."""
    client.raw_insert("numbers_seen", ["n"], b"1\n2\n", fmt="TabSeparated")
    client.command("insert into numbers_seen (n) values (3), (4)")
    client.command("insert into numbers_seen (n) select 5")

    assert client.command("select sum(n) from numbers_seen") == 15


@pytest.mark.parametrize("in_form", [False, True])
def test_parameters_are_values(clickhouse_url: str, in_form: object) -> None:
    """The server binds them, in the address or in a form; quotes do no harm."""
    client = get_client(dsn=clickhouse_url, form_encode_query_params=in_form)
    values = {"n": 4, "name": "o'b\\ \n"}

    answer = client.query("select {n:UInt32} + 1, {name:String}", parameters=values)

    assert answer.result_rows == [(5, "o'b\\ \n")]


def test_settings_hold_for_one_query(client: Client) -> None:
    """Neither a query's settings nor SET reach the next query."""
    ask = "select getSetting('max_block_size')"
    usual = client.query(ask).result_rows

    assert client.query(ask, settings={"max_block_size": 77}).result_rows == [(77,)]
    client.command("set max_block_size = 78")
    assert client.query(ask).result_rows == usual


@pytest.mark.parametrize(
    ("statement", "code"),
    [("select nope", 47), ("select * from missing", 60), ("selec 1", 62)],
)
def test_errors_have_clickhouse_numbers(
    client: Client, statement: str, code: int
) -> None:
    """The client sees what a server would say, and the next query works."""
    with pytest.raises(DatabaseError, match=f"Code: {code}"):
        client.query(statement)

    assert client.command("select 1") == 1


def test_an_error_amid_a_stream_is_not_taken_for_its_end(client: Client) -> None:
    """Rows that came before are no answer: the client raises."""
    ask = "select throwIf(number = 2000000) from numbers(3000000)"

    with (
        pytest.raises(StreamFailureError, match="Code: 395"),
        client.query_row_block_stream(ask) as blocks,
    ):
        assert sum(len(block) for block in blocks) < 3_000_000


def test_large_answers_are_streamed_and_may_be_left(client: Client) -> None:
    """A reader who goes away in the middle disturbs nobody."""
    ask = "select number from numbers(30000000)"
    for _ in range(10):
        with client.query_row_block_stream(ask) as blocks:
            assert next(iter(blocks))

    assert client.command("select 1") == 1


def test_a_wrong_password_is_refused(clickhouse_url: str) -> None:
    """Without the password nothing is answered but /ping."""
    with pytest.raises(DatabaseError, match="Code: 516"):
        get_client(dsn=clickhouse_url.replace("@", "x@"))
