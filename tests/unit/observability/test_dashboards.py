"""Dashboards: committed as generated, well formed, and about metrics that exist."""

import json
from pathlib import Path

import jsonschema
import pytest

from vrl.observability.boards import DASHBOARDS
from vrl.observability.catalogue import CATALOGUE
from vrl.observability.dashboards import FOLDER, generated, grafana, known_metrics, metrics_in

QUERIES = [
    (board.uid, panel.title, expr) for board in DASHBOARDS for panel in board.panels for _, expr in panel.queries
]
TEXT, COUNT = {"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0}
DATASOURCE = {"const": {"type": "prometheus", "uid": "${datasource}"}}


def strict(**properties) -> dict:
    """A JSON schema of an object that has all these properties and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


PANEL = strict(
    id=COUNT,
    type={"enum": ["timeseries", "stat"]},
    title=TEXT,
    description=TEXT,
    datasource=DATASOURCE,
    gridPos=strict(x=COUNT, y=COUNT, w=COUNT, h=COUNT),
    targets={
        "type": "array",
        "minItems": 1,
        "items": strict(refId={"pattern": "^[A-Z]$"}, expr=TEXT, legendFormat=TEXT, datasource=DATASOURCE),
    },
    fieldConfig=strict(
        defaults=strict(unit={"enum": ["short", "s", "percentunit", "Bps", "bytes", "sci"]}, custom={"type": "object"}),
        overrides={"type": "array"},
    ),
    options={"type": "object"},
)
BOARD = strict(
    uid={"pattern": "^vrl-[a-z]+$"},
    title=TEXT,
    description=TEXT,
    tags={"const": ["vrl"]},
    schemaVersion={"const": 39},
    editable={"const": False},
    refresh=TEXT,
    time=strict(**{"from": {"pattern": "^now-"}, "to": {"const": "now"}}),
    timezone=TEXT,
    links={"type": "array"},
    templating=strict(list={"type": "array", "minItems": 2, "maxItems": 2}),
    panels={"type": "array", "minItems": 6, "items": PANEL},
)


def test_what_is_committed_is_what_is_generated():
    for path, text in generated().items():
        assert path.read_text() == text, f"{path}: run python -m vrl.observability.dashboards"
    assert set(FOLDER.iterdir()) == set(generated())


@pytest.mark.parametrize("board", DASHBOARDS, ids=lambda board: board.uid)
def test_dashboards_are_well_formed(board):
    made = json.loads(json.dumps(grafana(board)))
    jsonschema.validate(made, BOARD)
    for key in ("id", "title"):
        assert len({panel[key] for panel in made["panels"]}) == len(made["panels"])
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in made["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) < 24


def test_every_query_names_metrics_of_the_catalogue_and_asks_for_the_chosen_run():
    for uid, title, expr in QUERIES:
        unknown = metrics_in(expr) - known_metrics()
        assert not unknown, f"{uid}, {title}: {unknown}"
        assert expr.count("{") == expr.count('run=~"$run"') > 0, f"{uid}, {title}: a selector lacks the run"


def test_every_fault_that_is_counted_is_shown():
    shown = {name for uid, _, expr in QUERIES if uid == "vrl-faults" for name in metrics_in(expr)}
    assert {m.prometheus_name for m in CATALOGUE if m.name.startswith("fault/")} <= shown


def test_an_unknown_metric_is_found():
    assert metrics_in('sum by (run, le) (rate(vrl_nope_bucket{run=~"$run"}[5m])) / on (run) vrl_step or vector(0)') == {
        "vrl_nope_bucket",
        "vrl_step",
    }
    assert "vrl_nope_bucket" not in known_metrics() and "vrl_step" in known_metrics()


def test_alerts_name_metrics_of_the_catalogue():
    import yaml

    rules = yaml.safe_load(Path("cluster/prometheus/alerts.yml").read_text())["groups"][0]["rules"]
    assert len(rules) >= 7
    for rule in rules:
        assert metrics_in(rule["expr"]) and metrics_in(rule["expr"]) <= known_metrics(), rule["alert"]
