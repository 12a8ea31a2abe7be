"""NExT-GQA, test: every question is asked twice, for its answer (the one number) and for the moments that show it.

Acc@GQA, best IoU and IoP are those of the authors' `eval_ground.py`: the best of a question's true moments counts.

Reads `test.csv` (video_id, qid, type, question, answer as text, a0 .. a4), `gsub_test.json` (video_id -> duration and
location: qid -> list of [start, end] in seconds) and `map_vid_vidorID.json` (video_id -> folder/name) of repository
`doc-doc/NExT-GQA`. Clips are `videos/<folder>/<name>.mp4`. VideoReasoner trains on the validation split: only test is
read.

Replies: by our own rule (`vrl.evaluation.reading.ours`). The authors' models score the options and write none.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from vrl.data.convert import next_gqa
from vrl.data.rows import Row, Source
from vrl.evaluation.item import Benchmark, Groups
from vrl.evaluation.reading.ours import OURS
from vrl.evaluation.scored import RIGHT, Scored, reaches
from vrl.types import Sample

_IOP = 0.5  # from which the moment counts as found


def rows(path: Path) -> Iterable[Row]:
    """`path` is the folder that holds the three files."""
    return Source(path / "test.csv")


def samples(row: Row) -> list[Sample]:
    """The question for its answer, `<video>-<qid>-qa`, and for its moments, `<video>-<qid>-grounding`."""
    (sample,) = next_gqa.samples(row)
    if not sample.spans:
        raise row.error(f"location.{row.text('qid')}", None, "at least one [start, end]")
    name = f"{row.text('video_id')}-{row.text('qid')}"
    asked = replace(sample, sample_id=f"{name}-qa", spans=(), source="nextgqa")
    searched = replace(
        asked, sample_id=f"{name}-grounding", task="grounding", answer="", answer_type="span", options=(),
        spans=sample.spans,
    )  # fmt: skip
    return [asked, searched]


def groups(row: Row) -> Groups:
    """The kind of question."""
    return {"type": (row.text("type"),)}


def forms(sample: Sample) -> Groups:
    """What is asked for: `qa` or `grounding`."""
    return {"form": ("grounding" if sample.task == "grounding" else "qa",)}


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
    name="nextgqa", rows=rows, samples=samples, groups=groups, forms=forms, media="videos",
    among={"form": "qa"}, measures=("best_iou", "best_iop"), join=join, reply=OURS,
)  # fmt: skip
