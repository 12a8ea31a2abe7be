"""The results of an evaluation as results.json, a Markdown table and a page. Computes nothing."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vrl.data.rows import Reading
from vrl.evaluation.config import EvalConfig
from vrl.evaluation.item import Benchmark, Item
from vrl.evaluation.metrics import Summary, metrics_of
from vrl.evaluation.page import render
from vrl.evaluation.score import reply_rule
from vrl.evaluation.scored import Scored
from vrl.files import write_atomically

STRICT = "vrl/tasks/answer.py"  # what reads replies where no rule does
_MAX_LISTED = 50  # failed items in the Markdown table; results.json has all


def make_results(
    config: EvalConfig, benchmark: Benchmark, scored: Sequence[Scored], summary: Summary, reading: Reading[Item]
) -> dict[str, Any]:
    """What results.json holds: shares within [0, 1], every estimate with its interval and count."""
    failed = [item for item in scored if item.failure]
    rule = reply_rule(benchmark, config)
    known = {metric.name: metric for metric in metrics_of(scored)}
    return {
        "name": config.name,
        "benchmark": benchmark.name,
        "model": config.model.path,
        "strategy": config.strategy.name,
        "task": config.task or "as the benchmark has it",
        "kept": config.benchmark.kept,
        "reading": {"rule": config.benchmark.reading, "source": rule.source if rule is not None else STRICT},
        "items": len(scored),
        "rows": {
            "read": reading.num_rows,
            "askable": reading.num_rows - len(reading.bad),
            "not_askable": dict(reading.reasons),
            "rule": config.benchmark.bad_rows,
            "notes": dict(reading.notes),
        },
        "unscored": sum(item.score is None for item in scored),
        "failures": {
            "rule": config.failures,
            "by_reason": dict(Counter(item.failure for item in failed)),
            "listed": [{"sample_id": i.sample_id, "reason": i.failure, "message": i.message} for i in failed],
        },
        "overall": {"by": overall_rule(benchmark), **asdict(summary.overall)},
        "metrics": {
            name: {**asdict(found), "unit": known[name].unit, "meaning": known[name].meaning}
            for name, found in summary.metrics.items()
        },
        "groups": {
            key: {group: asdict(found) for group, found in groups.items()} for key, groups in summary.groups.items()
        },
        "interval": {**asdict(config.bootstrap), "seed": config.seed},
    }


def overall_rule(benchmark: Benchmark) -> str:
    """Describe what the overall score is a mean of."""
    among = "".join(f" of {key} {group}" for key, group in benchmark.among.items())
    nested = "".join(f" over {key} of means" for key in benchmark.overall)
    return f"mean{nested} over items{among}"


def write_results(run_dir: Path, results: Mapping[str, Any], scored: Sequence[Scored]) -> None:
    """Write results.json, results.md and eval.html into the run folder, each atomically."""
    contents = {
        "results.json": json.dumps(results, indent=1, allow_nan=False) + "\n",
        "results.md": markdown(results),
        "eval.html": render(results, scored),
    }
    for name, text in contents.items():
        write_atomically(run_dir / name, text)


def markdown(results: Mapping[str, Any]) -> str:
    """The results as a Markdown document; shares in percent."""
    interval, failures, rows = results["interval"], results["failures"], results["rows"]
    not_askable = ", ".join(f"{column} {count}" for column, count in rows["not_askable"].items())
    lines = [
        f"# {results['benchmark']}: {results['name']}",
        "",
        f"Model {results['model']}, strategy {results['strategy']}, {results['items']} items, "
        f"{sum(failures['by_reason'].values())} failed (counted as {failures['rule']}), {results['unscored']} without "
        f"a score. Intervals: {100 * interval['level']:g} %, {interval['resamples']} bootstrap resamples by "
        f"{interval['unit']}.",
        "",
        f"Rows: {rows['read']} read, {rows['askable']} askable, {rows['read'] - rows['askable']} not"
        + (f" ({not_askable}; rule: {rows['rule']})." if not_askable else "."),
        "",
        f"Replies: read by the {results['reading']['rule']} rule ({results['reading']['source']})."
        + (f" Kept: {kept}." if (kept := _groups(results["kept"])) else ""),
        "",
        "| metric | value | low | high | items | meaning |",
        "|---|---:|---:|---:|---:|---|",
        _line("**score**", results["overall"], "share", results["overall"]["by"]),
        *(_line(name, found, found["unit"], found["meaning"]) for name, found in results["metrics"].items()),
    ]
    for key, groups in results["groups"].items():
        lines += ["", f"## Score by {key}", "", "| group | value | low | high | items |", "|---|---:|---:|---:|---:|"]
        lines += [_line(group, found, "share") for group, found in groups.items()]
    if failures["listed"]:
        lines += ["", "## Failed items", "", "| item | reason | message |", "|---|---|---|"]
        listed = failures["listed"][:_MAX_LISTED]
        lines += [f"| {one['sample_id']} | {one['reason']} | {_cell(one['message'])} |" for one in listed]
        lines += [f"| ... | | {len(failures['listed']) - len(listed)} more in results.json |"] * (
            len(failures["listed"]) > len(listed)
        )
    return "\n".join(lines) + "\n"


def _groups(kept: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{key} {', '.join(groups)}" for key, groups in kept.items())


def _line(name: str, found: Mapping[str, Any], unit: str, meaning: str | None = None) -> str:
    numbers = " | ".join(format_number(found[part], unit) for part in ("value", "low", "high"))
    return f"| {_cell(name)} | {numbers} | {found['count']} |" + (f" {meaning} |" if meaning is not None else "")


def format_number(value: float, unit: str) -> str:
    """Return a share in percent, any other number with its unit."""
    return f"{100 * value:.1f} %" if unit == "share" else f"{value:.2f} {unit}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
