"""Dashboards: committed as generated, well formed, and about metrics that exist."""

import json
from pathlib import Path

import jsonschema
import pytest

from vrl.observability.boards import BOARDS, PANELS
from vrl.observability.catalogue import CATALOGUE
from vrl.observability.dashboards import FOLDER, generated, known_metrics, metrics_in

QUERIES = [(panel.board, panel.title, expr) for panel in PANELS for _, expr in panel.queries]
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


PLACE = strict(x=COUNT, y=COUNT, w=COUNT, h=COUNT)
PANEL = strict(
    id=COUNT,
    type={"enum": ["timeseries", "stat"]},
    title=TEXT,
    description=TEXT,
    transparent={"const": False},
    datasource=DATASOURCE,
    gridPos=PLACE,
    repeatDirection=TEXT,
    targets={
        "type": "array",
        "minItems": 1,
        "items": strict(refId={"pattern": "^[A-Z]$"}, expr=TEXT, legendFormat=TEXT, datasource=DATASOURCE),
    },
    fieldConfig=strict(
        defaults=strict(unit={"enum": ["short", "s", "percentunit", "Bps", "bytes", "sci"]}),
        overrides={"type": "array"},
    ),
)
ROW = strict(
    id=COUNT, type={"const": "row"}, title=TEXT, collapsed={"const": False}, panels={"maxItems": 0}, gridPos=PLACE
)
BOARD = strict(
    uid={"pattern": "^vrl-[a-z]+$"},
    title=TEXT,
    description=TEXT,
    tags={"const": ["vrl"]},
    schemaVersion={"const": 41},
    editable={"const": False},
    refresh=TEXT,
    time=strict(**{"from": {"pattern": "^now-"}, "to": {"const": "now"}}),
    timezone=TEXT,
    fiscalYearStartMonth=COUNT,
    graphTooltip=COUNT,
    annotations={"type": "object"},
    links={"type": "array"},
    templating=strict(list={"type": "array", "minItems": 2, "maxItems": 2}),
    panels={"type": "array", "minItems": 6, "items": {"oneOf": [PANEL, ROW]}},
)


def test_what_is_committed_is_what_is_generated():
    for path, text in generated().items():
        assert path.read_text() == text, f"{path}: run python -m vrl.observability.dashboards"
    assert set(FOLDER.iterdir()) == set(generated())


@pytest.mark.parametrize("path", generated(), ids=lambda path: path.stem)
def test_dashboards_are_well_formed(path: Path):
    made = json.loads(generated()[path])
    jsonschema.validate(made, BOARD)
    wanted = [
        (panel.title, [expr for _, expr in panel.queries]) for panel in PANELS if path.stem == f"vrl-{panel.board}"
    ]
    panels = [panel for panel in made["panels"] if panel["type"] != "row"]
    assert [(panel["title"], [target["expr"] for target in panel["targets"]]) for panel in panels] == wanted
    assert len({panel["id"] for panel in made["panels"]}) == len(made["panels"])
    for titles in ([panel["title"] for panel in panels], [p["title"] for p in made["panels"] if p["type"] == "row"]):
        assert len(set(titles)) == len(titles)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in made["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) < 24


def test_every_query_names_known_metrics_and_selects_the_run():
    for board, title, expr in QUERIES:
        unknown = metrics_in(expr) - known_metrics()
        assert not unknown, f"{board}, {title}: {unknown}"
        assert expr.count("{") == expr.count('run=~"$run"') > 0, f"{board}, {title}: a selector lacks the run"


def test_every_panel_belongs_to_a_dashboard():
    assert {panel.board for panel in PANELS} == set(BOARDS)


def test_every_fault_that_is_counted_is_shown():
    shown = {name for board, _, expr in QUERIES if board == "faults" for name in metrics_in(expr)}
    assert {m.prometheus_name for m in CATALOGUE if m.name.startswith("fault/")} <= shown


def test_an_unknown_metric_is_found():
    assert metrics_in('sum by (run, le) (rate(vrl_nope_bucket{run=~"$run"}[5m])) / on (run) vrl_step or vector(0)') == {
        "vrl_nope_bucket",
        "vrl_step",
    }
    assert "vrl_nope_bucket" not in known_metrics() and "vrl_step" in known_metrics()


def test_nothing_else_imports_the_generator():
    """The Grafana SDK is a development dependency: a run must work without it."""
    importers = [path for path in Path("vrl").rglob("*.py") if "observability.dashboards import" in path.read_text()]
    assert importers == []


def test_alerts_name_metrics_of_the_catalogue():
    import yaml

    rules = yaml.safe_load(Path("cluster/prometheus/alerts.yml").read_text())["groups"][0]["rules"]
    assert len(rules) >= 7
    for rule in rules:
        assert metrics_in(rule["expr"]) and metrics_in(rule["expr"]) <= known_metrics(), rule["alert"]
