"""TempCompass, its multiple-choice questions; pooled accuracy over five temporal aspects.

Reads `questions/multi-choice.json` (repository `llyx97/TempCompass`): clip id -> aspect -> list of question (options in
it, `A. ...` a line) and answer (`A. ...`). Clips are `videos/<id>.mp4`. Video-R2 counts its other kinds of
questions too: see `tempcompass_complete`.

Replies: `B`, or a reply that begins with `B.` or `B)`, as `eval_multi-choice.py` of `llyx97/TempCompass`; there any
other reply goes to a language model, or is wrong with `--disable_llm`, as here.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from vrl.data.rows import Row, Source, read_json
from vrl.data.rows.options import choice_of, split_options
from vrl.errors import DataError
from vrl.evaluation.item import Benchmark, Groups, choice
from vrl.evaluation.reading.letters import offered
from vrl.evaluation.reading.rule import ReplyRule
from vrl.types import Media, Sample


def rows(path: Path) -> Iterator[Row]:
    """`path` is the folder that holds `questions/` and `videos/`. A row also has `clip`, `aspect` and `index`."""
    source = Source(path / "questions" / "multi-choice.json")
    clips = read_json(source.path)
    if not isinstance(clips, dict):
        raise DataError(f"{source.path}: got {type(clips).__name__}, wanted an object of clips", reason="dataset")
    number = 0
    for clip, aspects in clips.items():
        for aspect in Row(source, number + 1, {clip: aspects}).inner(clip).columns:
            for index, row in enumerate(Row(source, number + 1, aspects).inners(aspect)):
                number += 1
                yield Row(source, number, {**row.columns, "clip": clip, "aspect": aspect, "index": index})


def samples(row: Row) -> list[Sample]:
    """One question a row."""
    question, options = split_options(row.text("question"))
    answer = choice_of(row, "answer", row.text("answer"), options)
    sample_id = f"{row.text('clip')}-{row.text('aspect')}-{row.text('index')}"
    asked, media = row.extended(question=question), Media(kind="video", path=f"{row.text('clip')}.mp4")
    return [choice(asked, sample_id=sample_id, options=options, answer=answer, media=media, source="tempcompass")]


def groups(row: Row) -> Groups:
    """The temporal aspect."""
    return {"aspect": (row.text("aspect"),)}


_WRITTEN = re.compile(r"([A-D])(?:[.)]|\Z)")


def letter(reply: str, sample: Sample) -> str:
    """Return the letter by the rule above."""
    written = _WRITTEN.match(reply)
    return offered(written[1], sample) if written is not None else ""


BENCHMARK = Benchmark(
    name="tempcompass", rows=rows, samples=samples, groups=groups, media="videos",
    reply=ReplyRule(source="llyx97/TempCompass, eval_multi-choice.py", choice=letter),
)  # fmt: skip
