"""Which questions `vrl infer` asks, and what it says at its end."""

import json
import logging
from dataclasses import replace

import pytest

from vrl.errors import DataError
from vrl.inference.answer import Answer
from vrl.inference.config import InferConfig
from vrl.inference.predictions import Prediction
from vrl.inference.run import questions, tally


def answered(number: int, candidates: int, latency_s: float, **stages_s: float) -> Prediction:
    trace = {"stages_s": stages_s}
    answer = Answer(num_candidates=candidates, latency_s=latency_s, trace=trace)
    return Prediction(sample_id=str(number), answer=answer)


def test_questions_without_answers_or_tasks_are_asked(tmp_path, caplog):
    (tmp_path / "a.mp4").write_bytes(b"clip")
    media = [{"kind": "video", "path": "a.mp4"}]
    rows = [
        {"sample_id": "a", "question": "Which?", "options": ["x", "y"], "answer_type": "choice", "media": media},
        {"sample_id": "b", "question": "When?", "answer_type": "span", "media": media},
        {"sample_id": "c", "question": "", "media": media},
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = InferConfig(name="x", questions=str(path), task="think")
    with pytest.raises(DataError, match=r"row 3: question: got nothing\n1 of 3 rows are bad; bad_rows=skip"):
        questions(config)
    with caplog.at_level(logging.WARNING):
        asked = questions(replace(config, bad_rows="skip"))
    assert [(one.sample_id, one.task) for one in asked] == [("a", "think"), ("b", "think")]
    assert "row 3: question: got nothing" in caplog.text
    with pytest.raises(DataError, match="task: missing column"):
        questions(replace(config, task=""))


def test_the_mean_answer_and_its_parts():
    line = tally([answered(0, 3, 1.0, prepare=0.5), answered(1, 8, 3.0, prepare=0.7, referee=1.0)])
    assert line == "2 answered with 5.50 candidates and 2.00 s each (prepare 0.60, referee 0.50)"


def test_failures_are_counted_by_reason_and_cost_nothing():
    failed = [Prediction(sample_id=str(i), failure=why) for i, why in enumerate(("media", "decode", "media"))]
    assert tally(failed) == "0 answered, 1 failed (decode), 2 failed (media)"
    assert tally([*failed, answered(9, 1, 0.5, prepare=0.5)]).startswith(
        "1 answered with 1.00 candidates and 0.50 s each"
    )
