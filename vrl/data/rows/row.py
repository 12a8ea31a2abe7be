"""One row of an annotation file, and strict access to its columns by name. Knows no dataset's columns."""

import math
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from vrl.errors import DataError
from vrl.types import Media

if TYPE_CHECKING:
    from vrl.data.rows.source import Source


MAX_TEXT = 2**20  # characters of one value
MAX_ITEMS = 10_000  # of one list
_MAX_NAME, _MAX_FAULT = 80, 300  # characters of a column's name and of a fault in an error


class RowError(DataError):
    """A row that cannot be used. `faults` maps the column at fault, "" for the whole row, to got and wanted."""

    def __init__(self, where: str, faults: Mapping[str, str]) -> None:
        self.where = where
        self.faults = {column[:_MAX_NAME]: fault[:_MAX_FAULT] for column, fault in faults.items()}
        parts = self.faults.items()
        lines = (f"{where}: {column}: {fault}" if column else f"{where}: {fault}" for column, fault in parts)
        super().__init__("\n".join(lines), reason="dataset")

    def __reduce__(self) -> tuple[type["RowError"], tuple[str, dict[str, str]]]:
        return type(self), (self.where, self.faults)


class Row:
    """One row, or an object inside one. Every method that reads a column raises RowError for a wrong value.

    Example: `row.text("question")`, `row.texts("options")`, `row.inner("metadata").text("subject")`.
    """

    def __init__(self, source: "Source", number: int, columns: Mapping[str, Any], damage: str = "") -> None:
        """`number` counts from 1. `damage`: why the row cannot be read at all; empty for a good one."""
        self.source = source
        self.number = number
        self.columns = columns
        self.damage = damage
        self._prefix = ""

    @property
    def where(self) -> str:
        """File and row, as every error names them."""
        return f"{self.source.path} row {self.number}"

    def __contains__(self, column: str) -> bool:
        return self.columns.get(column) is not None

    def error(self, column: str, got: Any, wanted: str) -> RowError:
        """Return the error of a wrong value."""
        return RowError(self.where, {self._prefix + column: f"got {_short(got)}, wanted {wanted}"})

    def note(self, what: str) -> None:
        """Count a part of the row that the reader leaves out, for the account of the file."""
        self.source.notes[what] += 1

    def extended(self, **columns: Any) -> "Row":
        """Return the row with more columns: what a layout writes around its rows."""
        return self._derived({**self.columns, **columns}, self._prefix)

    def text(self, column: str, default: str | None = None) -> str:
        """Return text, stripped, never empty; a number counts. With a default the value may be absent or empty."""
        value = self.columns.get(column)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, str) and value.strip():
            if len(value) > MAX_TEXT:
                raise self.error(column, value, f"at most {MAX_TEXT} characters, not {len(value)}")
            return value.strip()
        if default is not None and (value is None or (isinstance(value, str) and not value.strip())):
            return default
        raise self._wrong(column, "text")

    def number_of(self, column: str) -> float:
        """Return a finite number, or one that text spells."""
        return self.finite(column, self.columns.get(column), "a number")

    def index(self, column: str, count: int) -> int:
        """Return a whole number from 0 to `count` - 1."""
        value = self.number_of(column)
        if value not in range(count):
            raise self._wrong(column, f"a whole number from 0 to {count - 1}")
        return int(value)

    def texts(self, column: str) -> tuple[str, ...]:
        """Return a list of texts, stripped, perhaps empty ones; numbers count, and one text is a list of one."""
        value = self.columns.get(column)
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(one, str | int | float) for one in values):
            raise self._wrong(column, "a list of texts")
        return tuple(str(one).strip() for one in values)

    def list_of(self, column: str) -> list[Any]:
        """Return a list; an absent one is empty."""
        value = self.columns.get(column)
        if value is not None and (not isinstance(value, list) or len(value) > MAX_ITEMS):
            raise self._wrong(column, f"a list of at most {MAX_ITEMS}")
        return value or []

    def inner(self, column: str) -> "Row":
        """Return an object inside the row."""
        value = self.columns.get(column)
        if not isinstance(value, dict):
            raise self._wrong(column, "an object")
        return self._derived(value, f"{self._prefix}{column}.")

    def inners(self, column: str) -> "list[Row]":
        """Return the objects of a list inside the row; an absent list is empty."""
        found = []
        for index, value in enumerate(self.list_of(column)):
            if not isinstance(value, dict):
                raise self.error(f"{column}[{index}]", value, "an object")
            found.append(self._derived(value, f"{self._prefix}{column}[{index}]."))
        return found

    def span(self, column: str, value: Any, *, moments: bool = False) -> tuple[float, float]:
        """Return [start, end] in seconds of a value that `column` holds; a start before 0 becomes 0, with a note.

        `moments`: an end that equals the start is good.
        """
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise self.error(column, value, "[start, end] in seconds")
        start_s, end_s = (self.finite(column, moment, "a number of seconds") for moment in value)
        if end_s < max(0.0, start_s) or (end_s == start_s and not moments):
            raise self.error(column, value, "[start, end] with 0 <= start < end")
        if start_s < 0:
            self.note("spans that began before their clip")
        return max(0.0, start_s), end_s

    def spans(self, column: str) -> tuple[tuple[float, float], ...]:
        """Return a list of [start, end] in seconds with at least one."""
        found = tuple(self.span(column, value) for value in self.list_of(column))
        if not found:
            raise self._wrong(column, "at least one [start, end] in seconds")
        return found

    def finite(self, column: str, value: Any, wanted: str) -> float:
        """Return a finite number, or one that text spells, of a value that `column` holds."""
        try:
            found = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            found = math.nan
        if not math.isfinite(found):
            raise self.error(column, value, wanted)
        return found

    def media(self, kind: str, column: str, path: Any) -> Media:
        """Return a clip or image whose path is relative to the folder of the media, or lies under the source's root."""
        if not isinstance(path, str) or not path.strip() or "://" in path.removeprefix("file://"):
            raise self.error(column, path, "the path of a file")
        pure, root = PurePosixPath(path.removeprefix("file://")), self.source.root
        if pure.is_absolute():
            if root is None or not pure.is_relative_to(root.absolute()):
                raise self.error(column, path, "a relative path, or --root ROOT with a folder that holds it")
            pure = pure.relative_to(root.absolute())
        return Media(kind=kind, path=str(pure))

    def _wrong(self, column: str, wanted: str) -> RowError:
        if column not in self.columns:
            return RowError(self.where, {self._prefix + column: f"missing, got the columns {list(self.columns)}"})
        return self.error(column, self.columns[column], wanted)

    def _derived(self, columns: Mapping[str, Any], prefix: str) -> "Row":
        row = Row(self.source, self.number, columns, self.damage)
        row._prefix = prefix
        return row


def _short(value: Any) -> str:
    return "nothing" if value is None or value == "" else f"{value!r:.80}"
