"""`vrl samples`: prints the worst or best rollouts of a run. Text written by a model stays plain text."""

import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from vrl.errors import DataError
from vrl.report.samples import SampleRow, read_samples

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # a terminal would interpret them


def choose(run_dir: Path, count: int, *, best: bool, task: str = "") -> list[SampleRow]:
    """Return the `count` rollouts with the lowest (`best`: highest) reward, newest first among equals.

    An empty `task` selects all tasks. Raise DataError if there are no rollouts.
    """
    rows = [row for row in read_samples(run_dir) if not task or row.task == task]
    if not rows:
        of = f" of task {task!r}" if task else ""
        raise DataError(f"{run_dir}: got no sample files{of}, wanted some in samples/ (log.samples_every)")
    return sorted(rows, key=lambda row: (-row.reward if best else row.reward, -row.step))[:count]


def show_samples(rows: Sequence[SampleRow], console: Console) -> None:
    """Print one panel per rollout: question, truth, completion, reward by part, advantage."""
    for row in rows:
        parts = "  ".join(
            f"{name} {'missing' if value is None else f'{value:.3g}'}" for name, value in row.breakdown.items()
        )
        text = Text()
        text.append(f"{plain(row.question)}\n", style="bold")
        text.append(f"truth: {plain(truth(row))}\n", style="green")
        text.append(f"{plain(row.completion)}\n")
        text.append(f"reward {row.reward:.3g}  advantage {row.advantage:+.3g}  {parts}", style="cyan")
        title = f"step {row.step}  group {row.group_id}  {row.task}  {plain(row.sample_id)}"
        console.print(Panel(text, title=Text(title), title_align="left"))


def truth(row: SampleRow) -> str:
    """Return the sample's answer, true spans or key elements, whichever comes first."""
    spans = ", ".join(f"{start:.2f} to {end:.2f} s" for start, end in row.spans)
    return row.answer or spans or ", ".join(row.key_elements) or "not given"


def plain(text: str) -> str:
    """Return the text with control characters replaced, including terminal escape sequences."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
