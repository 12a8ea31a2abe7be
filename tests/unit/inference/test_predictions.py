"""The prediction file: nothing is lost, nothing is asked twice, however the process ends."""

import json
from dataclasses import replace

import pytest

from vrl.errors import ConfigError, DataError
from vrl.inference.answer import Answer
from vrl.inference.predictions import Prediction, PredictionFile, fingerprint, in_order
from vrl.types import Sample

SETTINGS = {"model.path": "m", "frames.max_frames": 16, "strategy.candidates": [1, 2]}
FIRST = Prediction(
    sample_id="a", answer=Answer(answer="B", text=" B", timestamps_s=(0.0, 0.5), trace={"votes": {"B": 2}})
)
SECOND = Prediction(sample_id="b", failure="decode", message="clip.mp4: broken")


def test_added_predictions_are_read_back(tmp_path):
    with PredictionFile(tmp_path / "run", SETTINGS) as file:
        assert file.done == {}
        file.add(FIRST)
        file.add(SECOND)
    with PredictionFile(tmp_path / "run", SETTINGS) as file:
        assert file.done == {"a": FIRST, "b": SECOND}
    assert in_order(file.done, ["b", "a"]) == [SECOND, FIRST]
    with pytest.raises(DataError, match=r"1 are missing \(first c\)"):
        in_order(file.done, ["a", "c"])


@pytest.mark.parametrize("cut", [1, 20])
def test_an_incomplete_line_is_cut_off_and_asked_again(tmp_path, cut):
    with PredictionFile(tmp_path, SETTINGS) as file:
        file.add(FIRST)
        file.add(SECOND)
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    with PredictionFile(tmp_path, SETTINGS) as file:
        assert file.done == {"a": FIRST}
        file.add(SECOND)
    assert [json.loads(line)["sample_id"] for line in path.read_text().splitlines()] == ["a", "b"]


@pytest.mark.parametrize("line", ['{"sample_id": "a"}', "5", '"a"', "[]", "null", "{"])
def test_a_complete_line_that_is_not_a_prediction_is_an_error(tmp_path, line):
    (tmp_path / "predictions.jsonl").write_text(f"{line}\n")
    with pytest.raises(DataError, match="line 1: not a prediction"):
        PredictionFile(tmp_path, SETTINGS)


def test_answers_of_other_settings_are_refused_by_key(tmp_path):
    with PredictionFile(tmp_path, SETTINGS):
        pass
    with pytest.raises(ConfigError) as error:
        PredictionFile(tmp_path, {**SETTINGS, "frames.max_frames": 32, "task": "think"})
    assert "frames.max_frames: got 32" in str(error.value) and "were made with 16" in str(error.value)
    assert "task: got 'think'" in str(error.value) and "model.path" not in str(error.value)


def test_the_fingerprint_changes_with_any_question_and_with_the_order():
    samples = [Sample(sample_id=str(i), task="vqa", question="?") for i in range(3)]
    other = [replace(samples[0], question="!"), *samples[1:]]
    assert fingerprint(samples) == fingerprint(list(samples))
    assert len({fingerprint(samples), fingerprint(other), fingerprint(samples[::-1])}) == 3
