"""Every command explains itself, and every failure is one sentence."""

import click
import pytest

from cli import batchsender, main
from cli.demo import write_recipients
from models.addresses import Channel
from models.recipients import Format, read


def _commands(group, names=()):
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        yield (*names, name)
        if isinstance(command, click.Group):
            yield from _commands(command, (*names, name))


@pytest.fixture
def no_api(monkeypatch, tmp_path):
    monkeypatch.delenv("BATCHSENDER_URL", raising=False)
    monkeypatch.delenv("BATCHSENDER_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", [(), *_commands(batchsender)], ids=" ".join)
def test_every_command_has_a_help_of_one_sentence(command, capsys):
    """The first line after the usage is a sentence."""
    code = main([*command, "--help"])

    sentence = capsys.readouterr().out.split("\n\n")[1].strip()
    assert code == 0
    assert sentence.endswith(".")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["send", "no.csv", "--config", "c"], 2, "There is no file no.csv"),
        (["batches"], 2, "run `batchsender up` first"),
        (["send", "no.csv"], 2, "Missing option '--config'"),
        (["nonsense"], 2, "No such command"),
        (["config", "create", "c", "--url", "http://x", "--burst", "3"], 2, "--rate"),
        (["status"], 1, ""),
    ],
)
def test_a_failure_is_one_sentence(no_api, capsys, arguments, code, sentence):
    """It goes to stderr, without a traceback; nothing is written anywhere."""
    found = main(arguments)

    said = capsys.readouterr().err
    assert found == code
    assert sentence in said
    assert said.count("\n") == bool(sentence)
    assert list(no_api.iterdir()) == []


def test_an_api_that_is_away_is_named(no_api, monkeypatch, capsys):
    """A wrong address says which one, and what to do."""
    monkeypatch.setenv("BATCHSENDER_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("BATCHSENDER_API_KEY", "bs_a_b")

    code = main(["batches"])

    assert code == 1
    assert "http://127.0.0.1:9 does not answer" in capsys.readouterr().err


def test_credentials_that_cannot_be_read_are_named(no_api, capsys):
    """A broken file is not taken for a missing one."""
    (no_api / ".batchsender").mkdir()
    (no_api / ".batchsender" / "credentials.json").write_text("{")

    code = main(["batches"])

    assert code == 2
    assert "credentials.json cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("environment", [{}, {"NATS_URL": "nats://x"}])
def test_doctor_names_what_is_missing(no_api, monkeypatch, capsys, environment):
    """Without settings no neighbour is asked, and the exit code tells."""
    for name in ("DATABASE_URL", "NATS_URL", "DRAGONFLY_URL", "CLICKHOUSE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    code = main(["doctor", "--json"])

    said = capsys.readouterr().out
    assert code == 1
    assert "DATABASE_URL" in said
    assert ("NATS_URL" in said) != bool(environment)


def test_the_demo_file_is_the_same_every_time(tmp_path):
    """10,000 rows hold five invalid ones and four duplicates."""
    write_recipients(tmp_path / "a.csv", 10_000)
    write_recipients(tmp_path / "b.csv", 10_000)

    text = (tmp_path / "a.csv").read_bytes()
    blocks = list(read([text], upload_format=Format.CSV, channel=Channel.EMAIL))

    addresses = [address for block in blocks for address in block.addresses]
    assert (tmp_path / "b.csv").read_bytes() == text
    assert sum(block.rows for block in blocks) == 10_000
    assert len(addresses) == 9_995
    assert len(set(addresses)) == 9_991
