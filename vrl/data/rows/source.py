"""Rows of a file as they lie on disk: .parquet, .jsonl, .json, .csv, .tsv and .txt, decoded strictly.

Text is UTF-8, or UTF-16 or UTF-32 (told apart as in RFC 4627), with or without a byte order mark, with any line ends.
A row that cannot be read is still a row, and says why (`Row.damage`); a file that cannot be read raises DataError. The
standard library reads text because pyarrow and `datasets` stop at the first fault and name a block, not a row, and
give all rows the columns of any; pyarrow reads parquet. Knows no dataset's columns.
"""

import csv
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vrl.data.rows.row import Row
from vrl.errors import DataError

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_BATCH = 4096  # rows of a parquet file in memory

csv.field_size_limit(sys.maxsize)  # the default of 128 KiB refuses long subtitles


class Source:
    """An annotation file, and the files that its rows refer to.

    Example: `for row in Source(Path("val.csv")): row.text("question")`.
    """

    def __init__(self, path: Path, root: Path | None = None, columns: Sequence[str] = ()) -> None:
        """`root`: folder that absolute media paths must lie in. `columns`: those to read of a parquet file; all if
        empty.
        """
        self.path = path
        self.root = root
        self.notes: Counter[str] = Counter()  # what readers of the rows left out of them
        self._columns = columns

    def __iter__(self) -> Iterator[Row]:
        """Yield every row, counted from 1: the line in a .jsonl or .txt file, the object in a .json array, the record
        behind the header in a .csv. Blank lines are no rows. Raise DataError for a file that is none of these.
        """
        reader = _READERS.get(self.path.suffix)
        if reader is None or not self.path.is_file():
            got = f"suffix {self.path.suffix!r}" if self.path.is_file() else "no such file"
            raise DataError(f"{self.path}: got {got}, wanted a file of {', '.join(_READERS)}", reason="dataset")
        yield from (Row(self, *numbered) for numbered in reader(self.path, self._columns))

    def sibling(self, name: str) -> Any | None:
        """Return the content of a JSON file in the same folder, or None if there is none."""
        path = self.path.with_name(name)
        if path not in self._siblings:
            self._siblings[path] = read_json(path) if path.is_file() else None
        return self._siblings[path]

    @cached_property
    def _siblings(self) -> dict[Path, Any]:
        return {}


def shards(folder: Path, pattern: str, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of all files `pattern` in a folder, in the order of their names, with `columns` alone.

    Raise DataError if there is none.
    """
    paths = sorted(folder.glob(pattern))
    if not paths:
        raise DataError(f"{folder / pattern}: no such file", reason="dataset")
    for path in paths:
        yield from Source(path, columns=columns)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file. Raise DataError if it is missing, broken or no valid Unicode."""
    text = _open(path).read()
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {error}", reason="dataset") from error
    if _may_hold_surrogates(text):
        for place, problem in _surrogates(value):
            raise DataError(f"{path}: {place}: {problem}", reason="dataset")
    return value


_Numbered = tuple[int, Any, str]  # number, columns, damage


def _open(path: Path) -> io.TextIOWrapper:
    """Bytes that are no UTF-8 come out as lone surrogates, so that the row that holds them can be named."""
    try:
        raw = path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", reason="dataset") from error
    encoding = json.detect_encoding(raw.peek(4)[:4])
    return io.TextIOWrapper(raw, encoding=encoding, errors="surrogateescape" if encoding.startswith("utf-8") else None)


def _lines(path: Path, columns: Sequence[str] = (), *, ends: str | None = None) -> Iterator[str]:
    try:
        with _open(path) as file:
            file.reconfigure(newline=ends)
            yield from file
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: got {error}, wanted one encoding throughout", reason="dataset") from error


def _read_txt(path: Path, columns: Sequence[str]) -> Iterator[_Numbered]:
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            yield _checked(number, {"line": line.rstrip("\n")})


def _read_jsonl(path: Path, columns: Sequence[str]) -> Iterator[_Numbered]:
    lines = _lines(path)
    for number, line in enumerate(lines, start=1):
        if number == 1 and line.lstrip().startswith("["):  # an array under the other name
            yield from _read_array(path)
            return
        if line.strip():
            yield _parsed(number, line)


def _read_json(path: Path, columns: Sequence[str]) -> Iterator[_Numbered]:
    for line in _lines(path):
        if line.strip():
            is_lines = line.lstrip().startswith("{") and not _parsed(1, line)[2]  # lines under the other name
            yield from _read_jsonl(path, columns) if is_lines else _read_array(path)
            return


def _read_array(path: Path) -> Iterator[_Numbered]:
    text = "".join(_lines(path))
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {error}", reason="dataset") from error
    if not isinstance(rows, list):
        raise DataError(f"{path}: got {type(rows).__name__}, wanted an array of objects", reason="dataset")
    suspicious = _may_hold_surrogates(text)
    for number, columns in enumerate(rows, start=1):
        yield _checked(number, columns, suspicious=suspicious)


def _read_csv(path: Path, columns: Sequence[str], *, delimiter: str = ",") -> Iterator[_Numbered]:
    table = csv.reader(_lines(path, ends=""), delimiter=delimiter, strict=True)
    number = 0
    try:
        header = next(table, [])
        if not header or len(set(header)) < len(header):
            raise DataError(f"{path}: header: got {header}, wanted names, each once", reason="dataset")
        for record in table:
            if not record:
                continue
            number += 1
            if len(record) != len(header):
                yield number, {}, f"got {len(record)} fields, wanted the {len(header)} of the header"
            else:
                yield _checked(number, dict(zip(header, record, strict=True)))
    except csv.Error as error:
        raise DataError(f"{path} row {number + 1}: not CSV: {error}", reason="dataset") from error


def _read_tsv(path: Path, columns: Sequence[str]) -> Iterator[_Numbered]:
    return _read_csv(path, columns, delimiter="\t")


def _read_parquet(path: Path, columns: Sequence[str]) -> Iterator[_Numbered]:
    number = 0
    try:
        file = pq.ParquetFile(path)
        there = [name for name in columns if name in file.schema_arrow.names] if columns else None
        for batch in file.iter_batches(batch_size=_BATCH, columns=there):
            for row in _plain(batch):
                number += 1
                yield number, *row
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # ValueError: of damaged names or times
        raise DataError(f"{path}: not a whole parquet file, at row {number + 1}: {error}", reason="dataset") from error


def _plain(batch: pa.RecordBatch) -> Iterator[tuple[Any, str]]:
    try:
        yield from ((columns, "") for columns in batch.to_pylist())
    except UnicodeDecodeError:  # Arrow does not check text: find the rows that hold bytes
        for index in range(batch.num_rows):
            columns, damage = {}, ""
            for name in batch.schema.names:
                try:
                    columns[name] = batch.column(name)[index].as_py()
                except UnicodeDecodeError as error:
                    damage = f"{name}: got {error}, wanted UTF-8"
            yield columns, damage


_READERS = {
    ".parquet": _read_parquet,
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".txt": _read_txt,
}


def _parsed(number: int, line: str) -> _Numbered:
    try:
        return _checked(number, json.loads(line), suspicious=_may_hold_surrogates(line))
    except (ValueError, RecursionError) as error:
        return number, {}, f"not JSON: {error}"


def _checked(number: int, columns: Any, *, suspicious: bool = True) -> _Numbered:
    """`suspicious`: the text may hold a surrogate, so every value is looked at."""
    if not isinstance(columns, dict):
        return number, {}, f"got {type(columns).__name__}, wanted an object with columns"
    try:
        damage = next((f"{place}: {problem}" for place, problem in _surrogates(columns)), "") if suspicious else ""
    except RecursionError:
        return number, {}, "nested too deeply"
    return number, columns, damage


def _may_hold_surrogates(text: str) -> bool:
    return _ESCAPED_SURROGATE.search(text) is not None or _SURROGATE.search(text) is not None


def _surrogates(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield place and problem of each text that UTF-8 cannot write."""
    if isinstance(value, str):
        found = _SURROGATE.search(value)
        if found is not None:
            code = ord(found[0])
            what = f"the byte 0x{code - 0xDC00:02X}" if 0xDC80 <= code <= 0xDCFF else f"half a pair, U+{code:04X},"
            yield place, f"got {what} at character {found.start()} of {value[:40]!a}, wanted UTF-8"
    else:
        children: Iterable[tuple[Any, Any]] = ()
        if isinstance(value, Mapping):
            yield from (pair for key in value for pair in _surrogates(key, place or "a column's name"))
            children = value.items()
        elif isinstance(value, list):
            children = enumerate(value)
        for key, child in children:
            part = f"[{key}]" if isinstance(value, list) else f"{'.' if place else ''}{key}"
            yield from _surrogates(child, f"{place}{part}")
