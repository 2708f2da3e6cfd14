"""Dashboards are what their description says, and ask only for what there is."""

import json
import runpy
from pathlib import Path

import pytest

from tests.metrics_catalog import exposed, known
from tests.unit.monitoring.promql import asked, unknown

MONITORING = Path(__file__).parents[3] / "k8s" / "monitoring"
BOARDS = sorted((MONITORING / "dashboards").glob("*.json"))


def expressions(board):
    panels = json.loads(board.read_text(encoding="utf-8"))["panels"]
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in panels
        for target in panel["targets"]
    }


EXPRESSIONS = [
    pytest.param(expression, id=f"{board.stem}: {name}")
    for board in BOARDS
    for name, expression in expressions(board).items()
]


def test_there_is_a_dashboard_of_each_kind():
    names = [board.stem for board in BOARDS]

    assert names == ["broker", "neighbours", "pipeline", "providers", "tenants"]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_panel_asks_for_what_the_code_serves(expression):
    """Its PromQL can be parsed, and its metrics and labels are there."""
    assert list(asked(expression))
    assert unknown(expression) == []


def test_a_name_that_nobody_serves_is_found():
    """So this test can fail."""
    assert unknown("sum by (actor) (rate(batchsender_lost_total[5m]))") == [
        "batchsender_lost_total"
    ]
    assert unknown('max by (queue) (batchsender_leads{app="web"})') == [
        "batchsender_leads{app}",
        "batchsender_leads{queue}",
    ]


def test_every_metric_is_on_a_dashboard():
    """What nobody looks at need not be counted."""
    shown = {
        one.metric
        for board in BOARDS
        for expression in expressions(board).values()
        for one in asked(expression)
    }

    missing = [one.name for one in known() if not shown & one.exposed.keys()]

    assert missing == []
    assert shown & exposed().keys()


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.stem)
def test_the_file_is_drawn_from_its_panels(board, monkeypatch):
    """`python k8s/monitoring/draw.py` draws it anew."""
    monkeypatch.syspath_prepend(str(MONITORING))
    draw = runpy.run_path(str(MONITORING / "draw.py"))

    assert board.read_text(encoding="utf-8") == draw["drawn"](board.stem)
