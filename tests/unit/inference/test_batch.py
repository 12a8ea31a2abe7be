"""Batches: every item is asked once, failures are recorded, and a kill in the middle loses and repeats nothing."""

import asyncio
import json
import multiprocessing
import time
from pathlib import Path

import pytest
from support.inference_cases import client, completion

from vrl.errors import DataError, RolloutError, WorkerError
from vrl.inference.batch import ask_samples
from vrl.inference.config import MajorityConfig, StrategyConfig
from vrl.inference.predictions import PredictionFile
from vrl.types import Media, Sample


def samples(count: int) -> list[Sample]:
    clip = (Media(kind="video", path="a.mp4"),)
    return [Sample(sample_id=f"{i:03d}", task="vqa", question="?", media=clip) for i in range(count)]


def ask(folder: Path, script, count: int = 5, **strategy) -> PredictionFile:
    scripted, _, _ = client(script)
    with PredictionFile(folder, {}) as file:
        asyncio.run(
            ask_samples(
                samples(count), file, scripted, StrategyConfig(**strategy), concurrency=2, on_done=lambda p: None
            )
        )
    return file


def test_every_item_is_answered_once_and_not_asked_again(tmp_path):
    asked = []

    def script(sample, temperature, turn):
        asked.append(sample.sample_id)
        return completion(" red")

    first = ask(tmp_path, script, count=3)
    assert {name: found.answer and found.answer.answer for name, found in first.done.items()} == {
        "000": "red",
        "001": "red",
        "002": "red",
    }
    answer = first.done["000"].answer
    assert answer is not None
    assert (answer.text, answer.finish_reason, answer.duration_s, answer.num_calls) == (" red", "stop", 8.0, 1)
    assert len(answer.timestamps_s) == 16
    assert list(ask(tmp_path, script, count=5).done) == ["000", "001", "002", "003", "004"]
    assert sorted(asked) == ["000", "001", "002", "003", "004"]


def test_an_item_that_cannot_be_prepared_or_is_refused_is_recorded(tmp_path):
    def script(sample, temperature, turn):
        if sample.sample_id == "001":
            raise DataError("a.mp4: no frames", reason="decode")
        if sample.sample_id == "002":
            raise RolloutError("too long for the engine")
        return completion(" red")

    done = ask(tmp_path, script).done
    assert [done[name].failure for name in sorted(done)] == ["", "decode", "rollout", "", ""]
    assert done["001"].message == "a.mp4: no frames" and done["001"].answer is None


def test_a_dead_worker_ends_the_run_and_keeps_what_was_answered(tmp_path):
    def script(sample, temperature, turn):
        if sample.sample_id == "003":
            raise WorkerError("engine 0 died")
        return completion(" red")

    with pytest.raises(ExceptionGroup) as error:
        ask(tmp_path, script)
    assert error.group_contains(WorkerError)
    with PredictionFile(tmp_path, {}) as file:
        assert {"000", "001", "002"} <= set(file.done) and "003" not in file.done


def test_the_strategy_is_the_configured_one(tmp_path):
    script = [" red", " blue", " blue"]
    answer = ask(tmp_path, script, count=1, name="majority", majority=MajorityConfig(candidates=3)).done["000"].answer
    assert answer is not None and (answer.answer, answer.num_candidates) == ("blue", 3)
    assert answer.trace["votes"] == {"blue": 2, "red": 1}


def ask_slowly(folder: Path) -> None:
    """Ask sixty items, logging each first; the test below kills this."""

    def script(sample, temperature, turn):
        with (folder / "asked").open("a") as log:
            log.write(f"{sample.sample_id}\n")
        time.sleep(0.01)
        return completion(" red")

    ask(folder / "run", script, count=60)


def complete_lines(path: Path) -> list[str]:
    """The ids on complete lines."""
    lines = path.read_bytes().rpartition(b"\n")[0].splitlines() if path.is_file() else []
    return [json.loads(line)["sample_id"] for line in lines]


def test_kill_9_repeats_no_finished_item_and_loses_none(tmp_path):
    predictions = tmp_path / "run" / "predictions.jsonl"
    process = multiprocessing.get_context("fork").Process(
        target=ask_slowly, args=(tmp_path,)
    )  # forked, so that it need not import again
    process.start()
    deadline = time.monotonic() + 100
    while len(complete_lines(predictions)) < 15:
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.join()
    before = complete_lines(predictions)
    num_asked = len((tmp_path / "asked").read_text().split())
    assert 15 <= len(before) < 60
    ask_slowly(tmp_path)
    again = (tmp_path / "asked").read_text().split()[num_asked:]
    assert again and not set(again) & set(before)
    after = complete_lines(predictions)
    assert sorted(after) == [f"{i:03d}" for i in range(60)] and after[: len(before)] == before
