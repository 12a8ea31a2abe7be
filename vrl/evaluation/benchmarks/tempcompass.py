"""TempCompass, its multiple-choice questions; pooled accuracy over five temporal aspects.

Reads `questions/multi-choice.json` (repository `llyx97/TempCompass`): clip id -> aspect -> list of question (options in
it, `A. ...` a line) and answer (`A. ...`). Clips are `videos/<id>.mp4`. Its yes/no, caption matching and captioning
questions are not read.
"""

from pathlib import Path

from vrl.errors import DataError
from vrl.evaluation.item import Benchmark, Item, choice
from vrl.evaluation.rows import Row, pairs, read_json, split_options
from vrl.tasks.answer import choice_letter


def read(path: Path) -> list[Item]:
    """`path` is the folder that holds `questions/` and `videos/`."""
    file = path / "questions" / "multi-choice.json"
    return [
        _item(row, clip, aspect, number)
        for clip, aspects in pairs(read_json(file), str(file))
        for aspect, _ in pairs(aspects, f"{file} {clip}")
        for number, row in enumerate(Row(f"{file} {clip}", aspects).rows(aspect))
    ]


def _item(row: Row, clip: str, aspect: str, number: int) -> Item:
    question, options = split_options(row.text("question"))
    answer = choice_letter(row.text("answer"), options)
    if answer is None:
        raise DataError(
            f"{row.where}: answer: got {row.text('answer')!r}, wanted one of {list(options)}", reason="dataset"
        )
    sample = choice(
        sample_id=f"{clip}-{aspect}-{number}",
        question=question,
        options=options,
        answer=answer,
        video=f"{clip}.mp4",
        source="tempcompass",
    )
    return Item(sample=sample, groups={"aspect": (aspect,)})


BENCHMARK = Benchmark(name="tempcompass", read=read, media="videos")
