"""Reward functions against hand-worked values."""

from typing import Any

import pytest

from vrl.config import RewardConfig
from vrl.reward import REWARDS
from vrl.reward.accuracy import mean_relative_accuracy, relative_accuracy, same_number
from vrl.reward.grounding import interval_iou, merge
from vrl.reward.inputs import RewardInput
from vrl.tasks import TASKS
from vrl.tasks.normal_form import normalise
from vrl.tasks.task import EVENT_END, EVENT_START
from vrl.types import Sample


def score(
    reward: str,
    text: str,
    *,
    task: str = "vqa",
    finish_reason: str = "stop",
    config: RewardConfig | None = None,
    duration_s: float = 10.0,
    **fields: object,
) -> float | None:
    sample = Sample(**{"sample_id": "s1", "task": task, "question": "?", **fields})  # type: ignore[arg-type]
    inputs = RewardInput(
        task=TASKS[task],
        sample=sample,
        duration_s=duration_s,
        text=text,
        parsed=TASKS[task].parse(text),
        finish_reason=finish_reason,
        config=config or RewardConfig(),
    )
    return REWARDS[reward](inputs)


def event(*numbers: float) -> str:
    return f" {EVENT_START}[{numbers[0]}, {numbers[1]}]{EVENT_END}"


@pytest.mark.parametrize(
    ("text", "value"), [(" B<|im_end|>", 1.0), (" blue", 1.0), (" A", 0.0), (" Z", 0.0), ("", 0.0), (" Because", 0.0)]
)
def test_choice_accuracy(text: str, value: float) -> None:
    assert score("accuracy", text, answer_type="choice", answer="B", options=("red", "blue")) == value


@pytest.mark.parametrize(
    ("answer", "truth", "same"),
    [
        ("3", "3", True),
        ("3.14159", "3.14", True),
        ("3.146", "3.14", False),
        ("3.0", "3", False),  # Video-R1: both or neither with a decimal point
        ("1,200", "1200", True),
        ("-1", "1", False),
        ("three", "3", False),
        ("9" * 400, "3", False),
    ],
)
def test_numbers_agree_after_rounding(answer: str, truth: str, same: bool) -> None:
    assert same_number(answer, truth) is same


def test_a_numeric_tolerance_is_relative_and_off_by_default() -> None:
    assert same_number("104", "100", 0.05) and not same_number("106", "100", 0.05)
    assert not same_number("104", "100") and not same_number("0.01", "0", 0.05) and same_number("0", "0", 0.05)


def test_regression_pays_near_answers() -> None:
    assert [relative_accuracy(got, 10.0) for got in (10, 9, 12, 25)] == pytest.approx([1, 0.9, 0.8, 0])
    # relative error e earns the thresholds with e < 1 - t: 0 all ten, 5 % all but .95, 10 % all but .95 and .90
    wanted = {10.0: 1.0, 9.5: 0.9, 9.0: 0.8, 7.5: 0.5, 5.0: 0.0, 20.0: 0.0}
    assert {got: mean_relative_accuracy(got, 10.0) for got in wanted} == pytest.approx(wanted)
    fields: dict[str, Any] = {"answer_type": "regression", "answer": "10"}
    assert score("accuracy", " 9.0", **fields) == pytest.approx(0.9)
    assert score("accuracy", " 9.0", config=RewardConfig(regression="mra"), **fields) == pytest.approx(0.8)
    assert score("accuracy", " nine", **fields) == 0.0


def test_ocr_and_free_text() -> None:
    assert score("accuracy", " exit", answer_type="ocr", answer="EXIT 12") == 0.5
    assert score("accuracy", " a b c", answer_type="ocr", answer="x") == 0.0
    assert score("accuracy", " a red ball", answer_type="free", answer="a red ball") == pytest.approx(1.0)


def test_key_elements_f1() -> None:
    fields = {"task": "key_elements", "answer_type": "elements", "key_elements": ("red ball", "The cube")}
    assert score("element_f1", " Red ball, cube", **fields) == 1.0
    assert score("element_f1", " red ball, dog, cat", **fields) == pytest.approx(2 / 5)
    assert score("element_f1", "", **fields) == 0.0
    assert score("element_f1", " red ball") is None


def test_text_is_compared_after_normalising() -> None:
    assert normalise("  The red,  Ball! ") == "red ball"
    kept = ("a", "the", "...", "+", "", "vitamin a", "a b", "c++", "b", "-5", "-5", ".5", "3:4", "a b", "\u7ea2")
    written = ("A", "the", "...", "+", "", "Vitamin A", "a, b", "C++", "B-", "-5", "\u22125", ".5", "3:4", "a-b")
    assert [normalise(text) for text in (*written, "\u7ea2\u3002")] == list(kept)
    assert score("accuracy", " a RED ball.<|im_end|>", answer="the red ball") == 1.0
    assert score("accuracy", " red balls", answer="red ball") == 0.0


def test_accuracy_does_not_apply_to_spans() -> None:
    assert score("accuracy", event(0.1, 0.2), task="grounding", answer_type="span", spans=((1.0, 2.0),)) is None


def test_format_requires_an_end_and_the_form_of_the_task() -> None:
    fields = {"answer_type": "choice", "options": ("red", "blue")}
    assert score("format", " B", **fields) == 1.0
    assert score("format", " B", finish_reason="length", **fields) == 0.0
    assert score("format", " E", **fields) == 0.0
    assert score("format", event(0.2, 0.4), task="grounding") == 1.0
    assert score("format", event(0.4, 0.2), task="grounding") == 0.0
    assert score("format", " B", task="grounding") == 0.0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (event(0.2, 0.6), 1.0),
        (event(0.4, 0.8), 0.2 / 0.6),
        (event(0.6, 0.9), 0.0),
        (event(0.0, 1.0), 0.4),
        (event(0.6, 0.2), 0.0),  # reversed
        (event(0.3, 0.3), 0.0),  # empty
        (event(0.2, 0.3) + event(0.5, 0.6), 0.5),
        (event(0.2, 0.6) + event(0.2, 0.6), 1.0),
        (" nothing", 0.0),
    ],
)
def test_iou_of_one_true_event(text: str, value: float) -> None:
    assert score("iou", text, task="grounding", spans=((2.0, 6.0),)) == pytest.approx(value)


def test_iou_of_several_true_events_unites_them() -> None:
    spans = ((0.0, 2.0), (1.0, 3.0), (8.0, 12.0))  # [0, .3] and [.8, 1] of 10 s
    assert score("iou", event(0.0, 0.3) + event(0.8, 1.0), task="grounding", spans=spans) == pytest.approx(1.0)
    assert score("iou", event(0.0, 1.0), task="grounding", spans=spans) == pytest.approx(0.5)


def test_tiou_subtracts_the_errors_of_the_edges() -> None:
    fields = {"task": "grounding", "spans": ((2.0, 6.0),)}
    assert score("tiou", event(0.2, 0.6), **fields) == pytest.approx(1.0)
    assert score("tiou", event(0.4, 0.8), **fields) == pytest.approx(0.2 / 0.6 * 0.8 * 0.8)
    assert score("tiou", event(0.2, 0.3) + event(0.5, 0.6), **fields) == pytest.approx(0.5)  # outer edges agree
    assert score("tiou", event(0.6, 0.2), **fields) == score("tiou", " nothing", **fields) == 0.0
    assert score("tiou", event(0.1, 0.2), task="grounding") is None


def test_the_best_of_the_true_moments_counts_as_in_nextgqa() -> None:
    fields = {"task": "grounding", "spans": ((1.0, 3.0), (6.0, 7.0))}  # of 10 s
    said = event(0.2, 0.7)  # 5 s: 1 s in the first moment (union 6 s), 1 s in the second (union 5 s)
    assert score("best_iou", said, **fields) == pytest.approx(1 / 5)
    assert score("best_iop", said, **fields) == pytest.approx(1 / 5)
    assert score("best_iop", event(0.2, 0.3), **fields) == pytest.approx(1.0)
    assert score("best_iou", event(0.2, 0.3), **fields) == pytest.approx(1 / 2)
    assert score("best_iop", event(0.3, 0.2), **fields) == score("best_iou", " nothing", **fields) == 0.0
    assert score("best_iop", said, task="grounding") is None


def test_a_true_event_is_clipped_to_its_clip() -> None:
    fields = {"task": "grounding", "spans": ((6.0, 12.0),)}  # [0.6, 1] of 10 s
    for name in ("iou", "tiou", "best_iou", "best_iop"):
        assert score(name, event(0.6, 1.0), **fields) == pytest.approx(1.0)
    assert score("tiou", event(0.6, 0.8), **fields) == pytest.approx(0.5 * 0.8)


def test_without_a_clip_no_measure_of_time_exists() -> None:
    for name in ("iou", "tiou", "best_iou", "best_iop"):
        for text in (event(0.1, 0.2), " nothing"):
            assert score(name, text, task="grounding", spans=((1.0, 2.0),), duration_s=0.0) is None


def test_iou_without_truth_is_missing_not_zero() -> None:
    assert score("iou", event(0.1, 0.2), task="grounding") is None


def test_interval_sets() -> None:
    assert merge([(3, 4), (1, 2), (2, 3), (9, 8)]) == [(1, 4)]
    assert interval_iou([(0, 1), (2, 3)], [(0.5, 2.5)]) == pytest.approx(1 / 3)
    assert interval_iou([], [(0, 1)]) == 0.0
