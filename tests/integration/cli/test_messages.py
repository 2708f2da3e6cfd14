"""`send-one`, on a machine where nothing sends."""

import json

import pytest

from cli import main
from cli.machine import running_machine


@pytest.fixture(scope="module")
def config(machine_dir):
    url = running_machine(machine_dir).url("sink")
    options = ("--channel", "email", "--data", str(machine_dir))
    assert main(["config", "create", "one", "--url", url, *options]) == 0
    return "one"


def test_a_message_is_taken_once_for_a_key(shell, config):
    """Its variables come from the command line."""
    letter = ("--config", config, "--text", "Dear {{ name }}", "--set", "name=Ada")
    options = (*letter, "--key", "k", "--json")

    code, out, err = shell.run("send-one", "a@b.example", *options)

    assert code == 0, err
    assert json.loads(shell.run("send-one", "a@b.example", *options)[1]) == json.loads(
        out
    )
    again = shell.run("send-one", "a@b.example", *letter)[1]
    assert "on its way" in again


@pytest.mark.parametrize(
    ("options", "sentence"),
    [(("--set", "name"), "write NAME=VALUE"), ((), "name, which the variables lack")],
)
def test_what_cannot_be_sent_is_said(shell, config, options, sentence):
    letter = ("--config", config, "--text", "Dear {{ name }}")

    code, _, err = shell.run("send-one", "a@b.example", *letter, *options)

    assert (code, sentence in err) == (2, True)
