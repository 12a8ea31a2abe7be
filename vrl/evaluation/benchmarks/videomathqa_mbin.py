"""VideoMathQA, multi-binary: every question as pairs of its true and one false option; right if all its pairs are.

Reads `videomathqa_mbin_test.parquet` (Hugging Face `MBZUAI/VideoMathQA`), the columns of `videomathqa`; the rows of a
question share question_id. Results count questions: the pairs of one, so far as they were asked, become one item. With
`benchmark.limit` some of them may be missing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from vrl.data.rows import Row, shards
from vrl.evaluation.benchmarks.videomathqa import COLUMNS, LOCATE, REPLY, asked, groups
from vrl.evaluation.item import Benchmark
from vrl.evaluation.scored import Scored
from vrl.types import Sample


def rows(path: Path) -> Iterator[Row]:
    """`path` is the folder that holds the file and `videos/`."""
    return shards(path, "videomathqa_mbin_test*.parquet", COLUMNS)


def samples(row: Row) -> list[Sample]:
    """One pair a row, `<question>-<row>`, rows counted from 0."""
    return [asked(row, f"{row.text('question_id')}-{row.number - 1}")]


def join(scored: Sequence[Scored]) -> list[Scored]:
    """Return an item a question: the worst score of its pairs, None if they have none; values are means over pairs."""
    questions: dict[str, list[Scored]] = {}
    for pair in scored:
        questions.setdefault(pair.sample_id.rpartition("-")[0], []).append(pair)
    return [_question(name, pairs) for name, pairs in questions.items()]


def _question(name: str, pairs: Sequence[Scored]) -> Scored:
    first = next((pair for pair in pairs if pair.failure), pairs[0])
    scores = [pair.score for pair in pairs if pair.score is not None]
    names = dict.fromkeys(key for pair in pairs for key in pair.values)
    return replace(
        first,
        sample_id=name,
        options=tuple(dict.fromkeys(option for pair in pairs for option in pair.options)),
        truth=", ".join(pair.truth for pair in pairs),
        answer=", ".join(pair.answer or "none" for pair in pairs),
        text="\n".join(pair.text for pair in pairs),
        score=min(scores) if len(scores) == len(pairs) else None,
        values={key: _mean([pair.values.get(key) for pair in pairs]) for key in names},
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


BENCHMARK = Benchmark(
    name="videomathqa_mbin", rows=rows, samples=samples, groups=groups, media="videos", locate=LOCATE, join=join,
    reply=REPLY,
)  # fmt: skip
