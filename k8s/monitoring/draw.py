"""Draws the dashboards of this folder: `python k8s/monitoring/draw.py`.

Grafana's JSON says little in many lines, so what the panels show is in `panels`, and
the files in dashboards/ are made from it. A test compares both.
"""

import json
from pathlib import Path
from typing import Any

from panels import DASHBOARDS, Panel

FOLDER = Path(__file__).parent / "dashboards"

#: Panels in a row, and how large each is on Grafana's grid of 24 columns.
_IN_A_ROW, _WIDTH, _HEIGHT = 3, 8, 8


def drawn(name: str) -> str:
    """Return a dashboard's JSON as Grafana reads it."""
    panels = [_panel(number, one) for number, one in enumerate(DASHBOARDS[name])]
    board = {
        "uid": f"batchsender-{name}",
        "title": f"BatchSender: {name}",
        "tags": ["batchsender"],
        "schemaVersion": 39,
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                {
                    "name": "datasource",
                    "label": "Prometheus",
                    "type": "datasource",
                    "query": "prometheus",
                }
            ]
        },
        "links": [
            {
                "title": "BatchSender",
                "type": "dashboards",
                "tags": ["batchsender"],
                "asDropdown": True,
            }
        ],
        "panels": panels,
    }
    return json.dumps(board, indent=2, ensure_ascii=False) + "\n"


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    row, column = divmod(number, _IN_A_ROW)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.says,
        "datasource": source,
        "gridPos": {
            "x": column * _WIDTH,
            "y": row * _HEIGHT,
            "w": _WIDTH,
            "h": _HEIGHT,
        },
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0},
            "overrides": [],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": source,
                "expr": expression,
                "legendFormat": legend,
            }
            for place, (legend, expression) in enumerate(panel.lines.items())
        ],
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for board in DASHBOARDS:
        (FOLDER / f"{board}.json").write_text(drawn(board), encoding="utf-8")
