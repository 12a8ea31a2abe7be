"""The rows of a foreign file, and strict access to their columns. Knows file formats, no dataset's columns."""

import csv
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from vrl.data.dataset import raw_rows
from vrl.errors import DataError
from vrl.types import Media


class Source:
    """A file of rows: .parquet, .jsonl, .json (an array), .csv (with a header), .txt (a row a line)."""

    def __init__(self, path: Path, root: Path | None = None) -> None:
        self.path = path
        self.root = root

    def rows(self) -> Iterator["Row"]:
        """Every row, counted from 1. Raises DataError for a file that is none of these."""
        for number, columns in self._read():
            if not isinstance(columns, dict):
                raise DataError(f"{self.path} row {number}: got {columns!r:.80}, wanted an object", reason="dataset")
            yield Row(self, number, columns)

    def sibling(self, name: str) -> Any | None:
        """The content of a JSON file in the same folder, or None where there is no such file."""
        path = self.path.with_name(name)
        if path not in self._siblings:
            self._siblings[path] = _json(path) if path.is_file() else None
        return self._siblings[path]

    @cached_property
    def _siblings(self) -> dict[Path, Any]:
        return {}

    def _read(self) -> Iterator[tuple[int, Any]]:
        if self.path.suffix == ".json" and self.path.is_file():
            rows = _json(self.path)
            if not isinstance(rows, list):
                raise DataError(f"{self.path}: got no JSON array, wanted an array of objects", reason="dataset")
            yield from enumerate(rows, start=1)
        elif self.path.suffix in (".csv", ".txt") and self.path.is_file():
            with self.path.open(encoding="utf-8", newline="") as lines:
                table = csv.DictReader(lines) if self.path.suffix == ".csv" else ({"line": line} for line in lines)
                yield from enumerate(table, start=1)
        else:
            yield from raw_rows(self.path)


class Row:
    """One row. Every fault it finds names file, row and column."""

    def __init__(self, source: Source, number: int, columns: Mapping[str, Any]) -> None:
        self.source = source
        self.number = number
        self.columns = columns
        self.where = f"{source.path} row {number}"

    def fault(self, column: str, got: Any, wanted: str) -> DataError:
        """The error of a wrong value."""
        return DataError(f"{self.where}: {column}: got {got!r:.80}, wanted {wanted}", reason="dataset")

    def has(self, column: str) -> bool:
        """There is a value."""
        return self.columns.get(column) is not None

    def text(self, column: str, default: str | None = None) -> str:
        """A text that is not empty; with a default the column may be absent or empty."""
        value = self.columns.get(column)
        if isinstance(value, str) and value.strip():
            return value.strip()
        if default is not None and value in (None, ""):
            return default
        raise self.fault(column, value, "text")

    def seconds(self, column: str, value: Any) -> float:
        """A number, or text that spells one."""
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise self.fault(column, value, "a number of seconds") from error

    def span(self, column: str, value: Any) -> tuple[float, float]:
        """[start, end] in seconds."""
        if not isinstance(value, list) or len(value) != 2:
            raise self.fault(column, value, "[start, end]")
        return self.seconds(column, value[0]), self.seconds(column, value[1])

    def list(self, column: str) -> list[Any]:
        """A list; an absent one is empty."""
        value = self.columns.get(column)
        if value is None or isinstance(value, list):
            return value or []
        raise self.fault(column, value, "a list")

    def record(self, column: str) -> "Row":
        """The columns of a value that is an object; its faults name this row."""
        value = self.columns.get(column)
        if not isinstance(value, dict):
            raise self.fault(column, value, "an object")
        return Row(self.source, self.number, value)

    def media(self, kind: str, column: str, path: Any) -> Media:
        """A clip or image whose path is relative to the folder of the media, or lies under `root`."""
        if not isinstance(path, str) or not path.strip() or "://" in path.removeprefix("file://"):
            raise self.fault(column, path, "the path of a file")
        pure, root = PurePosixPath(path.removeprefix("file://")), self.source.root
        if pure.is_absolute():
            if root is None or not pure.is_relative_to(root.absolute()):
                raise self.fault(column, path, "a relative path, or --root ROOT with a folder that holds it")
            pure = pure.relative_to(root.absolute())
        return Media(kind=kind, path=str(pure))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}", reason="dataset") from error
