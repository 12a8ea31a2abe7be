"""Metrics over scored items, on cases worked by hand."""

from dataclasses import replace
from typing import Any

import pytest

from vrl.errors import DataError
from vrl.evaluation.config import BootstrapConfig
from vrl.evaluation.item import Benchmark
from vrl.evaluation.metrics import summarise
from vrl.evaluation.scored import Scored

POOLED = Benchmark(name="any", rows=lambda path: [], samples=lambda row: [])


def scored(number: int, score: float | None, *, answer_type: str = "choice", groups=None, **values: Any) -> Scored:
    return Scored(
        sample_id=str(number),
        question="?",
        options=(),
        truth="A",
        answer_type=answer_type,
        video=f"{number // 2}.mp4",
        groups=groups or {},
        answer="A",
        text="A",
        score=score,
        values=values,
    )


def numbers(found: list[Scored], benchmark: Benchmark = POOLED) -> dict[str, float]:
    summary = summarise(found, benchmark, BootstrapConfig(resamples=100), seed=0)
    return {name: one.value for name, one in summary.metrics.items()} | {"score": summary.overall.value}


def test_overlap_counts_from_the_threshold_on():
    found = [scored(i, iou, answer_type="span", iou=iou) for i, iou in enumerate((0.0, 0.3, 0.5, 0.7, 1.0))]
    assert numbers(found) == {
        "score": 0.5, "miou": 0.5, "r1@0.3": pytest.approx(0.8), "r1@0.5": pytest.approx(0.6),
        "r1@0.7": pytest.approx(0.4),
    }  # fmt: skip


def test_numbers_that_may_be_near_are_apart_from_right_answers():
    found = [scored(0, 1.0, accuracy=1.0), scored(1, 0.8, answer_type="regression", accuracy=0.8)]
    assert numbers(found) == {"score": 0.9, "accuracy": 1.0, "regression": 0.8}


def test_consistency_is_over_right_answers_and_agreement_over_all():
    # answer right and thinking right; right, wrong; wrong, right; wrong, wrong
    pairs = ((1.0, 1.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, None), (0.0, 0.0, None))
    found = [
        scored(i, answer, accuracy=answer, conclusion_accuracy=thinking, think_answer_consistency=tac)
        for i, (answer, thinking, tac) in enumerate(pairs)
    ]
    result = numbers(found)
    assert result["tac"] == 0.5 and result["agreement"] == 0.5
    assert numbers([*found, scored(4, 1.0, accuracy=1.0, conclusion_accuracy=None)])["agreement"] == 0.5


def test_evidence_metrics_are_means_and_repetition_is_positive():
    found = [
        scored(0, 1.0, frame_sensitive=0.5, think_transparency=1.0, anti_repetition=-0.2, visual_evidence=0.25),
        scored(1, 1.0, frame_sensitive=0.0, think_transparency=0.5, anti_repetition=-0.4, visual_evidence=0.75),
    ]
    result = numbers(found)
    assert (result["egs"], result["ti"], result["vas"]) == (0.25, 0.75, 0.5)
    assert result["rr"] == pytest.approx(0.3)


def test_the_one_number_is_averaged_as_the_authors_do():
    # task a: items 1 1 1 0 -> 0.75; task b: 0 -> 0; pooled 3/5
    found = [
        scored(i, s, groups={"task": (t,)})
        for i, (s, t) in enumerate([(1, "a"), (1, "a"), (1, "a"), (0, "a"), (0, "b")])
    ]
    assert numbers(found)["score"] == pytest.approx(0.6)
    assert numbers(found, replace(POOLED, name="m", overall=("task",)))["score"] == pytest.approx(0.375)
    groups = summarise(found, POOLED, BootstrapConfig(resamples=100), seed=0).groups
    assert (groups["task"]["a"].value, groups["task"]["a"].count) == (0.75, 4)


def test_three_direction_difficulties_count_as_one_task():
    kinds = [("dir", "easy", 1.0), ("dir", "hard", 0.0), ("dir", "hard", 0.0), ("size", "size", 0.4)]
    found = [scored(i, s, groups={"task": (t,), "question_type": (k,)}) for i, (t, k, s) in enumerate(kinds)]
    nested = replace(POOLED, name="v", overall=("task", "question_type"))
    assert numbers(found, nested)["score"] == pytest.approx(((1.0 + 0.0) / 2 + 0.4) / 2)


def test_an_item_of_two_groups_counts_in_both():
    found = [scored(0, 1.0, groups={"task": ("a", "b")}), scored(1, 0.0, groups={"task": ("b",)})]
    groups = summarise(found, POOLED, BootstrapConfig(resamples=100), seed=0).groups["task"]
    assert (groups["a"].value, groups["b"].value) == (1.0, 0.5)


def test_only_the_named_groups_make_the_one_number():
    found = [scored(0, 1.0, groups={"form": ("qa",)}), scored(1, 0.2, groups={"form": ("grounding",)})]
    assert numbers(found, replace(POOLED, name="n", among={"form": "qa"}))["score"] == 1.0


def test_items_without_a_score_are_left_out_and_none_at_all_is_an_error():
    assert numbers([scored(0, 1.0), scored(1, None)])["score"] == 1.0
    with pytest.raises(DataError, match="no item with a score"):
        numbers([scored(0, None)])


def test_resampling_clips_widens_the_interval_of_questions_that_go_together():
    found = [scored(i, float(i // 2 % 2)) for i in range(80)]  # both questions about a clip right, or both wrong
    by = {
        unit: summarise(found, POOLED, BootstrapConfig(resamples=2000, unit=unit), seed=0).overall
        for unit in ("question", "video")
    }
    assert by["video"].high - by["video"].low > 1.25 * (by["question"].high - by["question"].low)


def test_stages_are_metrics_of_the_items_that_went_through_them():
    first: dict[str, Any] = {"latency": 3.0, "latency/prepare": 1.0, "latency/referee": 2.0}
    second: dict[str, Any] = {"latency": 2.0, "latency/prepare": 2.0}
    found = [scored(0, 1.0, **first), scored(1, 1.0, **second)]
    means = {"latency": 2.5, "latency/prepare": 1.5, "latency/referee": 2.0}
    assert numbers(found) == {"score": 1.0, **means}
    assert list(numbers(found))[:3] == list(means)
