"""The page of an evaluation: one self-contained HTML file, styled like the run report. Needs no network.

The data is one JSON block that the script turns into text nodes, and the page's content policy forbids any request, so
text written by a model stays inert.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from vrl.evaluation.scored import Scored
from vrl.report.page import evenly, fill_page

MAX_ITEMS = 2000  # on the page; larger benchmarks show an even choice, and the page says so


def render(results: Mapping[str, Any], scored: Sequence[Scored]) -> str:
    """Return the page that shows results and items."""
    numbers = evenly(len(scored), MAX_ITEMS)
    data = {"results": results, "items": [_item(scored[i]) for i in numbers], "omitted": len(scored) - len(numbers)}
    ours, style = files("vrl.evaluation") / "assets", files("vrl.report") / "assets" / "page.css"
    return fill_page(ours / "eval.html", [style, ours / "eval.js"], data)


def _item(item: Scored) -> dict[str, Any]:
    return {
        "sample_id": item.sample_id,
        "question": item.question,
        "options": item.options,
        "truth": item.truth,
        "answer": item.answer,
        "text": item.text,
        "video": item.video,
        "groups": sorted(f"{key}: {group}" for key, groups in item.groups.items() for group in groups),
        "score": item.score,
        "failure": item.message and f"{item.failure}: {item.message}",
    }
