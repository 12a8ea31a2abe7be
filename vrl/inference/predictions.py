"""The answers so far, one JSON object per line, each flushed to disk before the next.

A killed run resumes from here: complete lines are finished items; an incomplete last line is cut off, and its item is
asked again. Does not ask and does not score.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vrl.errors import ConfigError, DataError
from vrl.files import write_atomically
from vrl.inference.answer import Answer
from vrl.types import Sample

_PREDICTIONS = "predictions.jsonl"
_SETTINGS = "settings.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """The answer to one sample, or the reason why there is none. One line of predictions.jsonl, with flat columns."""

    sample_id: str
    answer: Answer | None = None
    failure: str = ""  # short reason why there is no answer; empty otherwise
    message: str = ""  # the failure in full


class PredictionFile(AbstractContextManager["PredictionFile"]):
    """The predictions of one run folder, open to append.

    Example: `with PredictionFile(run_dir, settings) as file: file.add(prediction)`; `file.done` holds all predictions.
    """

    def __init__(self, run_dir: Path, settings: Mapping[str, Any]) -> None:
        """`settings`: everything that answers depend on, as flat JSON; stored by the first run in the folder.

        Raises ConfigError naming every key whose value differs from that of the stored predictions.
        """
        run_dir.mkdir(parents=True, exist_ok=True)
        _claim(run_dir / _SETTINGS, settings)
        self.done, size = _read(run_dir / _PREDICTIONS)
        self._file = (run_dir / _PREDICTIONS).open("ab")
        self._file.truncate(size)

    def add(self, prediction: Prediction) -> None:
        """Append a prediction; it is on disk when this returns."""
        self._file.write(json.dumps(_columns(prediction), allow_nan=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.done[prediction.sample_id] = prediction

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _claim(path: Path, settings: Mapping[str, Any]) -> None:
    """Store the settings, or compare them with the stored ones."""
    wanted = json.loads(json.dumps(settings))
    if not path.is_file():
        write_atomically(path, json.dumps(wanted, indent=1) + "\n")
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
    """Return predictions by id, and the length of the complete lines in bytes. Raises DataError for an invalid line."""
    if not path.is_file():
        return {}, 0
    complete, newline, _ = path.read_bytes().rpartition(b"\n")
    done: dict[str, Prediction] = {}
    for number, line in enumerate(complete.splitlines() if newline else (), start=1):
        try:
            prediction = _prediction(json.loads(line))
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path} line {number}: not a prediction: {error}", reason="predictions") from error
        done[prediction.sample_id] = prediction
    return done, len(complete) + len(newline)


def _columns(prediction: Prediction) -> dict[str, Any]:
    answer = asdict(prediction.answer) if prediction.answer is not None else {}
    return {"sample_id": prediction.sample_id, "failure": prediction.failure, "message": prediction.message, **answer}


def _prediction(line: Any) -> Prediction:
    columns = {**line}  # raises TypeError for JSON that is not an object
    own = {name: columns.pop(name) for name in ("sample_id", "failure", "message")}
    if own["failure"]:
        return Prediction(**own)
    return Prediction(**own, answer=Answer(**{**columns, "timestamps_s": tuple(columns["timestamps_s"])}))


def in_order(done: Mapping[str, Prediction], sample_ids: Sequence[str]) -> list[Prediction]:
    """Return the predictions of these items. Raises DataError with the number of missing ones."""
    missing = [sample_id for sample_id in sample_ids if sample_id not in done]
    if missing:
        raise DataError(
            f"predictions: got {len(done)}, {len(missing)} are missing (first {missing[0]}), wanted one for every "
            "item; run vrl eval again to resume",
            reason="predictions",
        )
    return [done[sample_id] for sample_id in sample_ids]


def fingerprint(samples: Sequence[Sample]) -> str:
    """Return a short hash of all samples: a changed question, clip name or order changes it."""
    content = json.dumps([asdict(sample) for sample in samples], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
