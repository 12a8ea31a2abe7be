"""The run report: one self-contained HTML page of one or several runs, finished or not. Reads files only.

The data of a run is one JSON block that the page's scripts turn into text nodes, and the page's content policy forbids
any request, so text written by a model stays inert. Does not decide what is measured: see vrl.observability.run_log.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from vrl.errors import ConfigError
from vrl.files import read_json_lines, write_atomically
from vrl.observability.catalogue import CATALOGUE
from vrl.observability.spans import read_spans
from vrl.report.samples import SampleRow, read_samples
from vrl.report.timeline import timeline
from vrl.tasks import TASKS
from vrl.tasks.tags import from_header

MAX_GROUPS = 120  # on the page; longer runs show an even choice over time, and the page says so
_ASSETS = ("page.css", "charts.js", "timeline.js", "samples.js", "page.js")


def write_report(run_dir: Path, *others: Path) -> Path:
    """Write `run_dir/report.html`, with the curves of `others` for comparison, and return its path.

    Raise ConfigError if one of them is not a run folder.
    """
    for folder in (run_dir, *others):
        if not (folder / "config.yaml").is_file():
            raise ConfigError(f"{folder}: got no config.yaml, wanted the folder of a run (runs/<name>)")
    path = run_dir / "report.html"
    data = run_data(run_dir) | {"others": [_other(folder, run_dir) for folder in others]}
    write_atomically(path, render(data))
    return path


def render(data: dict[str, Any]) -> str:
    """Return the page for `data`: template, style, scripts and data in one string."""
    folder = files("vrl.report") / "assets"
    return fill_page(folder / "page.html", [folder / name for name in _ASSETS], data)


def fill_page(page: Traversable, assets: Sequence[Traversable], data: Mapping[str, Any]) -> str:
    """Return a page with each mark `@@name@@` replaced by the asset of that name, and `@@data@@` by the data."""
    pieces = {asset.name: asset.read_text(encoding="utf-8") for asset in assets}
    # No '<' in the block, so that text of a model can neither close the script element nor open a comment.
    pieces["data"] = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return re.sub(r"@@([\w.]+)@@", lambda mark: pieces[mark[1]], page.read_text(encoding="utf-8"))


def run_data(run_dir: Path) -> dict[str, Any]:
    """Return everything that the page shows, ready for JSON."""
    summary_file = run_dir / "summary.json"
    summary = json.loads(summary_file.read_text()) if summary_file.is_file() else None
    config = (run_dir / "config.yaml").read_text()
    rows = read_json_lines(run_dir / "metrics.jsonl")
    groups = [list(rows) for _, rows in groupby(read_samples(run_dir), key=lambda row: (row.step, row.group_id))]
    chosen = [groups[i] for i in evenly(len(groups), MAX_GROUPS)]
    steps = re.search(r"^steps: (\d+)$", config, re.MULTILINE)
    return {
        "title": run_dir.resolve().name,
        "kind": _kind(summary, rows),
        "steps": int(steps[1]) if steps is not None else None,
        "summary": summary,
        "config": config,
        "rows": rows,
        "catalogue": {metric.name: {"unit": metric.unit, "meaning": metric.meaning} for metric in CATALOGUE},
        "groups": [_group(rows) for rows in chosen],
        "omitted_groups": len(groups) - len(chosen),
        **timeline(read_spans(run_dir)),
        "others": [],
    }


def _other(run_dir: Path, here: Path) -> dict[str, Any]:
    """Return what the page shows of another run in comparison with `here`."""
    summary_file = run_dir / "summary.json"
    return {
        "title": run_dir.resolve().name,
        "rows": read_json_lines(run_dir / "metrics.jsonl"),
        "summary": json.loads(summary_file.read_text()) if summary_file.is_file() else None,
        "differs": differences(_keys(run_dir), _keys(here)),
    }


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Return `key: theirs (here: ours)` for every key whose values differ, except the run's name and folder."""
    keys = sorted({*theirs, *ours} - {"name", "runs_dir"})
    return [
        f"{key}: {theirs.get(key, 'none')} (here: {ours.get(key, 'none')})"
        for key in keys
        if theirs.get(key) != ours.get(key)
    ]


def _keys(run_dir: Path) -> dict[str, Any]:
    """Return the configuration of a run by dotted key."""
    return dotted(yaml.safe_load((run_dir / "config.yaml").read_text()))


def dotted(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, by dotted key."""
    if not isinstance(value, dict) or not value:
        return {prefix.removesuffix("."): value}
    return {key: leaf for name, part in value.items() for key, leaf in dotted(part, f"{prefix}{name}.").items()}


def evenly(total: int, count: int) -> list[int]:
    """Return at most `count` (at least two) evenly spread indices of 0 .. total - 1, including the first and last."""
    if total <= count:
        return list(range(total))
    return [round(i * (total - 1) / (count - 1)) for i in range(count)]


def _kind(summary: dict[str, Any] | None, rows: Sequence[dict[str, Any]]) -> str:
    if summary is not None:
        return summary["kind"]
    return "sft" if any("loss/sft" in row for row in rows) else "rl" if rows else ""


def _group(rows: Sequence[SampleRow]) -> dict[str, Any]:
    first = rows[0]
    return {
        "step": first.step,
        "group_id": first.group_id,
        "sample_id": first.sample_id,
        "task": first.task,
        "question": first.question,
        "options": first.options,
        "answer": first.answer,
        "key_elements": first.key_elements,
        "spans": first.spans,
        "duration_s": first.duration_s,
        "prompt": first.prompt,
        "num_prompt_tokens": first.num_prompt_tokens,
        "frames": [f"data:image/jpeg;base64,{base64.b64encode(data).decode()}" for data in first.frames],
        "timestamps_s": first.timestamps_s,
        "mean": sum(row.reward for row in rows) / len(rows),
        "rollouts": [_rollout(row) for row in rows],
    }


def _rollout(row: SampleRow) -> dict[str, Any]:
    text = from_header(row.prompt, row.completion)
    parsed = TASKS[row.task].parse(text) if row.task in TASKS else None  # None also for an unknown task
    return {
        "completion": row.completion,
        "finish_reason": row.finish_reason,
        "num_tokens": row.num_tokens,
        "reward": row.reward,
        "breakdown": row.breakdown,
        "advantage": row.advantage,
        "versions": [row.policy_version_min, row.policy_version_max],
        "readable": parsed is not None,
        "spans": [[start * row.duration_s, end * row.duration_s] for start, end in parsed.events(row.duration_s)]
        if parsed
        else [],
        "cited": sorted(set(parsed.keyframes)) if parsed else [],  # frame numbers, from 1
    }
