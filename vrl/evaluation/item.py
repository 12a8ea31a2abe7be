"""What a benchmark is: rows that become questions, the groups they count in, and how its one number is made of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from vrl.data.rows import Row
from vrl.evaluation.reading.rule import ReplyRule
from vrl.evaluation.scored import Scored
from vrl.types import Media, Sample

Groups = Mapping[str, tuple[str, ...]]
"""Group key -> the groups that a question counts in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One question of a benchmark."""

    sample: Sample
    groups: Groups = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """A published layout: where its questions and clips are, and how its authors average.

    `samples` and `groups` raise RowError for a row that cannot be asked; the clips' paths are relative to their folder.
    """

    name: str
    rows: Callable[[Path], Iterable[Row]]  # of benchmark.path
    samples: Callable[[Row], Sequence[Sample]]  # the questions of a row
    groups: Callable[[Row], Groups] = lambda row: {}
    forms: Callable[[Sample], Groups] = lambda sample: {}  # more groups, where a row is asked in several forms
    media: str = ""  # folder of clips under benchmark.path, unless media.root names another
    locate: Callable[[Sample, Path], Sample] = lambda sample, folder: sample  # chooses among layouts of that folder
    overall: tuple[str, ...] = ()  # group keys, outermost first, over whose groups means are averaged; (): pooled
    among: Mapping[str, str] = field(default_factory=dict)  # key -> group: only those items make the one number
    measures: tuple[str, ...] = ()  # rewards that are measured in addition to the score
    join: Callable[[Sequence[Scored]], list[Scored]] = list  # adds what only several items together have, or makes one
    measure: str = ""  # reward that is the score of answers in words; empty: accuracy
    reply: ReplyRule | None = None  # how its authors read replies; None: strictly, for nothing is published


def choice(row: Row, *, sample_id: str, options: Sequence[str], answer: str, media: Media, source: str) -> Sample:
    """Return a multiple-choice sample of column `question`; `answer` is a letter.

    Raise RowError for a letter of no option.
    """
    letters = [chr(65 + i) for i in range(len(options))]
    if answer not in letters:
        raise row.error("answer", answer, f"the letter of one of {len(options)} options")
    return Sample(
        sample_id=sample_id,
        task="vqa",
        question=row.text("question"),
        answer=answer,
        answer_type="choice",
        options=tuple(options),
        media=(media,),
        source=source,
    )


def with_suffix(*suffixes: str) -> Callable[[Sample, Path], Sample]:
    """Return a `locate` that shows the first file that is there of the clip under its own suffix and under others."""

    def locate(sample: Sample, folder: Path) -> Sample:
        (media,) = sample.media
        others = (str(PurePosixPath(media.path).with_suffix(suffix)) for suffix in suffixes)
        there = next((path for path in (media.path, *others) if (folder / path).is_file()), media.path)
        return replace(sample, media=(replace(media, path=there),))

    return locate


def open_question(row: Row, *, sample_id: str, answer: str, answer_type: str, media: Media, source: str) -> Sample:
    """Return a sample of columns `question` and `answer` (its name), without options."""
    return Sample(
        sample_id=sample_id,
        task="vqa",
        question=row.text("question"),
        answer=row.text(answer),
        answer_type=answer_type,
        media=(media,),
        source=source,
    )
