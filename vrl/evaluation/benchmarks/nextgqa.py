"""NExT-GQA, test: every question is asked twice, for its answer (the one number) and for the moments that show it.

Acc@GQA, best IoU and IoP are those of the authors' `eval_ground.py`: the best of a question's true moments counts.

Reads `test.csv` (video_id, qid, type, question, answer as text, a0 .. a4), `gsub_test.json` (video_id -> duration and
location: qid -> list of [start, end] in seconds) and `map_vid_vidorID.json` (video_id -> folder/name) of repository
`doc-doc/NExT-GQA`. Clips are `videos/<folder>/<name>.mp4`. VideoReasoner trains on the validation split: only test is
read.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vrl.evaluation.item import Benchmark, Item, choice, letter_of
from vrl.evaluation.record import RIGHT, Scored, reaches
from vrl.evaluation.rows import Row, csv_rows, read_json
from vrl.types import Sample

_IOP = 0.5  # from which the moment counts as found
_OPTIONS = ("a0", "a1", "a2", "a3", "a4")


def read(path: Path) -> list[Item]:
    """`path` is the folder that holds the three files. Items `<video>-<qid>-qa` and `<video>-<qid>-grounding`."""
    moments, clips = path / "gsub_test.json", path / "map_vid_vidorID.json"
    located, named = Row(str(moments), read_json(moments)), Row(str(clips), read_json(clips))
    return [item for row in csv_rows(path / "test.csv") for item in _items(row, located, named)]


def _items(row: Row, located: Row, named: Row) -> list[Item]:
    video, qid = row.text("video_id"), row.text("qid")
    options = [row.text(column) for column in _OPTIONS]
    asked = choice(
        sample_id=f"{video}-{qid}-qa",
        question=row.text("question"),
        options=options,
        answer=letter_of(row.text("answer"), options, row.where),
        video=f"{named.text(video)}.mp4",
        source="nextgqa",
    )
    searched = Sample(
        sample_id=f"{video}-{qid}-grounding",
        task="grounding",
        question=row.text("question"),
        answer_type="span",
        spans=located.row(video).row("location").spans(qid),
        media=asked.media,
        source="nextgqa",
    )
    return [
        Item(sample=sample, groups={"form": (form,), "type": (row.text("type"),)})
        for sample, form in ((asked, "qa"), (searched, "grounding"))
    ]


def join(scored: Sequence[Scored]) -> list[Scored]:
    """Gives answers the value `grounded_accuracy`, where the same question's search for the moment has a score."""
    found = {item.sample_id: item for item in scored}
    return [_grounded(item, found.get(item.sample_id.removesuffix("-qa") + "-grounding")) for item in scored]


def _grounded(asked: Scored, searched: Scored | None) -> Scored:
    if searched is None or searched is asked or asked.score is None or searched.score is None:
        return asked
    moment = reaches(searched.values.get("best_iop") or 0.0, _IOP)
    return replace(asked, values={**asked.values, "grounded_accuracy": float(asked.score >= RIGHT and moment)})


BENCHMARK = Benchmark(
    name="nextgqa", read=read, media="videos", among={"form": "qa"}, measures=("best_iou", "best_iop"), join=join
)
