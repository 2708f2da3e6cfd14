"""Commands against the real API, on real servers."""

import base64
import csv
import io
import json
import stat
from contextlib import closing

import pytest
from sqlalchemy import text

from cli import main
from cli.machine import running_machine
from embedded.state import running_state
from models.credentials import seal, unseal
from models.database import Database

LETTER = ("--text", "Dear {{ name }}")


@pytest.fixture(scope="module")
def config(machine_dir):
    url = running_machine(machine_dir).url("web")
    options = ("--channel", "email", "--rate", "100", "--data", str(machine_dir))
    assert main(["config", "create", "mine", "--url", url, *options]) == 0
    return "mine"


def test_a_file_becomes_a_batch_and_json_is_all_of_stdout(shell, config):
    """Rows are accounted for, and bad ones named by line on stderr."""
    rows = "email,name\na@b.example,Ada\nbroken,Bob\na@b.example,Ada\nc@d.example,C\n"
    file = shell.file("news.csv", rows)

    code, out, err = shell.run("send", file, "--config", config, *LETTER, "--json")

    result = json.loads(out)
    assert code == 0, err
    assert result["rows"] == 4
    figures = [result[name] for name in ("recipients", "duplicates", "invalid")]
    assert figures == [2, 1, 1]
    assert result["lost"] is None
    assert "3" in err
    assert "not a mail address" in err


def test_lines_of_later_parts_are_those_of_the_file(shell, config):
    """A part has its own lines; the report has the file's."""
    rows = 'email,name\na@b.example,"A\nda"\nc@d.example,C\nbroken,Bob\n'
    file = shell.file("parts.csv", rows)

    options = ("--config", config, *LETTER, "--part-bytes", "1", "--json")
    _, out, err = shell.run("send", file, *options)

    assert json.loads(out)["recipients"] == 2
    assert " 5 " in err


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        ("email\na@b.example\n", ("--config", "none"), "config create none"),
        ("", ("--config", "mine"), "no recipient"),
        ("name\nAda\n", ("--config", "mine"), "No column holds the address"),
        ("email\na@b.example\n", ("--config", "mine"), "names name"),
    ],
)
def test_what_cannot_be_sent_creates_nothing(shell, config, text, options, sentence):
    """No batch is left behind by an unknown config or an unreadable file."""
    before = shell.run("batches", "--json")[1]
    file = shell.file("a.csv", text)

    code, out, err = shell.run("send", file, *options, *LETTER)

    assert code != 0
    assert out == ""
    assert sentence in err
    assert shell.run("batches", "--json")[1] == before


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.csv", "email\na@b.example\n"), ("a.ndjson", '{"email": "a@b.example"}\n')],
)
def test_a_template_with_an_unknown_variable_is_refused(shell, config, name, text):
    """The sentence names it, whether we find it or the API does."""
    file = shell.file(name, text)

    code, out, err = shell.run("send", file, "--config", config, "--text", "{{ age }}")

    assert (code, out) == (2, "")
    assert "age" in err


def test_a_batch_can_be_looked_at_and_cancelled(shell, config):
    """Its recipients come as CSV; cancelling twice is a conflict."""
    file = shell.file("a.ndjson", '{"email": "a@b.example", "name": "A, B"}\n')
    options = ("--config", config, *LETTER, "--schedule", "2099-01-01T00:00")
    batch_id = json.loads(shell.run("send", file, *options, "--json")[1])["batch_id"]

    first = shell.run("cancel", batch_id)
    again = shell.run("resume", batch_id)
    shown = json.loads(shell.run("batch", batch_id, "--json")[1])
    rows = list(
        csv.DictReader(io.StringIO(shell.run("recipients", batch_id, "--csv")[1]))
    )

    assert first[:2] == (0, "a is cancelled.\n")
    assert again[0] == 1
    assert (
        shown["scheduledAt"].startswith("2098-12-31") or "2099" in shown["scheduledAt"]
    )
    assert [(row["seq"], row["address"], row["status"]) for row in rows] == [
        ("0", "a@b.example", "cancelled")
    ]


def test_an_unknown_batch_is_one_sentence(shell):
    """Whatever stands in the place of the id."""
    for batch_id in ("nonsense", "../health", "0" * 32):
        code, out, err = shell.run("batch", batch_id)

        assert (code, out) == (1, "")
        assert err.startswith("Error: ")
        assert err.count("\n") == 1


def test_a_config_is_made_once(shell, config):
    """The second of the same name is refused; the list shows the first."""
    code, _, err = shell.run("config", "create", config, "--url", "http://127.0.0.1:9/")

    assert (code, err.count("\n")) == (1, 1)
    names = [
        one["name"] for one in json.loads(shell.run("config", "list", "--json")[1])
    ]
    assert names == [config]


def test_status_and_doctor_know_the_machine(shell, config):
    """Every process has its pid; every neighbour is found well."""
    status = shell.run("status", "--json")
    doctor = shell.run("doctor", "--json")

    names = {row["name"] for row in json.loads(status[1])["processes"]}
    assert {"supervisor", "postgres", "nats", "dragonfly", "clickhouse", "web"} <= names
    wrong = [check for check in json.loads(doctor[1])["checks"] if not check["ok"]]
    assert (doctor[0], wrong) == (0, [])


def test_tables_are_migrated_twice_without_harm(shell):
    """`migrate` finds the running servers by itself."""
    assert shell.run("migrate")[:2] == (0, "Postgres and ClickHouse are up to date.\n")


def test_a_second_machine_in_the_same_directory_is_refused(shell):
    """It says what to do, and the first goes on."""
    code, _, err = shell.run("up", "--detach")

    assert code == 1
    assert "already up" in err
    assert shell.run("status")[0] == 0


def test_the_key_is_for_its_owner_only(machine_dir):
    """Nobody else on the machine may read it."""
    mode = (machine_dir / "credentials.json").stat().st_mode

    assert stat.S_IMODE(mode) == 0o600


def test_stored_credentials_are_put_under_the_new_key(shell, config, monkeypatch):
    """Once; while the old key is missing, they are counted and left alone."""
    keys = [base64.b64encode(letter * 32).decode() for letter in (b"o", b"n")]
    with closing(Database(running_state(shell.data_dir).urls["DATABASE_URL"])) as found:
        with found.transaction() as connection:
            sealed = {"sealed": seal({"secret": "hush"}, keys[0]), "name": config}
            connection.execute(_SEALED, sealed)

        monkeypatch.setenv("CREDENTIALS_KEY", keys[1])
        without = shell.run("credentials", "rotate", "--json")
        monkeypatch.setenv("CREDENTIALS_KEY", f"{keys[1]},{keys[0]}")
        first, again = (shell.run("credentials", "rotate") for _ in range(2))

        with found.statement() as connection:
            row = connection.execute(_KEPT, {"name": config}).one()
    assert without[0] == 1
    assert json.loads(without[1])["unreadable"] == 1
    assert "1 encrypted anew" in first[1]
    assert "0 encrypted anew" in again[1]
    assert unseal(row.credentials, keys[1]) == {"secret": "hush"}
    assert row.revision == 1
    assert "hush" not in "".join(map(str, (*without, *first)))


def test_without_a_key_nothing_is_rotated(shell, config, monkeypatch):
    """A malformed one is told before anything is looked at."""
    monkeypatch.setenv("CREDENTIALS_KEY", "short")

    code, _, err = shell.run("credentials", "rotate")

    assert code == 2
    assert "CREDENTIALS_KEY" in err


_SEALED = text("update send_configs set credentials = :sealed where name = :name")
_KEPT = text("select credentials, revision from send_configs where name = :name")
