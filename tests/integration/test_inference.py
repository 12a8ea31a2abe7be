"""`vrl infer` and `vrl serve` as a user runs them: real engines, a kill half-way, a real OpenAI client."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest

from vrl.toyworld.encoder import build_toy_encoder
from vrl.toyworld.make import make_toy

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]

MODEL = ["model.path=toy/model", "rollout.kv_cache_gib=0.1", "rollout.max_num_seqs=16"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small toy world; an untrained model answers anything, which is all that is needed here."""
    folder = tmp_path_factory.mktemp("world")
    make_toy(folder / "toy", clips=16, difficulty=0, seed=0, workers=1)
    return folder


def start(world: Path, *arguments: str) -> tuple[subprocess.Popen, str]:
    """A vrl command in the world's folder, and a mark that all its children inherit."""
    mark = uuid.uuid4().hex
    env = {**os.environ, "VRL_TEST_MARK": mark, "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "vrl", *arguments],
        cwd=world,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
        start_new_session=True,
    )
    return process, mark


def end_all(mark: str) -> None:
    """Kill every process of a command."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:
            continue


def lines(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines(keepends=True) if file.is_file() else []


def test_a_killed_infer_resumes_and_repeats_nothing(world: Path):
    command = ["infer", str(Path("conf/toy/infer.yaml").resolve()), "name=killed", "questions=toy/train.parquet"]
    command += [*MODEL, "concurrency=1", "strategy.name=majority"]
    answers = world / "runs" / "killed" / "predictions.jsonl"
    process, mark = start(world, *command)
    try:
        deadline = time.monotonic() + 200
        while len(lines(answers)) < 5:
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
            time.sleep(0.01)
    finally:
        end_all(mark)
        process.wait()
    before = [line for line in lines(answers) if line.endswith(b"\n")]
    process, mark = start(world, *command, "concurrency=16")
    try:
        output = process.communicate(timeout=280)[0]
    finally:
        end_all(mark)
    assert process.returncode == 0, output
    after = lines(answers)
    assert after[: len(before)] == before
    asked = [json.loads(line)["sample_id"] for line in after]
    assert len(asked) == len(set(asked)) > len(before)
    assert f"{len(asked)} questions, {len(before)} answered" in output
    assert all(json.loads(line)["num_candidates"] == 3 for line in after)


def test_backfill_looks_where_a_real_encoder_finds_what_the_model_names(world: Path):
    """The model is untrained: any words are elements to it, and the encoder finds the nearest stretch for them."""
    build_toy_encoder(world / "toy" / "encoder", steps=5)
    command = ["infer", str(Path("conf/toy/infer.yaml").resolve()), "name=filled", "questions=toy/test.parquet"]
    command += [*MODEL, "task=vqa", "strategy.name=backfill", "strategy.backfill.encoder=toy/encoder"]
    process, mark = start(world, *command)
    try:
        output = process.communicate(timeout=280)[0]
    finally:
        end_all(mark)
    assert process.returncode == 0, output
    answers = [json.loads(line) for line in lines(world / "runs" / "filled" / "predictions.jsonl")]
    found = [answer for answer in answers if answer["trace"]["key_elements"]["hits"]]
    assert len(found) > len(answers) / 2
    for answer in found:
        assert {"embed", "search", "locate"} <= answer["trace"]["stages_s"].keys() and answer["num_calls"] == 3
        moments_s, intervals_s = answer["trace"]["moments_s"], answer["trace"]["intervals_s"]
        for hit in answer["trace"]["key_elements"]["hits"]:
            assert any(start_s <= hit["start_s"] < end_s for start_s, end_s in intervals_s)
        assert bool(moments_s) != bool(answer["trace"]["uniform_because"])
        if moments_s:
            assert len(answer["timestamps_s"]) == len(moments_s) == 8  # one budget, and these frames were shown
            assert answer["timestamps_s"] == pytest.approx(moments_s, abs=0.063)  # half a frame of 8 a second
            assert any(start_s <= moment < end_s for moment in moments_s for start_s, end_s in intervals_s)
    assert any(answer["trace"]["moments_s"] for answer in found)


@pytest.fixture(scope="module")
def server(world: Path) -> Iterator[tuple[str, str]]:
    """Base URL and token of a live server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process, mark = start(
        world,
        "serve",
        str(Path("conf/toy/serve.yaml").resolve()),
        *MODEL,
        f"port={port}",
        "concurrency=8",
        "queue=64",
        "body_mib=1",
    )
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("http://"):
                break
        else:
            pytest.fail("".join(said))
        yield f"http://127.0.0.1:{port}", (world / "vrl-serve.token").read_text().strip()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 143
    finally:
        end_all(mark)


def messages(url: str) -> list:
    content = [{"type": "video_url", "video_url": {"url": url}}, {"type": "text", "text": "What color is the circle?"}]
    return [{"role": "user", "content": content}]


def test_an_openai_client_is_answered(server: tuple[str, str], world: Path):
    base, token = server
    client = openai.OpenAI(base_url=f"{base}/v1", api_key=token)
    assert [model.id for model in client.models.list()] == ["model"]
    chat = client.chat.completions
    plain = chat.create(model="model", messages=messages("clips/test/000000.mp4"))
    assert plain.choices[0].message.content
    upload = base64.b64encode((world / "toy/clips/test/000001.mp4").read_bytes()).decode()
    voted = chat.create(
        model="model",
        messages=messages(f"data:video/mp4;base64,{upload}"),
        extra_body={"strategy": "majority", "options": ["red", "blue"]},
    )
    assert voted.model_extra["vrl"]["num_candidates"] == 3
    assert list((world / "toy" / ".vrl-uploads").iterdir()) == []
    for strategy in ("election", "backfill"):
        parts = list(
            chat.create(
                model="model",
                messages=messages("clips/test/000000.mp4"),
                stream=True,
                extra_body={"strategy": strategy},
            )
        )
        assert parts[0].model_extra["vrl"] == {"status": "prepare"}
        assert parts[-1].choices[0].finish_reason and parts[-1].model_extra["vrl"]["strategy"] == strategy
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{base}/v1", api_key="wrong").models.list()
    with pytest.raises(openai.PermissionDeniedError):
        chat.create(model="model", messages=messages("../../etc/passwd"))


def test_sixty_four_concurrent_requests_with_bad_ones_between(server: tuple[str, str]):
    base, token = server
    headers = {"Authorization": f"Bearer {token}"}

    def ask(number: int) -> int:
        url = f"clips/test/00000{number % 2}.mp4"
        body: dict = {"messages": messages(url), "strategy": ("single", "majority")[number % 2]}
        if number % 8 == 7:
            body = {"messages": "?"}
        if number % 16 == 14:
            body = {"messages": messages("x" * 2**21)}
        return httpx.post(f"{base}/v1/chat/completions", json=body, headers=headers, timeout=200).status_code

    with ThreadPoolExecutor(64) as threads:
        codes = list(threads.map(ask, range(64)))
    wanted = [400 if n % 8 == 7 else 413 if n % 16 == 14 else 200 for n in range(64)]
    assert codes == wanted
    assert httpx.get(f"{base}/health").json()["questions"] == 0


def test_a_client_that_hangs_up_leaves_no_question_behind(server: tuple[str, str]):
    base, token = server
    headers = {"Authorization": f"Bearer {token}"}
    body = {"messages": messages("clips/test/000000.mp4"), "strategy": "election", "stream": True}
    for _ in range(4):
        with httpx.stream("POST", f"{base}/v1/chat/completions", json=body, headers=headers, timeout=60) as response:
            next(response.iter_lines())
    deadline = time.monotonic() + 60
    while httpx.get(f"{base}/health").json()["questions"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
