"""Dataset files: the one Arrow schema of `Sample`, a strict reader of parquet and JSONL, a writer, and the media check.

A file is right or refused: every fault is listed with file, row and column, and no row is skipped or repaired. Does not
open media (vrl.data.decode.video does) and does not know the tasks.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vrl.config import DataConfig
from vrl.errors import ConfigError, DataError
from vrl.tasks.answer import ANSWER_TYPES
from vrl.types import Caption, Media, Sample

SCHEMA_VERSION = "1"
_VERSION_KEY = b"vrl_schema_version"
_MAX_PROBLEMS = 20  # listed of one file
_ANSWER_TYPES = (*ANSWER_TYPES, "span", "elements")
_MEDIA_KINDS = ("video", "image")

SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("task", pa.string()),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("answer_type", pa.string()),
        (
            "media",
            pa.list_(
                pa.struct(
                    [("kind", pa.string()), ("path", pa.string()), ("start_s", pa.float64()), ("end_s", pa.float64())]
                )
            ),
        ),
        ("options", pa.list_(pa.string())),
        ("spans", pa.list_(pa.list_(pa.float64()))),
        ("captions", pa.list_(pa.struct([("start_s", pa.float64()), ("end_s", pa.float64()), ("text", pa.string())]))),
        ("key_elements", pa.list_(pa.string())),
        ("thinking", pa.string()),
        ("source", pa.string()),
    ],
    metadata={_VERSION_KEY: SCHEMA_VERSION.encode()},
)


def write_parquet(samples: Sequence[Sample], path: Path) -> None:
    """Write samples as parquet (zstd, row groups of 1024). The same samples give the same bytes."""
    table = pa.Table.from_pylist([asdict(sample) for sample in samples], schema=SCHEMA)
    pq.write_table(table, path, compression="zstd", row_group_size=1024)


def read_samples(path: Path, tasks: Collection[str] = ()) -> tuple[Sample, ...]:
    """All rows of a parquet or JSONL file in file order, kept where `tasks` is empty or names the row's task.

    Raises DataError that lists up to 20 problems, each with file, row (counted from 1; the line of a JSONL file) and
    column: unknown or missing columns, wrong types, an id seen twice, an answer outside the options, a span that ends
    before it starts. A file without rows, or without rows of `tasks`, is an error too.
    """
    rows = raw_rows(path)
    problems: list[str] = []
    samples: list[Sample] = []
    num_rows = 0
    for number, row in rows:
        num_rows += 1
        reading = _Row(row)
        sample = reading.sample()
        wrong = reading.problems or faults(sample)
        problems += [f"{path} row {number}: {fault}" for fault in wrong]
        samples.append(sample)
        if len(problems) >= _MAX_PROBLEMS:
            problems[_MAX_PROBLEMS:] = ["... and perhaps more: reading stopped here"]
            break
    seen = Counter(sample.sample_id for sample in samples if sample.sample_id)
    problems += [
        f"{path}: sample_id: got {key!r} in {count} rows, wanted unique ids" for key, count in seen.items() if count > 1
    ][:_MAX_PROBLEMS]
    if problems:
        raise DataError("\n".join(problems), reason="dataset")
    if num_rows == 0:
        raise DataError(f"{path}: got no rows, wanted at least one", reason="dataset")
    kept = tuple(sample for sample in samples if not tasks or sample.task in tasks)
    if not kept:
        present = sorted({sample.task for sample in samples})
        raise DataError(f"{path}: got no rows of data.tasks={sorted(tasks)}, the file has {present}", reason="dataset")
    return kept


def media_root(config: DataConfig) -> Path:
    """The folder that media paths are relative to: `data.root`, or the folder of the dataset files.

    Raises ConfigError where `data.root` is empty and the files lie in different folders.
    """
    if config.root:
        return Path(config.root)
    folder = Path(config.train).parent
    if config.val and Path(config.val).parent.resolve() != folder.resolve():
        raise ConfigError(
            f"data.root: got nothing while data.train={config.train} and data.val={config.val} lie in different "
            "folders, wanted the folder that media paths are relative to"
        )
    return folder


def resolve_media(root: Path, path: str) -> Path:
    """The real file of a media path. Raises DataError unless it is an existing, non-empty file under `root`."""
    if not path or "\0" in path or "://" in path or Path(path).is_absolute():
        raise DataError(f"media path {path!r}: wanted a path relative to {root}", reason="path")
    try:
        real = (root / path).resolve()
        is_file = real.is_file()
    except (OSError, RuntimeError) as error:  # a link to itself, a name longer than names can be
        raise DataError(f"media path {path!r:.200}: cannot be followed: {error}", reason="path") from error
    if not real.is_relative_to(root.resolve()):
        raise DataError(f"media path {path!r}: leads to {real}, wanted a file under {root}", reason="path")
    if not is_file:
        raise DataError(f"media path {path!r}: no such file under {root}", reason="missing")
    if real.stat().st_size == 0:
        raise DataError(f"media path {path!r}: got an empty file", reason="empty")
    return real


def check_media(samples: Iterable[Sample], root: Path) -> list[str]:
    """One problem for each media path that `resolve_media` refuses, in order of first use. Opens no file."""
    problems = []
    for path, sample_id in {media.path: sample.sample_id for sample in samples for media in sample.media}.items():
        try:
            resolve_media(root, path)
        except DataError as error:
            problems.append(f"sample {sample_id}: {error}")
    return problems


def raw_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the unchanged rows of a parquet or JSONL file, numbered from 1. Raises DataError for any other file."""
    if not path.is_file():
        raise DataError(f"{path}: no such file, wanted a .parquet or .jsonl dataset", reason="dataset")
    if path.suffix == ".jsonl":
        return _read_jsonl(path)
    if path.suffix == ".parquet":
        return _read_parquet(path)
    raise DataError(f"{path}: got suffix {path.suffix!r}, wanted .parquet or .jsonl", reason="dataset")


def _read_jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path} row {number}: not JSON: {error}", reason="dataset") from error


def _read_parquet(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a parquet file: {error}", reason="dataset") from error
    version = (file.schema_arrow.metadata or {}).get(_VERSION_KEY, SCHEMA_VERSION.encode()).decode()
    if version != SCHEMA_VERSION:
        raise DataError(f"{path}: got schema version {version}, wanted {SCHEMA_VERSION}", reason="dataset")
    number = 0
    for batch in file.iter_batches(batch_size=4096):
        for row in batch.to_pylist():
            number += 1
            yield number, row


class _Row:
    """Reads one raw row into a `Sample` and collects what is wrong; a wrong value reads as its empty default."""

    def __init__(self, row: Any) -> None:
        self.problems: list[str] = []
        self._row = row if isinstance(row, dict) else {}
        if not isinstance(row, dict):
            self.problems.append(f"got {_type(row)}, wanted an object with the columns of a sample")
            return
        known = {field.name: field.default is MISSING for field in fields(Sample)}
        self.problems += [f"{name}: unknown column, wanted one of {list(known)}" for name in row if name not in known]
        self.problems += [f"{name}: missing column" for name, required in known.items() if required and name not in row]

    def sample(self) -> Sample:
        return Sample(
            sample_id=self._text("sample_id"),
            task=self._text("task"),
            question=self._text("question"),
            answer=self._text("answer"),
            answer_type=self._text("answer_type", default="text"),
            media=tuple(self._list("media", self._media)),
            options=tuple(self._list("options", self._string)),
            spans=tuple(self._list("spans", self._span)),
            captions=tuple(self._list("captions", self._caption)),
            key_elements=tuple(self._list("key_elements", self._string)),
            thinking=self._text("thinking"),
            source=self._text("source"),
        )

    def _text(self, column: str, default: str = "") -> str:
        return self._string(column, self._row[column]) if column in self._row else default

    def _list(self, column: str, read: Callable[[str, Any], Any]) -> list[Any]:
        value = self._row.get(column, [])
        if not isinstance(value, list):
            self.problems.append(f"{column}: got {_type(value)}, wanted a list")
            return []
        return [read(f"{column}[{index}]", item) for index, item in enumerate(value)]

    def _string(self, name: str, value: Any) -> str:
        if isinstance(value, str):
            return value
        self.problems.append(f"{name}: got {_type(value)}, wanted text")
        return ""

    def _seconds(self, name: str, value: Any) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
            return float(value)
        self.problems.append(f"{name}: got {value!r}, wanted seconds, finite and not negative")
        return 0.0

    def _record(self, name: str, value: Any, columns: tuple[str, ...], required: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.problems.append(f"{name}: got {_type(value)}, wanted an object with {', '.join(required)}")
            return {}
        self.problems += [
            f"{name}.{key}: unknown column, wanted one of {columns}" for key in value if key not in columns
        ]
        missing = [key for key in required if key not in value]
        self.problems += [f"{name}.{key}: missing" for key in missing]
        return {} if missing else value

    def _media(self, name: str, value: Any) -> Media:
        record = self._record(name, value, ("kind", "path", "start_s", "end_s"), ("kind", "path"))
        end_s = record.get("end_s")
        return Media(
            kind=self._string(f"{name}.kind", record.get("kind", "")),
            path=self._string(f"{name}.path", record.get("path", "")),
            start_s=self._seconds(f"{name}.start_s", record.get("start_s", 0.0)),
            end_s=None if end_s is None else self._seconds(f"{name}.end_s", end_s),
        )

    def _caption(self, name: str, value: Any) -> Caption:
        columns = ("start_s", "end_s", "text")
        record = self._record(name, value, columns, columns)
        return Caption(
            start_s=self._seconds(f"{name}.start_s", record.get("start_s", 0.0)),
            end_s=self._seconds(f"{name}.end_s", record.get("end_s", 0.0)),
            text=self._string(f"{name}.text", record.get("text", "")),
        )

    def _span(self, name: str, value: Any) -> tuple[float, float]:
        if not isinstance(value, list) or len(value) != 2:
            self.problems.append(f"{name}: got {value!r}, wanted [start, end] in seconds")
            return (0.0, 0.0)
        return (self._seconds(f"{name}[0]", value[0]), self._seconds(f"{name}[1]", value[1]))


def faults(sample: Sample) -> list[str]:
    """What cannot be true of a row whose types are right."""
    problems = [
        f"{name}: got nothing" for name in ("sample_id", "task", "question") if not getattr(sample, name).strip()
    ]
    if sample.answer_type not in _ANSWER_TYPES:
        return [*problems, f"answer_type: got {sample.answer_type!r}, wanted one of {_ANSWER_TYPES}"]
    problems += _wrong_answer(sample)
    for index, media in enumerate(sample.media):
        if media.kind not in _MEDIA_KINDS:
            problems.append(f"media[{index}].kind: got {media.kind!r}, wanted one of {_MEDIA_KINDS}")
        if not media.path:
            problems.append(f"media[{index}].path: got nothing")
        if media.end_s is not None and media.end_s <= media.start_s:
            problems.append(f"media[{index}].end_s: got {media.end_s}, wanted more than start_s={media.start_s}")
    intervals = [(f"spans[{i}]", *span) for i, span in enumerate(sample.spans)]
    intervals += [(f"captions[{i}]", caption.start_s, caption.end_s) for i, caption in enumerate(sample.captions)]
    problems += [f"{name}: got [{start}, {end}], wanted start < end" for name, start, end in intervals if end <= start]
    return problems


def _wrong_answer(sample: Sample) -> list[str]:
    if sample.answer_type == "choice":
        letters = [chr(65 + i) for i in range(len(sample.options))]
        if sample.answer not in letters:
            return [f"answer: got {sample.answer!r}, wanted the letter of one of the {len(letters)} options {letters}"]
    if sample.answer_type in ("number", "regression") and not _is_number(sample.answer):
        return [f"answer: got {sample.answer!r}, wanted a number (answer_type is {sample.answer_type})"]
    if sample.answer_type in ("text", "ocr", "free") and not sample.answer.strip():
        return [f"answer: got nothing, wanted text (answer_type is {sample.answer_type})"]
    if sample.answer_type == "span" and not sample.spans:
        return ["spans: got none, wanted at least one (answer_type is span)"]
    if sample.answer_type == "elements" and not sample.key_elements:
        return ["key_elements: got none, wanted at least one (answer_type is elements)"]
    return []


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text.replace(",", "")))
    except ValueError:
        return False


def _type(value: Any) -> str:
    return "null" if value is None else type(value).__name__
