"""Dataset files: the one Arrow schema of `Sample`, a strict reader of parquet and JSON, a writer, and the media check.

Does not open media (vrl.data.decode.video does) and does not know the tasks.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vrl.config import DataConfig
from vrl.data.rows import Reading, Row, RowError, Source, read_rows
from vrl.data.rows.row import MAX_ITEMS, MAX_TEXT
from vrl.errors import ConfigError, DataError
from vrl.tasks.answer import ANSWER_TYPES, number
from vrl.types import Caption, Media, Sample

SCHEMA_VERSION = "1"
_VERSION_KEY = b"vrl_schema_version"
_SUFFIXES = (".parquet", ".jsonl", ".json")
MAX_OPTIONS = 26  # of a choice
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
        ("reply", pa.string()),
    ],
    metadata={_VERSION_KEY: SCHEMA_VERSION.encode()},
)


def write_parquet(samples: Sequence[Sample], path: Path) -> None:
    """Write samples as parquet (zstd, row groups of 1024); without replies there is no such column.

    The same samples give the same bytes.
    """
    schema = SCHEMA if any(sample.reply for sample in samples) else SCHEMA.remove(SCHEMA.get_field_index("reply"))
    table = pa.Table.from_pylist([asdict(sample) for sample in samples], schema=schema)
    pq.write_table(table, path, compression="zstd", row_group_size=1024)


def read_dataset(
    path: Path, *, bad_rows: str = "refuse", answered: bool = True, task: str = "", how_to_skip: str = ""
) -> Reading[Sample]:
    """Read all rows of a parquet or JSONL file in file order, under `task` unless empty.

    `answered`: a row without an answer is bad.

    Raise DataError if the file cannot be read or has no rows. A bad row has unknown or missing columns, wrong types, an
    id seen before, an answer outside the options, a span that ends before it starts; `bad_rows` and `how_to_skip` are
    those of `vrl.data.rows.read_rows`.
    """
    reading = read_rows(
        open_dataset(path),
        lambda row: [sample_of(row.extended(task=task) if task else row, answered=answered)],
        identify=lambda sample: sample.sample_id,
        bad_rows=bad_rows,
        how_to_skip=how_to_skip,
    )
    if not reading.kept:
        raise DataError(f"{path}: got no rows to keep ({reading.summary()}), wanted at least one", reason="dataset")
    return reading


def open_dataset(path: Path) -> Source:
    """Return the rows of a file that may be in our schema. Raise DataError for another kind or version of file."""
    if path.suffix not in _SUFFIXES:
        raise DataError(f"{path}: got suffix {path.suffix!r}, wanted one of {', '.join(_SUFFIXES)}", reason="dataset")
    if path.suffix == ".parquet" and path.is_file():
        _require_version(path)
    return Source(path)


def read_samples(path: Path, tasks: Collection[str] = ()) -> tuple[Sample, ...]:
    """Return the rows of a file without bad rows, all or those of `tasks`. Raise DataError as `read_dataset` does."""
    return tuple(sample for sample in read_dataset(path).kept if not tasks or sample.task in tasks)


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


def _require_version(path: Path) -> None:
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: not a parquet file: {error}", reason="dataset") from error
    version = metadata.get(_VERSION_KEY, SCHEMA_VERSION.encode()).decode()
    if version != SCHEMA_VERSION:
        raise DataError(f"{path}: got schema version {version}, wanted {SCHEMA_VERSION}", reason="dataset")


def sample_of(row: Row, *, answered: bool = True) -> Sample:
    """Return the sample of a row in our schema. Raise RowError with all that is wrong."""
    reader = _SampleReader(row.columns)
    sample = reader.sample()
    if reader.faults:
        raise RowError(row.where, reader.faults)
    return sound(row, sample, answered=answered)


def sound(row: Row, sample: Sample, *, answered: bool = True) -> Sample:
    """Return the sample of a row. Raise RowError with its `faults`, if any."""
    found = faults(sample, answered=answered)
    if found:
        raise RowError(row.where, found)
    return sample


class _SampleReader:
    """Reads the columns of a sample and collects what is wrong; a wrong value reads as its empty default."""

    def __init__(self, columns: Mapping[str, Any]) -> None:
        self._columns = columns
        known = {field.name: field.default is MISSING for field in fields(Sample)}
        self.faults = {name: f"unknown column, wanted one of {list(known)}" for name in columns if name not in known}
        missing = [name for name, required in known.items() if required and name not in columns]
        self.faults.update(dict.fromkeys(missing, "missing column"))

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
            reply=self._text("reply"),
        )

    def _text(self, column: str, default: str = "") -> str:
        return self._string(column, self._columns[column]) if column in self._columns else default

    def _list(self, column: str, read: Callable[[str, Any], Any]) -> list[Any]:
        value = self._columns.get(column, [])
        if not isinstance(value, list) or len(value) > MAX_ITEMS:
            got = f"a list of {len(value)}" if isinstance(value, list) else _type(value)
            self.faults[column] = f"got {got}, wanted a list of at most {MAX_ITEMS}"
            return []
        return [read(f"{column}[{index}]", item) for index, item in enumerate(value)]

    def _string(self, name: str, value: Any) -> str:
        if isinstance(value, str) and len(value) <= MAX_TEXT:
            return value
        if isinstance(value, str):
            self.faults[name] = f"got {len(value)} characters, wanted at most {MAX_TEXT}"
            return ""
        self.faults[name] = f"got {_type(value)}, wanted text"
        return ""

    def _seconds(self, name: str, value: Any) -> float:
        with suppress(OverflowError):  # of a whole number beyond 10^308
            if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= float(value) < math.inf:
                return float(value)
        self.faults[name] = f"got {value!r}, wanted seconds, finite and not negative"
        return 0.0

    def _record(self, name: str, value: Any, columns: tuple[str, ...], required: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.faults[name] = f"got {_type(value)}, wanted an object with {', '.join(required)}"
            return {}
        unknown = [key for key in value if key not in columns]
        missing = [key for key in required if key not in value]
        self.faults.update({f"{name}.{key}": f"unknown column, wanted one of {columns}" for key in unknown})
        self.faults.update({f"{name}.{key}": "missing" for key in missing})
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
            self.faults[name] = f"got {value!r}, wanted [start, end] in seconds"
            return (0.0, 0.0)
        return (self._seconds(f"{name}[0]", value[0]), self._seconds(f"{name}[1]", value[1]))


def faults(sample: Sample, *, answered: bool = True) -> dict[str, str]:
    """Return what cannot be true of a sample whose types are right: column -> what is wrong.

    `answered`: no answer is a fault too. Events and captions may be of one moment.
    """
    found = {name: "got nothing" for name in ("sample_id", "task", "question") if not getattr(sample, name).strip()}
    if sample.answer_type not in _ANSWER_TYPES:
        return {**found, "answer_type": f"got {sample.answer_type!r}, wanted one of {_ANSWER_TYPES}"}
    if answered or sample.answer.strip() or sample.spans or sample.key_elements:
        found |= _wrong_truth(sample)
    for index, media in enumerate(sample.media):
        if media.kind not in _MEDIA_KINDS:
            found[f"media[{index}].kind"] = f"got {media.kind!r}, wanted one of {_MEDIA_KINDS}"
        if not media.path:
            found[f"media[{index}].path"] = "got nothing"
        if media.end_s is not None and media.end_s <= media.start_s:
            found[f"media[{index}].end_s"] = f"got {media.end_s}, wanted more than start_s={media.start_s}"
    for index, (start_s, end_s) in enumerate(sample.spans):
        if end_s < start_s:
            found[f"spans[{index}]"] = f"got [{start_s}, {end_s}], wanted start <= end"
    for index, caption in enumerate(sample.captions):
        if caption.end_s < caption.start_s:
            found[f"captions[{index}]"] = f"got [{caption.start_s}, {caption.end_s}], wanted start <= end"
    return found


def _wrong_truth(sample: Sample) -> dict[str, str]:
    kind, answer = sample.answer_type, sample.answer
    if kind == "choice":
        if len(sample.options) > MAX_OPTIONS:
            return {"options": f"got {len(sample.options)}, wanted at most {MAX_OPTIONS}, a letter each"}
        letters = [chr(65 + i) for i in range(len(sample.options))]
        if answer not in letters:
            return {"answer": f"got {answer!r}, wanted the letter of one of the {len(letters)} options {letters}"}
    elif kind in ("number", "regression") and number(answer) is None:
        return {"answer": f"got {answer!r}, wanted a number as a completion writes it, such as 3.5 ({kind})"}
    elif kind in ("text", "ocr", "free") and not answer.strip():
        return {"answer": f"got nothing, wanted text (answer_type is {kind})"}
    elif kind == "span" and not sample.spans:
        return {"spans": "got none, wanted at least one (answer_type is span)"}
    elif kind == "elements" and not sample.key_elements:
        return {"key_elements": "got none, wanted at least one (answer_type is elements)"}
    return {}


def _type(value: Any) -> str:
    return "null" if value is None else type(value).__name__
