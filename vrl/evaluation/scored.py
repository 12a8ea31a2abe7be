"""A scored item: question, answer and score. A row of scores.jsonl."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vrl.errors import DataError
from vrl.files import write_atomically

RIGHT = 0.5  # score from which an item counts as right, as in vrl.reward.consistency
STAGE = "latency/"  # prefix of a stage's name in the values of an item; seconds
_SCORES = "scores.jsonl"
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """One item with its prediction and the values measured."""

    sample_id: str
    question: str
    options: tuple[str, ...]
    truth: str  # answer, spans in seconds or key elements, as text
    answer_type: str
    video: str  # path of the first clip; empty without one
    groups: Mapping[str, tuple[str, ...]]
    answer: str
    text: str
    score: float | None  # None: excluded by evaluation.failures, or no judge gave a value
    values: Mapping[str, float | None]  # rewards and costs by name
    failure: str = ""
    message: str = ""


def write_scores(run_dir: Path, scored: Sequence[Scored]) -> None:
    """Write `run_dir/scores.jsonl` atomically."""
    lines = (json.dumps(asdict(item), allow_nan=False) + "\n" for item in scored)
    write_atomically(run_dir / _SCORES, "".join(lines))


def read_scores(run_dir: Path) -> list[Scored]:
    """Return the rows that `write_scores` wrote. Raise DataError if the folder holds no finished evaluation."""
    path = run_dir / _SCORES
    if not path.is_file():
        raise DataError(f"{run_dir}: got no {_SCORES} in it, wanted the folder of a finished vrl eval", reason="scores")
    return [_row(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def reaches(value: float, bar: float) -> bool:
    """Return value >= bar up to rounding: an IoU of 0.2 s / 0.4 s from fractions can be slightly below a half."""
    return value >= bar - _ROUNDING


def _row(columns: dict) -> Scored:
    groups = {key: tuple(found) for key, found in columns["groups"].items()}
    return Scored(**{**columns, "options": tuple(columns["options"]), "groups": groups})
