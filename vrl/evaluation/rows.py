"""Published annotation files as rows whose columns are asked for by name. Knows no benchmark.

Every complaint names file, row and column: a layout that changed is an error, never a guess.
"""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vrl.errors import DataError

_LETTERED = re.compile(r"\s*\(?([A-Z])[.):]\)?\s*")


class Row:
    """One row, or an object inside it. Example: `row.text("question")`, `row.texts("options")`."""

    def __init__(self, where: str, columns: Any) -> None:
        """Raises DataError where `columns` is no object."""
        if not isinstance(columns, dict):
            raise DataError(f"{where}: got {type(columns).__name__}, wanted an object with columns", reason="dataset")
        self.where = where
        self._columns = columns

    def __contains__(self, column: str) -> bool:
        return self._columns.get(column) is not None

    def keys(self) -> list[str]:
        """The columns that are there."""
        return list(self._columns)

    def text(self, column: str) -> str:
        """Text, stripped; a whole number counts, as ids often are numbers. Raises DataError for anything else."""
        value = self._get(column)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self._wrong(column, value, "text")
        return str(value).strip()

    def number(self, column: str) -> float:
        """A number, or text that spells one."""
        value = self._get(column)
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise self._wrong(column, value, "a number") from error

    def texts(self, column: str) -> tuple[str, ...]:
        """A list of texts; one text alone is a list of one."""
        value = self._get(column)
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(one, str | int) for one in values):
            raise self._wrong(column, value, "a list of texts")
        return tuple(str(one).strip() for one in values)

    def row(self, column: str) -> "Row":
        """An object inside this one."""
        return Row(f"{self.where} {column}", self._get(column))

    def rows(self, column: str) -> list["Row"]:
        """A list of objects inside this one."""
        value = self._get(column)
        if not isinstance(value, list):
            raise self._wrong(column, value, "a list of objects")
        return [Row(f"{self.where} {column}[{i}]", one) for i, one in enumerate(value)]

    def spans(self, column: str) -> tuple[tuple[float, float], ...]:
        """A list of [start, end] in seconds, start before end."""
        value = self._get(column)
        try:
            spans = tuple((float(start), float(end)) for start, end in value)
        except (TypeError, ValueError) as error:
            raise self._wrong(column, value, "a list of [start, end]") from error
        if not spans or any(end <= start for start, end in spans):
            raise self._wrong(column, value, "[start, end] with start < end")
        return spans

    def _get(self, column: str) -> Any:
        if column not in self._columns:
            raise DataError(f"{self.where}: column {column!r} is missing, got {list(self._columns)}", reason="dataset")
        return self._columns[column]

    def _wrong(self, column: str, value: Any, wanted: str) -> DataError:
        return DataError(f"{self.where}: {column}: got {value!r}, wanted {wanted}", reason="dataset")


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises DataError where it is missing or broken."""
    try:
        return json.loads(_existing(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}", reason="dataset") from error


def json_rows(path: Path) -> list[Row]:
    """The rows of a JSON file that holds a list of objects."""
    value = read_json(path)
    if not isinstance(value, list):
        raise DataError(f"{path}: got {type(value).__name__}, wanted a list of objects", reason="dataset")
    return _numbered(path, value)


def jsonl_rows(path: Path) -> list[Row]:
    """The rows of a file with one JSON object a line."""
    lines = _existing(path).read_text(encoding="utf-8").splitlines()
    try:
        return _numbered(path, [json.loads(line) for line in lines if line.strip()])
    except ValueError as error:
        raise DataError(f"{path}: not JSON lines: {error}", reason="dataset") from error


def csv_rows(path: Path) -> list[Row]:
    """The rows of a comma-separated file with a header."""
    with _existing(path).open(encoding="utf-8", newline="") as file:
        return _numbered(path, list(csv.DictReader(file)))


def parquet_rows(folder: Path, pattern: str, columns: tuple[str, ...]) -> list[Row]:
    """The rows of all shards `pattern` in a folder, in order; of `columns` those that are there (images stay)."""
    paths = sorted(folder.glob(pattern))
    if not paths:
        raise DataError(f"{folder / pattern}: no such file", reason="dataset")
    rows: list[Row] = []
    for path in paths:
        try:
            file = pq.ParquetFile(path)
            there = [name for name in columns if name in file.schema_arrow.names]
            rows += _numbered(path, file.read(columns=there).to_pylist())
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path}: not a parquet file: {error}", reason="dataset") from error
    return rows


def without_letters(options: tuple[str, ...]) -> tuple[str, ...]:
    """Return options without `A. `, `(B) `, `C) ` if all carry their own letter, else unchanged."""
    found = [_LETTERED.match(option) for option in options]
    if all(one is not None and one[1] == chr(65 + i) for i, one in enumerate(found)):
        return tuple(option[one.end() :].strip() for option, one in zip(options, found, strict=True) if one)
    return options


def split_options(text: str) -> tuple[str, tuple[str, ...]]:
    """A question that ends in its options, one a line and lettered, as question and options without letters.

    A line that does not begin with the next letter belongs to the line before. No options: the text and ().
    """
    question: list[str] = []
    options: list[str] = []
    for line in text.strip().splitlines():
        lettered = _LETTERED.match(line)
        if lettered is not None and lettered[1] == chr(65 + len(options)):
            options.append(line[lettered.end() :].strip())
        elif options:
            options[-1] = f"{options[-1]} {line.strip()}".strip()
        else:
            question.append(line)
    return "\n".join(question).strip(), tuple(options)


def _numbered(path: Path, rows: list[Any]) -> list[Row]:
    return [Row(f"{path} row {number}", row) for number, row in enumerate(rows, start=1)]


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path}: no such file", reason="dataset")
    return path


def pairs(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    """The entries of a JSON object that maps ids to values. Raises DataError where it is none."""
    if not isinstance(value, dict):
        raise DataError(f"{where}: got {type(value).__name__}, wanted an object", reason="dataset")
    return iter(value.items())
