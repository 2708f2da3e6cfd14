"""Alerts fire when they should, on what there is, and lead to what to do."""

import re
import shlex
import shutil
import subprocess
from copy import deepcopy
from pathlib import Path

import click
import pytest
import yaml

from cli import batchsender
from tests.unit.monitoring.promql import asked, unknown

ROOT = Path(__file__).parents[3]
MANIFEST = ROOT / "k8s" / "monitoring" / "prometheusrule.yaml"
CASES = Path(__file__).with_name("alert_tests.yaml")
RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("*.md"))

_SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^## (\w+)$", re.MULTILINE)

GROUPS = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))["spec"]["groups"]
ALERTS = [alert for group in GROUPS for alert in group["rules"]]


def named(alert):
    return f"{alert['alert']}-{alert['labels']['severity']}"


@pytest.mark.parametrize("alert", ALERTS, ids=named)
def test_an_alert_asks_for_what_the_code_serves(alert):
    """And names how bad it is, in a sentence, with a runbook that has its heading."""
    path, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    headings = _HEADING.findall((ROOT / path).read_text(encoding="utf-8"))

    assert list(asked(alert["expr"]))
    assert unknown(alert["expr"]) == []
    assert alert["labels"]["severity"] in ("warning", "critical")
    assert alert["annotations"]["summary"].endswith(".")
    assert anchor == alert["alert"].lower()
    assert alert["alert"] in headings


def test_every_alert_has_a_case_in_which_it_fires():
    """Promtool runs them below."""
    cases = yaml.safe_load(CASES.read_text(encoding="utf-8"))["tests"]
    fired = {
        (case["alertname"], expected["exp_labels"]["severity"])
        for test in cases
        for case in test["alert_rule_test"]
        for expected in case.get("exp_alerts", [])
    }

    assert {(one["alert"], one["labels"]["severity"]) for one in ALERTS} == fired


def test_promtool_finds_that_they_fire_when_they_should(tmp_path):
    """`.ci/run` fetches it where Debian's packages are."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("There is no promtool here; Debian's package prometheus has it.")
    # A case states when an alert fires; its words are not its business.
    bare = deepcopy(GROUPS)
    for alert in (alert for group in bare for alert in group["rules"]):
        del alert["annotations"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": bare}))
    shutil.copy(CASES, tmp_path)

    found = subprocess.run(
        [promtool, "test", "rules", str(tmp_path / CASES.name)],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_a_runbooks_commands_exist(page):
    """With these options; what stands in capitals is to be filled in."""
    lines = [
        line
        for block in _SHELL.findall(page.read_text(encoding="utf-8"))
        for line in block.splitlines()
        if line.startswith("batchsender ")
    ]

    assert lines
    for line in lines:
        parsed(shlex.split(line, comments=True)[1:])


def parsed(arguments):
    """Let click read a command line, as if it were to be carried out."""
    command, path = batchsender, ["batchsender"]
    while isinstance(command, click.Group):
        context = click.Context(command)
        path.append(arguments[0])
        command = command.get_command(context, arguments[0])
        assert command is not None, path
        arguments = arguments[1:]
    filled = ["1" if word.isupper() and len(word) < 3 else word for word in arguments]
    command.make_context(" ".join(path), filled)
