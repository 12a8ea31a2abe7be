"""Rows of RLER's cold start: every verdict recomputed from the colours of the thing over time."""

from dataclasses import replace

import numpy as np
import pytest

from vrl.tasks import TASKS
from vrl.tasks.referee import NO, YES, answer_words
from vrl.tasks.task import Clip
from vrl.toyworld.cited import cited_rows
from vrl.toyworld.questions import ask
from vrl.toyworld.scene import draw_scene
from vrl.types import Sample


@pytest.fixture(scope="module")
def asked() -> list[Sample]:
    rows = []
    for clip in range(60):
        rng = np.random.default_rng(clip)
        rows += ask(draw_scene(rng, 0), clip_id=f"{clip:03d}", path=f"{clip}.mp4", rng=rng)
    return rows


def test_a_verdict_is_yes_if_the_frames_show_the_colour(asked: list[Sample]) -> None:
    by_id = {row.sample_id: row for row in asked}
    verdicts = [row for row in cited_rows(asked, np.random.default_rng(0)) if row.task == "vqa"]
    for row in verdicts:
        about = by_id[row.sample_id.rpartition("-")[0]]
        ((start_s, end_s),) = about.spans
        (media,) = row.media
        assert media.end_s is not None and 0 <= media.start_s < media.end_s <= 8
        true = f"answers: {answer_words(about, about.answer)}\n"
        shows = media.start_s < end_s and media.end_s > start_s and true in row.question
        assert (row.answer == YES) == shows, row
    kinds = [row.sample_id.rpartition("-")[2] for row in verdicts]
    assert kinds.count("yes") == len(kinds) / 2 > 20
    assert kinds.count("wrong") > 3 * kinds.count("elsewhere") > 15
    assert {row.answer for row in verdicts} == {YES, NO}


def test_every_question_about_a_colour_is_asked_with_citations(asked: list[Sample]) -> None:
    visual = [row for row in asked if row.question.startswith("What color")]
    assert {row.source for row in visual} == {f"toyworld/{kind}" for kind in ("colour", "first_colour", "last_colour")}
    cited = [row for row in cited_rows(asked, np.random.default_rng(0)) if row.task == "think_keyframes"]
    assert [replace(row, sample_id="", task="vqa") for row in cited] == [replace(row, sample_id="") for row in visual]
    ids = [row.sample_id for row in cited_rows(asked, np.random.default_rng(0))]
    assert len(set(ids)) == len(ids)
    clip = Clip(duration_s=8.0, timestamps_s=tuple(k * 0.5 for k in range(16)))
    for row in cited:
        parsed = TASKS[row.task].parse(TASKS[row.task].target(row, clip))
        assert parsed is not None and parsed.answer == row.answer and parsed.keyframes
