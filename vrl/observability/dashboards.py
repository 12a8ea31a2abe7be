"""Generates the Grafana dashboards: `python -m vrl.observability.dashboards` writes them to cluster/grafana.

Grafana's own builders make the JSON from the table in boards.py. The only door to grafana_foundation_sdk, which is a
development dependency: no run imports this module. Does not query Prometheus.
"""

import json
import re
from itertools import groupby
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from vrl.observability.boards import BOARDS, PANELS, Panel
from vrl.observability.catalogue import CATALOGUE
from vrl.observability.series import EXTERNAL, SERIES

FOLDER = Path("cluster/grafana/dashboards")
_SIZE = 8  # of a panel, in cells: three fit into the 24 columns
_DATASOURCE = DataSourceRef("prometheus", "${datasource}")
_WORDS = {"by", "without", "on", "ignoring", "or", "and", "unless", "bool", "group_left", "group_right", "offset"}


def main() -> None:
    """Write every dashboard."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in generated().items():
        path.write_text(text)


def generated() -> dict[Path, str]:
    """Return the text of every dashboard file by path."""
    boards = {FOLDER / f"vrl-{name}.json": dashboard(name).build() for name in BOARDS}
    return {path: json.dumps(board, cls=JSONEncoder, indent=1) + "\n" for path, board in boards.items()}


def dashboard(name: str) -> build.Dashboard:
    """Return the builder of one dashboard: the panels of `name`, under one heading per section."""
    title, description = BOARDS[name]
    board = build.Dashboard(title).uid(f"vrl-{name}").description(description).tags(["vrl"]).readonly()
    board.refresh("10s").time("now-1h", "now").timezone("browser")
    board.link(build.DashboardLink("vrl").type(DashboardLinkType.DASHBOARDS).tags(["vrl"]).keep_time(True))
    board.with_variable(build.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    board.with_variable(_run_variable())
    panels = [panel for panel in PANELS if panel.board == name]
    number = 0
    for section, members in groupby(panels, key=lambda panel: panel.section):
        board.with_row(build.Row(section).id(number := number + 1))
        for panel in members:
            board.with_panel(_panel(panel).id(number := number + 1))
    return board


def known_metrics() -> set[str]:
    """Return every metric name that a query may use: ours, those of EXTERNAL, and Prometheus' own `up`."""
    names = {"up"} | {metric.prometheus_name for metric in CATALOGUE}
    for series in (*SERIES, *EXTERNAL):
        suffixes = ("_bucket", "_sum", "_count") if series.kind == "histogram" else ("",)
        names |= {series.name + suffix for suffix in suffixes}
    return names


def metrics_in(query: str) -> set[str]:
    """Return the metric names in a PromQL query."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]', " ", query)
    bare = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    names = re.findall(r"[a-zA-Z_:][\w:]*(?!\s*\()\b", bare)
    functions = set(re.findall(r"([a-zA-Z_]\w*)\s*\(", bare))
    return {name for name in names if name not in _WORDS | functions}


def _panel(panel: Panel) -> stat.Panel | timeseries.Panel:
    made = stat.Panel() if panel.kind == "stat" else timeseries.Panel()
    made.title(panel.title).description(panel.description).unit(panel.unit)
    made.datasource(_DATASOURCE).span(_SIZE).height(_SIZE)
    for i, (legend, expr) in enumerate(panel.queries):
        query = prometheus.Dataquery().expr(expr).legend_format(legend)
        made.with_target(query.ref_id(chr(ord("A") + i)).datasource(_DATASOURCE))
    return made


def _run_variable() -> build.QueryVariable:
    runs = build.QueryVariable("run").label("run").datasource(_DATASOURCE).query("label_values(vrl_run_steps, run)")
    runs.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
    runs.include_all(True).multi(True).all_value(".*")
    return runs.current(VariableOption(text="All", value="$__all"))


if __name__ == "__main__":
    main()
