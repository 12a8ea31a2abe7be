"""Candidates: the vote of a completion and its confidence."""

import math

import numpy as np
import pytest
from support.inference_cases import FRAME_TIMES_S, completion, tokenizer

from vrl.config import RewardConfig
from vrl.inference.parse_candidate import confidence, parse_candidate, vote_key
from vrl.types import Completion, Prompt, Sample

CONFIG = RewardConfig(thinking_tokens=[0, 20])


def prompt(task: str, **fields) -> Prompt:
    sample = Sample(sample_id="q", task=task, question="Which?", **fields)
    return Prompt(sample=sample, token_ids=np.arange(3), timestamps_s=FRAME_TIMES_S, duration_s=8.0)


@pytest.mark.parametrize(
    ("answer_type", "answer", "key"),
    [
        ("choice", "B. blue", "B"),
        ("choice", "blue", "B"),
        ("choice", "C", ""),
        ("number", "3", "3.0"),
        ("regression", "1,000.50", "1000.5"),
        ("number", "three", ""),
        ("text", "The Red.", "red"),
        ("text", "+", "+"),
        ("text", " ", ""),
    ],
)
def test_equal_answers_vote_alike(answer_type: str, answer: str, key: str):
    sample = Sample(sample_id="q", task="vqa", question="?", answer_type=answer_type, options=("red", "blue"))
    assert vote_key(sample, answer) == key


def with_logprobs(text: str, of: dict[str, float]) -> Completion:
    """Each token gets the log-prob of its own text, others -9."""
    plain = completion(text)
    pieces = [tokenizer().decode([token]) for token in plain.token_ids]
    logprobs = np.array([of.get(piece, -9.0) for piece in pieces], dtype=np.float32)
    return Completion(
        token_ids=plain.token_ids, rollout_logprobs=logprobs, text=text, finish_reason="stop", versions=plain.versions
    )


def test_confidence_is_that_of_the_answers_tokens():
    drawn = with_logprobs("<think>red circle</think><answer>green square</answer>", {"green": -0.2, " square": -0.4})
    assert confidence(drawn, "green square", tokenizer()) == pytest.approx(math.exp(-0.3))


def test_confidence_skips_the_same_words_in_the_thinking():
    drawn = with_logprobs("<think>A or B</think><keyframes>[1]</keyframes><answer>A</answer>", {"A": -0.5})
    assert confidence(drawn, "A", tokenizer()) == pytest.approx(math.exp(-0.5))


def test_confidence_of_a_direct_answer_leaves_the_end_token_out():
    drawn = with_logprobs(" red<|im_end|>", {" red": -0.1})
    assert confidence(drawn, "red", tokenizer()) == pytest.approx(math.exp(-0.1))
    assert confidence(drawn, "", tokenizer()) == 0.0
    assert confidence(drawn, "blue", tokenizer()) == 0.0


def test_a_candidate_carries_the_evidence_of_rler():
    """Cites 3, 4 and 99 of 16: s_fs = (2 - 1) / (1 + 2); ten tokens of a band of twenty: tau = 1; no repeats."""
    thinking = "There is a red circle and a blue square There"
    assert len(tokenizer()(thinking)["input_ids"]) == 10
    text = f"<think>{thinking}</think><keyframes>[3, 4, 99]</keyframes><answer>red</answer>"
    asked = prompt("think_keyframes", answer_type="text")
    found = parse_candidate(asked, completion(text, -0.5), tokenizer(), CONFIG, temperature=0.7, view="frames")
    assert found.answer == found.key == "red"
    assert found.keyframes == {3, 4}
    assert found.frame_sensitive == pytest.approx(1 / 3)
    assert found.transparency == pytest.approx(1.0)
    assert found.repetition == 0.0
    assert found.evidence == pytest.approx((1 / 3 + 1 + 1 + math.exp(-0.5)) / 4)


def test_an_unparseable_completion_has_no_vote():
    found = parse_candidate(prompt("think"), completion("red"), tokenizer(), CONFIG, temperature=0.7, view="frames")
    assert found.key == found.answer == ""
    assert found.confidence == 0.0
    choice = prompt("vqa", answer_type="choice", options=("red", "blue"))
    assert parse_candidate(choice, completion(" x"), tokenizer(), CONFIG, temperature=0.0, view="frames").answer == ""


def test_the_answer_of_a_span_is_its_text():
    text = " <|event_start|>[0.10, 0.50]<|event_end|>"
    asked = prompt("grounding", answer_type="span")
    found = parse_candidate(asked, completion(text), tokenizer(), CONFIG, temperature=0.0, view="frames")
    assert found.answer == text.strip()
    assert found.key
