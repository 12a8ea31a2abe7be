"""Generates the tables of docs/metrics.md: `python -m vrl.observability.reference` rewrites them between the markers.

The text comes from the catalogue of step metrics and from the series of the processes. Changes no other text.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from vrl.observability.catalogue import CATALOGUE
from vrl.observability.series import EXTERNAL, SERIES

PAGE = Path("docs/metrics.md")
_BLOCK = re.compile(r"(<!-- begin generated: (\w+) -->\n).*?(<!-- end generated -->)", re.DOTALL)


def main() -> None:
    """Rewrite the generated tables of the page."""
    PAGE.write_text(with_tables(PAGE.read_text()))


def with_tables(page: str) -> str:
    """Return the page with its generated tables replaced. Raise KeyError for a marker that names no table."""
    tables = {
        "metrics": _table(
            ("metric", "unit", "meaning", "kind", "Prometheus name"),
            ((f"`{m.name}`", m.unit, m.meaning, m.kind, f"`{m.prometheus_name}`") for m in CATALOGUE),
        ),
        "series": _table(
            ("Prometheus name", "labels", "unit", "meaning", "kind", "process"),
            (
                (f"`{s.name}`", ", ".join(s.labels), s.unit, s.meaning, s.kind, s.role)
                for s in sorted((*SERIES, *EXTERNAL), key=lambda s: s.name)
            ),
        ),
    }
    return _BLOCK.sub(lambda found: f"{found[1]}\n{tables[found[2]]}\n\n{found[3]}", page)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows))


if __name__ == "__main__":
    main()
