"""What was answered so far, one JSON object a line, flushed to disk answer by answer.

A killed run resumes from here: complete lines are finished items, a torn last line is cut off and
its item asked again. Does not ask and does not score.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from vrl.errors import ConfigError, DataError
from vrl.inference.answer import Answer
from vrl.types import Sample

_PREDICTIONS = "predictions.jsonl"
_SETTINGS = "settings.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """The answer to one sample, or the reason why there is none. A line of predictions.jsonl, with flat columns."""

    sample_id: str
    answer: Answer | None = None
    failure: str = ""  # short reason why there is no answer; empty otherwise
    message: str = ""  # the failure in full


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
        self._file.write(json.dumps(_columns(prediction), allow_nan=False).encode() + b"\n")
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
        raise ConfigError(*changed, "wanted the same settings to resume, or another name for a new run")


def _read(path: Path) -> tuple[dict[str, Prediction], int]:
    """Predictions by id, and the bytes that hold them. Raises DataError for a whole line that is none."""
    if not path.is_file():
        return {}, 0
    whole, newline, _ = path.read_bytes().rpartition(b"\n")
    done: dict[str, Prediction] = {}
    for number, line in enumerate(whole.splitlines() if newline else (), start=1):
        try:
            prediction = _prediction(json.loads(line))
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path} line {number}: not a prediction: {error}", reason="predictions") from error
        done[prediction.sample_id] = prediction
    return done, len(whole) + len(newline)


def _columns(prediction: Prediction) -> dict[str, Any]:
    answer = asdict(prediction.answer) if prediction.answer is not None else {}
    return {"sample_id": prediction.sample_id, "failure": prediction.failure, "message": prediction.message, **answer}


def _prediction(line: Any) -> Prediction:
    columns = {**line}  # a TypeError for JSON that is no object
    own = {name: columns.pop(name) for name in ("sample_id", "failure", "message")}
    if own["failure"]:
        return Prediction(**own)
    return Prediction(**own, answer=Answer(**{**columns, "timestamps_s": tuple(columns["timestamps_s"])}))


def in_order(done: Mapping[str, Prediction], sample_ids: Sequence[str]) -> list[Prediction]:
    """The predictions of these items. Raises DataError naming how many are missing."""
    missing = [sample_id for sample_id in sample_ids if sample_id not in done]
    if missing:
        raise DataError(
            f"predictions: got {len(done)}, {len(missing)} are missing (first {missing[0]}), wanted one for every "
            "item; run vrl eval again to resume",
            reason="predictions",
        )
    return [done[sample_id] for sample_id in sample_ids]


def fingerprint(samples: Sequence[Sample]) -> str:
    """A short hash of everything that is asked: a changed question, clip name or order changes it."""
    asked = json.dumps([asdict(sample) for sample in samples], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()[:16]
