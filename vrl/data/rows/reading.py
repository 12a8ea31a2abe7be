"""Reading rows into records under a policy for bad rows: every row is kept, or skipped and counted, or refused."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from vrl.data.rows.row import Row, RowError
from vrl.errors import DataError

T = TypeVar("T")

BAD_ROWS = ("refuse", "skip")


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRow:
    """A row that was skipped, and why."""

    row: Row
    error: RowError


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading(Generic[T]):
    """What became of the rows of a file. num_rows = rows kept + len(bad)."""

    kept: tuple[T, ...]  # the records of good rows, in file order
    num_rows: int
    bad: tuple[BadRow, ...]
    notes: Mapping[str, int]  # what was left out of kept and skipped rows, and how often

    @property
    def reasons(self) -> Mapping[str, int]:
        """Number of skipped rows by the first column at fault, `row` for none, the most frequent first."""
        return dict(Counter(next(iter(bad.error.faults)).partition("[")[0] or "row" for bad in self.bad).most_common())

    def summary(self) -> str:
        """Return the account of the rows, such as `12408 rows read, 12404 kept, 4 skipped (spans 4)`."""
        good = self.num_rows - len(self.bad)
        reasons = ", ".join(f"{column} {count}" for column, count in self.reasons.items())
        notes = "".join(f"; {count} {what}" for what, count in self.notes.items())
        skipped = f"{len(self.bad)} skipped" + (f" ({reasons})" if reasons else "")
        return f"{self.num_rows} rows read, {good} kept, {skipped}{notes}"


def read_rows(
    rows: Iterable[Row],
    parse: Callable[[Row], Iterable[T]],
    *,
    identify: Callable[[T], str],
    bad_rows: str = "refuse",
    how_to_skip: str = "",
) -> Reading[T]:
    """Parse every row into its records. `identify` returns a record's id: a row that repeats one is bad.

    Raise DataError if a row is bad and `bad_rows` is "refuse": it lists every fault of every row with file, row and
    column, and `how_to_skip` says what to set instead. A file that cannot be read raises in either case.
    """
    kept: list[T] = []
    bad: list[BadRow] = []
    first: dict[str, int] = {}  # id -> number of the row that has it
    notes: dict[int, Counter[str]] = {}  # one of each source
    num_rows = 0
    for row in rows:
        notes[id(row.source)] = row.source.notes
        num_rows += 1
        try:
            records = _parsed(row, parse)
            ids = [identify(record) for record in records]
            for name, count in Counter(ids).items():
                if name in first or count > 1:
                    raise row.error("sample_id", name, f"unique ids: row {first.get(name, row.number)} has it too")
        except RowError as error:
            bad.append(BadRow(row=row, error=error))
        else:
            first.update(dict.fromkeys(ids, row.number))
            kept += records
    if bad and bad_rows == "refuse":
        account = f"{len(bad)} of {num_rows} rows are bad" + (f"; {how_to_skip}" if how_to_skip else "")
        raise DataError("\n".join([*(str(one.error) for one in bad), account]), reason="dataset")
    return Reading(kept=tuple(kept), num_rows=num_rows, bad=tuple(bad), notes=sum(notes.values(), Counter()))


def _parsed(row: Row, parse: Callable[[Row], Iterable[T]]) -> list[T]:
    if row.damage:
        raise RowError(row.where, {"": row.damage})
    return list(parse(row))
