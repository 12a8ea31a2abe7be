"""What a benchmark is: questions with the groups they are counted in, and how its one number is made of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vrl.errors import DataError
from vrl.evaluation.record import Scored
from vrl.types import Media, Sample


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One question of a benchmark."""

    sample: Sample
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # group key -> the groups it counts in


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """A published layout: where its questions and clips are, and how its authors average."""

    name: str
    read: Callable[[Path], list[Item]]  # benchmark.path -> items, media paths relative to the folder of clips
    media: str = ""  # folder of clips under benchmark.path, unless benchmark.media names another
    overall: tuple[str, ...] = ()  # group keys, outermost first, over whose groups means are averaged; (): pooled
    among: Mapping[str, str] = field(default_factory=dict)  # key -> group: only those items make the one number
    measures: tuple[str, ...] = ()  # rewards that are measured in addition to the score
    join: Callable[[Sequence[Scored]], list[Scored]] = list  # adds what only several items together have
    measure: str = ""  # reward that is an item's score; empty: by its answer type (vrl.evaluation.score)


def choice(
    *,
    sample_id: str,
    question: str,
    options: Sequence[str],
    answer: str,
    video: str,
    source: str,
    start_s: float = 0.0,
    end_s: float | None = None,
) -> Sample:
    """A multiple-choice question about one clip; `answer` is a letter. Raises DataError for a letter of no option."""
    letters = [chr(65 + i) for i in range(len(options))]
    if answer not in letters:
        raise DataError(
            f"{source} {sample_id}: answer: got {answer!r}, wanted the letter of one of {len(options)} options",
            reason="dataset",
        )
    return Sample(
        sample_id=sample_id,
        task="vqa",
        question=question,
        answer=answer,
        answer_type="choice",
        options=tuple(options),
        media=(Media(kind="video", path=video, start_s=start_s, end_s=end_s),),
        source=source,
    )


def letter_of(answer: str, options: Sequence[str], where: str) -> str:
    """The letter of the option that is spelled like `answer`. Raises DataError where none or several are."""
    found = [i for i, option in enumerate(options) if option.strip() == answer.strip()]
    if len(found) != 1:
        raise DataError(
            f"{where}: answer: got {answer!r}, wanted the text of exactly one of {list(options)}", reason="dataset"
        )
    return chr(65 + found[0])
