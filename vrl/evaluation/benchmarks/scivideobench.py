"""SciVideoBench: recorded experiments of four disciplines, ten options each; pooled accuracy.

Reads `scivideobench_1k.jsonl`, or `.json` (Hugging Face `groundmore/scivideobench`), columns video_id, question_id,
question, options (letter -> text), answer (a letter), question_type and, where given, category, discipline, subject.
Clips are `videos/jove_<video_id>.mp4`, `.MP4` or `.mkv`. Times in questions stay times; the authors' own code rewrites
them as frame numbers, Video-R2's does not.

Replies: the first capital A to L behind a few phrases, as `scivideobench/utils.py` of `dengandong/SciVideoBench` and
Video-R2's copy. Both draw a letter at random where there is none; here such a reply is wrong.
"""

from collections.abc import Iterable
from pathlib import Path

from vrl.data.rows import Row, Source
from vrl.data.rows.options import plain_options
from vrl.evaluation.item import Benchmark, Groups, choice, with_suffix
from vrl.evaluation.reading.letters import first_capital
from vrl.evaluation.reading.rule import ReplyRule
from vrl.types import Media, Sample

_FILES = ("scivideobench_1k.jsonl", "scivideobench_1k.json")
_GROUPS = ("question_type", "category", "discipline", "subject")
_PHRASES = (
    *("The answer is", "The correct answer is", "The best answer is", "Answer:", "Option:"),
    *("### Final Answer:\n$$\\boxed", "the final answer is"),
)


def rows(path: Path) -> Iterable[Row]:
    """`path` is the folder that holds the file and `videos/`."""
    return Source(next((path / name for name in _FILES if (path / name).is_file()), path / _FILES[0]))


def samples(row: Row) -> list[Sample]:
    """One question a row, `<video>-<question>`."""
    media = Media(kind="video", path=f"jove_{row.text('video_id')}.mp4")
    sample_id, answer = f"{row.text('video_id')}-{row.text('question_id')}", row.text("answer")
    options = _options(row)
    return [choice(row, sample_id=sample_id, options=options, answer=answer, media=media, source="scivideobench")]


def _options(row: Row) -> tuple[str, ...]:
    """Return the options in the order of their letters; a list is in order."""
    if isinstance(row.columns.get("options"), list):
        return plain_options(row.texts("options"))
    options = row.inner("options")
    letters = sorted(letter for letter in options.columns if letter in options)
    if letters != [chr(65 + i) for i in range(len(letters))]:
        raise row.error("options", letters, "the letters from A on")
    return tuple(options.text(letter) for letter in letters)


def groups(row: Row) -> Groups:
    """Kind of question, category or discipline, subject, as far as they are given."""
    return {key: (row.text(key),) for key in _GROUPS if key in row}


BENCHMARK = Benchmark(
    name="scivideobench", rows=rows, samples=samples, groups=groups, media="videos",
    locate=with_suffix(".MP4", ".mkv"),
    reply=ReplyRule(
        source="dengandong/SciVideoBench, scivideobench/utils.py", choice=first_capital("ABCDEFGHIJKL", _PHRASES)
    ),
)  # fmt: skip
