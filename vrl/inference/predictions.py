"""What was answered so far, one JSON object a line, flushed to disk answer by answer.

A run that was killed at any moment goes on from here: whole lines are finished items, a torn last line is cut off and
its item asked again. Does not ask and does not score.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from vrl.errors import ConfigError, DataError
from vrl.types import Sample

_PREDICTIONS = "predictions.jsonl"
_SETTINGS = "settings.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """What a strategy said to one item, or why it could not be asked."""

    sample_id: str
    failure: str = ""  # short reason for an item that could not be asked; empty: it was answered
    message: str = ""  # the failure in words
    answer: str = ""
    text: str = ""  # the completion that says it, special tokens kept
    finish_reason: str = ""  # of that completion: "stop" or "length"
    duration_s: float = 0.0  # of the clip that it was shown
    timestamps_s: tuple[float, ...] = ()  # of the frames that it was shown
    num_candidates: int = 0
    num_calls: int = 0
    num_tokens: int = 0
    latency_s: float = 0.0
    trace: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stages_s(self) -> Mapping[str, float]:
        """Seconds of each stage of the strategy, in the order in which they began; stages may overlap."""
        return self.trace.get("stages_s", {})


class PredictionFile:
    """The predictions of one run folder, open for more. Use as a context manager.

    Example: `with PredictionFile(run_dir, settings) as file: file.add(prediction)`; `file.done` holds what is there.
    """

    def __init__(self, run_dir: Path, settings: Mapping[str, Any]) -> None:
        """`settings`: all that answers depend on, flat and fit for JSON; stored by the first run in the folder.

        Raises ConfigError naming every key in which they differ from those of the predictions that are there.
        """
        run_dir.mkdir(parents=True, exist_ok=True)
        _claim(run_dir / _SETTINGS, settings)
        self.done, size = _read(run_dir / _PREDICTIONS)
        self._file = (run_dir / _PREDICTIONS).open("ab")
        self._file.truncate(size)

    def add(self, prediction: Prediction) -> None:
        """Append a prediction; it is on the disk when this returns."""
        self._file.write(json.dumps(asdict(prediction), allow_nan=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.done[prediction.sample_id] = prediction

    def __enter__(self) -> "PredictionFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _claim(path: Path, settings: Mapping[str, Any]) -> None:
    """Store the settings, or compare with those that are stored."""
    wanted = json.loads(json.dumps(settings))
    if not path.is_file():
        tmp = path.with_suffix(".tmp")
        tmp.write_text(json.dumps(wanted, indent=1) + "\n")
        os.replace(tmp, path)
        return
    stored = json.loads(path.read_text())
    changed = [
        f"{key}: got {wanted.get(key)!r}, the predictions in {path.parent} were made with {stored.get(key)!r}"
        for key in sorted({*wanted, *stored})
        if wanted.get(key) != stored.get(key)
    ]
    if changed:
        raise ConfigError(*changed, "wanted the same settings to go on, or another name for a new run")


def _read(path: Path) -> tuple[dict[str, Prediction], int]:
    """Predictions by id, and the bytes that hold them. Raises DataError for a whole line that is none."""
    if not path.is_file():
        return {}, 0
    whole, newline, _ = path.read_bytes().rpartition(b"\n")
    done: dict[str, Prediction] = {}
    for number, line in enumerate(whole.splitlines() if newline else (), start=1):
        try:
            columns = json.loads(line)
            prediction = Prediction(**{**columns, "timestamps_s": tuple(columns["timestamps_s"])})
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path} line {number}: not a prediction: {error}", reason="predictions") from error
        done[prediction.sample_id] = prediction
    return done, len(whole) + len(newline)


def in_order(done: Mapping[str, Prediction], sample_ids: Sequence[str]) -> list[Prediction]:
    """The predictions of these items. Raises DataError naming how many are missing."""
    missing = [sample_id for sample_id in sample_ids if sample_id not in done]
    if missing:
        raise DataError(
            f"predictions: got {len(done)}, {len(missing)} are missing (first {missing[0]}), wanted one for every "
            "item; run vrl eval again to go on",
            reason="predictions",
        )
    return [done[sample_id] for sample_id in sample_ids]


def fingerprint(samples: Sequence[Sample]) -> str:
    """A short hash of everything that is asked: a changed question, clip name or order changes it."""
    asked = json.dumps([asdict(sample) for sample in samples], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()[:16]
