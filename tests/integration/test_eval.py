"""`vrl eval` by the command line with a real engine: killed half-way, gone on, scored anew, compared."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest

from vrl.toyworld.make import make_toy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def start(*arguments: str) -> tuple[subprocess.Popen, str]:
    """A vrl command under way and the mark that all its children inherit."""
    mark = uuid.uuid4().hex
    command = [sys.executable, "-m", "vrl", *arguments]
    env = {**os.environ, "VRL_TEST_MARK": mark, "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    output = subprocess.PIPE
    return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True, env=env), mark


def end(mark: str) -> None:
    """Kill what a killed command left behind."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:
            continue  # it ended while we looked


def run(*arguments: str) -> tuple[int, str]:
    process, mark = start(*arguments)
    try:
        output = process.communicate(timeout=400)[0]
    finally:
        end(mark)
    return process.returncode, output


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The arguments of an evaluation of forty questions about toy clips, one of them broken."""
    toy = tmp_path_factory.mktemp("world") / "toy"
    make_toy(toy, clips=16, difficulty=0, seed=0, workers=2)
    (toy / "clips" / "train" / "000003.mp4").write_bytes(b"not a video" * 100)
    return [
        "eval",
        "conf/toy/eval.yaml",
        f"runs_dir={toy.parent / 'runs'}",
        f"benchmark.path={toy / 'train_basic.parquet'}",
        "benchmark.limit=40",
        f"model.path={toy / 'model'}",
        "rollout.max_num_seqs=16",
    ]


def predictions(run_dir: Path) -> list[str]:
    path = run_dir / "predictions.jsonl"
    return path.read_bytes().rpartition(b"\n")[0].decode().splitlines() if path.is_file() else []


def results(run_dir: Path) -> dict:
    return json.loads((run_dir / "results.json").read_text())


@pytest.fixture(scope="module")
def killed_and_finished(asked: list[str]) -> Path:
    run_dir = Path(asked[2].removeprefix("runs_dir=")) / "toy-eval"
    process, mark = start(*asked, "concurrency=1")
    deadline = time.monotonic() + 400
    while len(predictions(run_dir)) < 5:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    end(mark)
    before = predictions(run_dir)
    assert 5 <= len(before) < 40 and not (run_dir / "results.json").exists()
    code, output = run(*asked)
    assert code == 0, output
    assert f"40 questions, {len(before)} answered" in output and "| **score** |" in output
    after = predictions(run_dir)
    assert after[: len(before)] == before
    assert len({json.loads(line)["sample_id"] for line in after}) == len(after) == 40
    return run_dir


def test_a_killed_evaluation_resumes_and_lists_what_failed(killed_and_finished: Path):
    found = results(killed_and_finished)
    failed = found["failures"]
    assert found["items"] == 40 and sum(failed["by_reason"].values()) == len(failed["listed"]) > 0
    assert all("000003.mp4" in one["message"] for one in failed["listed"])
    assert 0 <= found["overall"]["low"] <= found["overall"]["value"] <= found["overall"]["high"] <= 1
    assert "000003.mp4" in (killed_and_finished / "eval.html").read_text()


def test_a_finished_one_is_scored_anew_without_an_engine(killed_and_finished: Path, asked: list[str]):
    before = (killed_and_finished / "predictions.jsonl").read_bytes()
    code, output = run(*asked, "failures=excluded", "bootstrap.unit=video", "ray_address=nowhere:1")
    assert code == 0, output
    found = results(killed_and_finished)
    assert found["unscored"] == len(found["failures"]["listed"]) > 0
    assert (killed_and_finished / "predictions.jsonl").read_bytes() == before


def test_other_settings_do_not_mix_with_what_is_there(killed_and_finished: Path, asked: list[str]):
    code, output = run(*asked, "rollout.max_tokens=8")
    assert code == 2 and "rollout.max_tokens: got 8" in output and "made with 16" in output


@pytest.fixture(scope="module")
def voted(killed_and_finished: Path, asked: list[str]) -> Path:
    code, output = run(*asked, "name=toy-majority", "strategy.name=majority", "failures=wrong")
    assert code == 0, output
    return killed_and_finished.parent / "toy-majority"


def test_majority_gives_the_answer_of_most_candidates(voted: Path):
    assert results(voted)["metrics"]["candidates"]["value"] == 3
    answers = [json.loads(line) for line in predictions(voted)]
    answered = [answer for answer in answers if not answer["failure"]]
    assert len(answers) == 40 and len(answered) > 30
    for answer in answered:
        keys = Counter(one["key"] for one in answer["trace"]["candidates"] if one["key"])
        assert dict(keys) == answer["trace"]["votes"] and sum(keys.values()) <= 3
        winners = [one for one in answer["trace"]["candidates"] if one["text"] == answer["text"]]
        assert winners and keys[winners[0]["key"]] == max(keys.values(), default=0)


def test_two_runs_are_compared_item_by_item(voted: Path, killed_and_finished: Path, asked: list[str]):
    code, output = run(*asked, "ray_address=nowhere:1")  # scored as the other one: failures are wrong
    assert code == 0, output
    first, second = (
        {row["sample_id"]: row["score"] for row in scores(folder)} for folder in (killed_and_finished, voted)
    )
    assert first.keys() == second.keys()
    code, output = run("eval", "--compare", str(killed_and_finished), str(voted))
    assert code == 0, output
    cells = score_line(output)
    gaps = [second[name] - first[name] for name in first]
    means = [sum(run.values()) / len(run) for run in (first, second)]
    assert cells[:3] == pytest.approx([100 * value for value in (*means, sum(gaps) / len(gaps))], abs=0.051)
    assert cells[3] <= cells[2] <= cells[4] and 0 < cells[5] <= 1
    assert any(gaps) or cells[2:5] == [0, 0, 0]
    code, output = run("eval", "--compare", str(voted), str(voted))
    assert code == 0 and score_line(output)[2:] == [0, 0, 0, 1]


def score_line(output: str) -> list[float]:
    """First, second, difference, low, high (percent), p of the score, as the comparison prints them."""
    (line,) = [line for line in output.splitlines() if line.startswith("| score |")]
    return [float(cell.strip(" %")) for cell in line.strip("| ").split("|")[1:]]


def scores(run_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (run_dir / "scores.jsonl").read_text().splitlines()]
