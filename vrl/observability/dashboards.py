"""The Grafana dashboards, generated: `python -m vrl.observability.dashboards` writes them to cluster/grafana.

Panels are data; every query names only metrics of the catalogues (a test holds them to it). Grafana's JSON is made
here and nowhere else. Draws nothing and asks nothing of a Prometheus.
"""

import json
import re
from pathlib import Path
from typing import Any

from vrl.observability.boards import DASHBOARDS
from vrl.observability.catalogue import CATALOGUE
from vrl.observability.panels import Dashboard, Panel
from vrl.observability.series import EXTERNAL, SERIES

FOLDER = Path("cluster/grafana/dashboards")
_COLUMNS, _WIDTH, _HEIGHT = 24, 8, 8
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WORDS = {"by", "without", "on", "ignoring", "or", "and", "unless", "bool", "group_left", "group_right", "offset"}


def main() -> None:
    """Write every dashboard."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in generated().items():
        path.write_text(text)


def generated() -> dict[Path, str]:
    """The committed files by path."""
    return {FOLDER / f"{board.uid}.json": json.dumps(grafana(board), indent=1) + "\n" for board in DASHBOARDS}


def grafana(board: Dashboard) -> dict[str, Any]:
    """One dashboard as Grafana's JSON model."""
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.description,
        "tags": ["vrl"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [{"type": "dashboards", "tags": ["vrl"], "title": "vrl", "asDropdown": False, "keepTime": True}],
        "templating": {"list": [_datasource_variable(), _run_variable()]},
        "panels": [_panel(i, panel) for i, panel in enumerate(board.panels)],
    }


def known_metrics() -> set[str]:
    """Every name that a query may use: ours, those of EXTERNAL, and Prometheus' own `up`."""
    names = {"up"} | {metric.prometheus_name for metric in CATALOGUE}
    for series in (*SERIES, *EXTERNAL):
        suffixes = ("_bucket", "_sum", "_count") if series.kind == "histogram" else ("",)
        names |= {series.name + suffix for suffix in suffixes}
    return names


def metrics_in(query: str) -> set[str]:
    """The metric names of a PromQL query."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]', " ", query)
    bare = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    names = re.findall(r"[a-zA-Z_:][\w:]*(?!\s*\()\b", bare)
    functions = set(re.findall(r"([a-zA-Z_]\w*)\s*\(", bare))
    return {name for name in names if name not in _WORDS | functions}


def _panel(index: int, panel: Panel) -> dict[str, Any]:
    per_row = _COLUMNS // _WIDTH
    place = {"x": index % per_row * _WIDTH, "y": index // per_row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}
    targets = [
        {"refId": chr(65 + i), "expr": expr, "legendFormat": legend, "datasource": _DATASOURCE}
        for i, (legend, expr) in enumerate(panel.queries)
    ]
    return {
        "id": index + 1,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _DATASOURCE,
        "gridPos": place,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": panel.unit, "custom": {}}, "overrides": []},
        "options": {},
    }


def _datasource_variable() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1}


def _run_variable() -> dict[str, Any]:
    query = "label_values(vrl_run_steps, run)"
    return {
        "name": "run",
        "label": "run",
        "type": "query",
        "datasource": _DATASOURCE,
        "query": {"query": query, "refId": "run"},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


if __name__ == "__main__":
    main()
