"""The questions of a benchmark and the rows that cannot be asked: nothing is left out without an account."""

from collections.abc import Sequence
from pathlib import Path

from vrl.data.dataset import sound
from vrl.data.rows import BadRow, Reading, Row, RowError, read_rows
from vrl.errors import DataError
from vrl.evaluation.item import Benchmark, Groups, Item
from vrl.evaluation.scored import Scored

NOT_ASKABLE = "not_askable"  # failure of a row that holds no question


def read_items(benchmark: Benchmark, path: Path, media_folder: Path, bad_rows: str) -> Reading[Item]:
    """Read the questions of a benchmark; `bad_rows` is benchmark.bad_rows.

    Raise DataError if a file cannot be read, if no question can be asked, or if a row is bad and `bad_rows` is "fail".
    """

    def parse(row: Row) -> list[Item]:
        try:
            samples = [benchmark.locate(sound(row, sample), media_folder) for sample in benchmark.samples(row)]
        except RowError:
            raise
        except DataError as error:
            raise RowError(row.where, {error.reason: error.message}) from error
        groups = benchmark.groups(row)
        return [Item(sample=sample, groups={**groups, **benchmark.forms(sample)}) for sample in samples]

    reading = read_rows(
        benchmark.rows(path),
        parse,
        identify=lambda item: item.sample.sample_id,
        bad_rows="refuse" if bad_rows == "fail" else "skip",
        how_to_skip="benchmark.bad_rows=exclude leaves them out",
    )
    if not reading.kept:
        raise DataError(f"{path}: got no question to ask ({reading.summary()}), wanted some", reason="dataset")
    return reading


def unasked(bad: Sequence[BadRow], benchmark: Benchmark, bad_rows: str) -> list[Scored]:
    """Return the bad rows as scored items: without a score, or with 0 if `bad_rows` is "wrong"."""
    score = 0.0 if bad_rows == "wrong" else None
    return [
        Scored(
            sample_id=f"{one.row.source.path.name} row {one.row.number}",
            question="",
            options=(),
            truth="",
            answer_type="",
            video="",
            groups=_groups(one.row, benchmark),
            answer="",
            text="",
            score=score,
            values={},
            failure=NOT_ASKABLE,
            message=str(one.error),
        )
        for one in bad
    ]


def _groups(row: Row, benchmark: Benchmark) -> Groups:
    """The groups of a row as far as they can be read; it counts in the one number in any case."""
    try:
        groups = benchmark.groups(row)
    except RowError:
        groups = {}
    return {**groups, **{key: (group,) for key, group in benchmark.among.items()}}
