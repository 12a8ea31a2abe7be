"""Compares two evaluations of the same items: is the second better, or is the difference noise?

Reads finished run folders only. Differences are second minus first, with paired intervals: both runs use the same
resamples.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vrl.errors import DataError
from vrl.evaluation.benchmarks import BENCHMARKS
from vrl.evaluation.interval import Difference, Discordance, Node, difference, draw_counts, mcnemar
from vrl.evaluation.metrics import metrics_of, overall_node, present, units, values
from vrl.evaluation.results import format_number
from vrl.evaluation.scored import RIGHT, Scored, read_scores

_Side = tuple[np.ndarray, Node]  # values [N] of one run, and the node to average


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One metric of both runs."""

    name: str
    unit: str
    first: float
    second: float
    difference: Difference


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The comparison over the items that have a score in both runs."""

    first: str  # run folders
    second: str
    benchmark: str
    count: int  # items compared
    unscored: int  # items without a score in one of the runs
    score: Compared
    metrics: tuple[Compared, ...]
    readings: tuple[str, str]  # benchmark.reading of each run
    right: Discordance | None  # score >= 0.5 is right; None if scores are graded


def compare(first_dir: Path, second_dir: Path) -> Comparison:
    """Compare two finished runs, with the interval settings of the second.

    Raise DataError if a folder holds no finished evaluation, or if the items of the runs differ.
    """
    before, results = (json.loads(_results(folder).read_text()) for folder in (first_dir, second_dir))
    if (other := before["benchmark"]) != results["benchmark"]:
        raise DataError(
            f"{second_dir}: got benchmark {results['benchmark']}, wanted that of {first_dir}: {other}", reason="compare"
        )
    first, second = _same_items(first_dir, second_dir)
    both = [i for i, (a, b) in enumerate(zip(first, second, strict=True)) if None not in (a.score, b.score)]
    count = len(first)
    first, second = [first[i] for i in both], [second[i] for i in both]
    settings = results["interval"]
    counts = draw_counts(units(first, settings["unit"]), settings["resamples"], settings["seed"])
    a, b = values(first, lambda item: item.score), values(second, lambda item: item.score)
    node = overall_node(first, BENCHMARKS[results["benchmark"]])
    graded = bool(((a != np.round(a)) | (b != np.round(b))).any())
    return Comparison(
        first=str(first_dir),
        second=str(second_dir),
        benchmark=results["benchmark"],
        count=len(both),
        unscored=count - len(both),
        score=_compared("score", "share", (a, node), (b, node), counts, settings["level"]),
        metrics=tuple(_metrics(first, second, counts, settings["level"])),
        readings=(_reading(before), _reading(results)),
        right=None if graded else mcnemar(a >= RIGHT, b >= RIGHT),
    )


def as_markdown(found: Comparison) -> str:
    """Return the comparison as a Markdown document, with shares in percent."""
    lines = [
        f"# {found.benchmark}: {found.second} against {found.first}",
        "",
        f"{found.count} items in both, {found.unscored} left out. Differences are second minus first.",
        "",
        "| metric | first | second | difference | low | high | p |",
        "|---|---:|---:|---:|---:|---:|---:|",
        *(_line(one) for one in (found.score, *found.metrics)),
    ]
    if len(set(found.readings)) > 1:
        lines += ["", f"Replies were read differently: {' in the first run, '.join(found.readings)} in the second."]
    if found.right is not None:
        lines += [
            "",
            f"Right in the first run only: {found.right.only_first}; in the second only: {found.right.only_second}; "
            f"McNemar's exact p = {found.right.p_value:.4f}.",
        ]
    return "\n".join(lines) + "\n"


def _reading(results: Mapping[str, Any]) -> str:
    """Return the rule by which replies were read; runs without one are older than the rules."""
    return results.get("reading", {"rule": "strict"})["rule"]


def _line(one: Compared) -> str:
    gap = one.difference
    numbers = (one.first, one.second, gap.value, gap.low, gap.high)
    return f"| {one.name} | {' | '.join(format_number(number, one.unit) for number in numbers)} | {gap.p_value:.4f} |"


def _metrics(first: Sequence[Scored], second: Sequence[Scored], counts: np.ndarray, level: float) -> list[Compared]:
    """Compare every metric that both runs have, each side over its items that have a value."""
    found = []
    for metric in metrics_of([*first, *second]):
        a, b = values(first, metric.value), values(second, metric.value)
        mine, theirs = present(a), present(b)
        if len(mine) and len(theirs):
            found.append(_compared(metric.name, metric.unit, (a, mine), (b, theirs), counts, level))
    return found


def _compared(name: str, unit: str, first: _Side, second: _Side, counts: np.ndarray, level: float) -> Compared:
    gap, means = difference(first, second, counts, level)
    return Compared(name=name, unit=unit, first=means[0], second=means[1], difference=gap)


def _same_items(first_dir: Path, second_dir: Path) -> tuple[list[Scored], list[Scored]]:
    """Return the items of both runs, in the order of the first."""
    first, second = ({item.sample_id: item for item in read_scores(folder)} for folder in (first_dir, second_dir))
    different = sorted(first.keys() ^ second.keys())
    different += [name for name in first if name in second and _question(first[name]) != _question(second[name])]
    if different:
        raise DataError(
            f"{second_dir}: got other items than {first_dir}: {len(different)} differ (first {different[0]}), "
            "wanted the same questions with the same truth in both",
            reason="compare",
        )
    return list(first.values()), [second[name] for name in first]


def _question(item: Scored) -> tuple[str, tuple[str, ...], str, str]:
    return item.question, item.options, item.truth, item.video


def _results(run_dir: Path) -> Path:
    path = run_dir / "results.json"
    if not path.is_file():
        raise DataError(f"{run_dir}: got no results.json in it, wanted the folder of a finished vrl eval", "scores")
    return path
