"""Scoring: the parsers and rewards of training over saved predictions."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from vrl.config import RewardConfig, RewardTermConfig, TaskConfig
from vrl.data.rows import Reading
from vrl.errors import ConfigError
from vrl.evaluation.benchmarks import BENCHMARKS
from vrl.evaluation.config import BenchmarkConfig, EvalConfig
from vrl.evaluation.item import Benchmark, Item
from vrl.evaluation.metrics import summarise
from vrl.evaluation.results import make_results
from vrl.evaluation.score import score_items
from vrl.evaluation.scored import read_scores, write_scores
from vrl.inference.answer import Answer
from vrl.inference.predictions import Prediction
from vrl.reward.worker import RewardWorker
from vrl.types import Completion, Media, Prompt, Sample

ANY = Benchmark(name="any", rows=lambda path: [], samples=lambda row: [])
CLIP = (Media(kind="video", path="a/b.mp4"),)
CHOICE = Sample(
    sample_id="q", task="vqa", question="Colour?", answer="B", answer_type="choice", options=("red", "blue"), media=CLIP
)
EVENT = Sample(sample_id="g", task="grounding", question="When?", answer_type="span", spans=((2.0, 6.0),), media=CLIP)


def scored(sample: Sample, said: Prediction, of: Benchmark = ANY, **config):
    made = EvalConfig(name="x", **config)
    (found,) = asyncio.run(score_items([Item(sample=sample, groups={"k": ("v",)})], [said], of, made, ""))
    return found


def said(text: str, sample_id: str = "q", **fields) -> Prediction:
    answer = Answer(text=text, finish_reason="stop", duration_s=10.0, **fields)
    return Prediction(sample_id=sample_id, answer=answer)


def test_a_choice_is_right_by_letter_or_words():
    assert scored(CHOICE, said(" B")).score == 1.0
    assert scored(CHOICE, said(" blue")).score == 1.0
    assert scored(CHOICE, said(" (A) red")).score == 0.0
    found = scored(
        CHOICE,
        said(" B", num_calls=2, num_candidates=3, num_tokens=4, latency_s=0.5, trace={"stages_s": {"prepare": 0.2}}),
    )
    assert (found.truth, found.video, found.groups) == ("B", "a/b.mp4", {"k": ("v",)})
    assert (found.values["latency"], found.values["latency/prepare"]) == (0.5, 0.2)
    assert (found.values["calls"], found.values["candidates"], found.values["format"]) == (2.0, 3.0, 1.0)


def test_an_event_scores_its_overlap_and_nothing_readable_is_zero():
    found = scored(EVENT, said("<|event_start|>[0.20, 0.40]<|event_end|>", "g"))
    assert found.score == pytest.approx(0.5) and (found.truth, found.answer) == ("2-6 s", "2-4 s")
    assert scored(EVENT, said("no idea", "g")).score == 0.0
    assert scored(EVENT, said("<|event_start|>[0.60, 0.20]<|event_end|>", "g")).score == 0.0


def test_a_question_that_has_spans_too_is_not_measured_by_them():
    found = scored(replace(CHOICE, spans=((1.0, 2.0),)), said(" B"))
    assert found.score == 1.0 and "iou" not in found.values


def test_a_failed_item_counts_as_wrong_or_not_at_all_and_says_why():
    failed = Prediction(sample_id="q", failure="decode", message="b.mp4 is broken")
    wrong, excluded = scored(CHOICE, failed), scored(CHOICE, failed, failures="excluded")
    assert wrong.score == 0.0 and wrong.values == {"accuracy": 0.0, "format": 0.0}
    assert excluded.score is None and excluded.values == {}
    assert (wrong.failure, excluded.message) == ("decode", "b.mp4 is broken")


def test_numbers_score_by_the_configured_rule():
    sample = replace(CHOICE, answer="10", answer_type="regression", options=())
    assert scored(sample, said(" 9")).score == pytest.approx(0.9)  # 1 - relative error
    # error of 10 %: below 50, 45 .. 15 % is 8 thresholds; 10 % itself counts where inclusive
    assert scored(sample, said(" 9"), reward=RewardConfig(regression="mra")).score == pytest.approx(0.8)
    assert scored(sample, said(" 9"), reward=RewardConfig(regression="mra_inclusive")).score == pytest.approx(0.9)


def test_an_event_that_ends_after_its_clip_is_clipped_to_it():
    late = replace(EVENT, spans=((6.0, 14.0),))
    assert scored(late, said("<|event_start|>[0.60, 1.00]<|event_end|>", "g")).score == pytest.approx(1.0)


def test_an_event_without_a_clip_has_no_score_and_is_counted():
    """A row with spans whose media are images: its duration is 0."""
    pictures = replace(EVENT, media=(Media(kind="image", path="a/b.png"),))
    text = "<|event_start|>[0.20, 0.40]<|event_end|>"
    unclipped = Prediction(sample_id="g", answer=Answer(text=text, finish_reason="stop", duration_s=0.0))
    found = scored(pictures, unclipped)
    assert (found.score, found.values["iou"], found.values["format"]) == (None, None, 1.0)
    config = EvalConfig(name="x")
    rows = [found, scored(EVENT, said(text, "g"))]
    reading = Reading(kept=(), num_rows=2, bad=(), notes={})
    results = make_results(config, ANY, rows, summarise(rows, ANY, config.bootstrap, seed=0), reading)
    assert (results["unscored"], results["overall"]["count"], results["overall"]["value"]) == (1, 1, pytest.approx(0.5))


def test_written_words_have_an_error_rate():
    sample = replace(CHOICE, answer="open the door", answer_type="ocr", options=())
    found = scored(sample, said(" open a door now"))
    assert found.values["wer"] == pytest.approx(2 / 3) and found.score == pytest.approx(1 / 3)
    raw = RewardConfig(wer_words="raw")
    assert scored(sample, said(" Open the door."), reward=raw).values["wer"] == pytest.approx(2 / 3)


def test_consistency_and_evidence_come_from_the_judge_by_rules():
    sample = replace(CHOICE, task="think")
    measures = ["think_answer_consistency", "conclusion_accuracy", "visual_evidence"]
    text = "<think>00:02 a blue ball. So the answer is {}.</think><answer>B</answer>"
    same = scored(sample, said(text.format("B")), measures=measures)
    other = scored(sample, said(text.format("A")), measures=measures)
    assert (same.score, other.score) == (1.0, 1.0)
    assert (same.values["think_answer_consistency"], other.values["think_answer_consistency"]) == (1.0, 0.0)
    assert (same.values["conclusion_accuracy"], other.values["conclusion_accuracy"]) == (1.0, 0.0)
    assert same.values["visual_evidence"] == 0.25  # one dated sentence of four


def test_a_benchmark_may_ask_a_judge():
    sample = replace(CHOICE, answer="No, it stays.", answer_type="free", options=())
    judged = replace(ANY, name="any", measure="judged_accuracy")
    assert scored(sample, said(" no it stays"), judged).score == 1.0
    assert scored(sample, said(" yes"), judged).score == 0.0
    chosen = BenchmarkConfig(measure="accuracy")  # ROUGE of free answers: three words of four in common
    near = scored(sample, said(" no it moves"), judged, benchmark=chosen).score
    assert near is not None and 0 < near < 1
    assert scored(EVENT, said("<|event_start|>[0.2, 0.6]<|event_end|>", "g"), judged).score == 1.0


def test_unknown_measures_are_refused():
    with pytest.raises(ConfigError, match="charm"):
        scored(CHOICE, said(" B"), measures=["charm"])


def test_scores_are_read_back_as_written(tmp_path):
    rows = [scored(CHOICE, said(" B")), scored(EVENT, said("?", "g"), failures="excluded")]
    write_scores(tmp_path, rows)
    assert read_scores(tmp_path) == rows


def test_training_and_evaluation_measure_alike():
    text = "<think>00:02 a blue ball. So the answer is B.</think><answer>B</answer>"
    sample = replace(CHOICE, task="think")
    measures = ["visual_evidence", "think_answer_consistency"]
    terms = [RewardTermConfig(reward=name) for name in ("accuracy", "format", *measures)]
    completion = Completion(
        token_ids=np.arange(3), rollout_logprobs=np.zeros(3, np.float32), text=text, finish_reason="stop", versions=()
    )
    prompt = Prompt(sample=sample, token_ids=np.arange(3), duration_s=10.0)
    worker = RewardWorker([TaskConfig(task="think", rewards=terms)])
    (reward,) = asyncio.run(worker.score(prompt, (completion,)))
    found = scored(sample, said(text), measures=measures)
    assert dict(reward.breakdown) == {name: found.values[name] for name in reward.breakdown}


def nextgqa(answer: str, moment: str | None) -> dict[str, float | None]:
    """Metrics of one question of NExT-GQA: B is right, 2-6 s of 10 s is the moment; None: its search failed."""
    samples = [replace(CHOICE, sample_id="v-1-qa"), replace(EVENT, sample_id="v-1-grounding")]
    events = f"<|event_start|>[{moment}]<|event_end|>"
    searched = said(events, "v-1-grounding") if moment else Prediction(sample_id="v-1-grounding", failure="decode")
    items = [
        Item(sample=sample, groups={"form": (form,)}) for sample, form in zip(samples, ("qa", "grounding"), strict=True)
    ]
    made, benchmark = EvalConfig(name="x"), BENCHMARKS["nextgqa"]
    found = asyncio.run(score_items(items, [said(answer, "v-1-qa"), searched], benchmark, made, ""))
    return {name: number.value for name, number in summarise(found, benchmark, made.bootstrap, 0).metrics.items()}


def test_a_grounded_answer_is_right_and_more_than_half_of_its_moment_is_true():
    both = nextgqa(" B", "0.40, 0.80")
    assert (both["acc@gqa"], both["miop"], both["iop@0.5"], both["accuracy"]) == (1.0, pytest.approx(0.5), 1.0, 1.0)
    assert both["best_miou"] == pytest.approx(1 / 3)
    assert nextgqa(" B", "0.45, 0.85")["acc@gqa"] == 0.0  # 1.5 s of 4 s
    assert nextgqa(" A", "0.40, 0.80")["acc@gqa"] == 0.0
    failed = nextgqa(" B", None)
    assert (failed["acc@gqa"], failed["miop"], failed["best_miou"], failed["accuracy"]) == (0.0, 0.0, 0.0, 1.0)
