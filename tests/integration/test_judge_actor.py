"""A real reward actor whose judge, a real endpoint, fails: training continues, and missing verdicts are counted."""

import asyncio
import json
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import ray
from support.fakes import FakeEngines, FakeLearner, prepare
from support.hostile_replies import REPLIES, hostile_endpoint
from support.judge_cases import down, endpoint, honest, nonsense, slow

from vrl.actors.pool import ActorPool
from vrl.config import (
    AlgoConfig,
    JudgeConfig,
    JudgeEngineConfig,
    LogConfig,
    RewardConfig,
    RewardTermConfig,
    RolloutConfig,
    RunConfig,
    TaskConfig,
)
from vrl.data.stream import SampleStream
from vrl.errors import JudgeError
from vrl.observability.run_log import RunLog
from vrl.reward.judge import make_judge
from vrl.reward.judge.engines import OwnEngines, end
from vrl.reward.worker import RewardWorker
from vrl.rollout.judge import JudgeEngine
from vrl.rollout.prefetch import PromptPrefetcher
from vrl.toyworld.model import build_toy_model
from vrl.training.driver import Driver
from vrl.training.progress import RunProgress
from vrl.types import Caption, Completion, Prompt, Sample

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CAPTIONS = (Caption(start_s=0, end_s=4, text="There is a blue ball."),)
ROW = {"task": "think_timestamps", "question": "What color is it?", "answer": "blue", "captions": CAPTIONS}
SAMPLES = [Sample(sample_id=str(i), **ROW) for i in range(8)]  # type: ignore[arg-type]
TASKS = [
    TaskConfig(
        task="think_timestamps",
        rewards=[RewardTermConfig(reward="accuracy"), RewardTermConfig(reward="temporal", when=["consistency>=1"])],
    )
]


class Thinkers(FakeEngines):
    """Every second answer is right; each thinking is another, so that none is in a cache."""

    def _completion(self, prompt: Prompt, index: int, version: int) -> Completion:
        plain = super()._completion(prompt, index, version)
        thought = f"<think>00:01 {prompt.sample.sample_id} {index} {version} a blue ball.</think>"
        answer = f"<answer>{('red', 'blue')[index % 2]}</answer>"
        return Completion(
            token_ids=plain.token_ids,
            rollout_logprobs=plain.rollout_logprobs,
            text=thought + answer,
            finish_reason="stop",
            versions=plain.versions,
        )


@pytest.fixture(scope="module")
def local_ray():
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


def train(folder: Path, url: str, timeout_s: float) -> list[dict[str, float]]:
    """Three steps over a reward actor of its own; the rows of its metrics."""
    judge = JudgeConfig(kind="openai", base_url=url, model="m", timeout_s=timeout_s, retries=0)
    rules = RewardConfig(judge=judge, similarity="lexical", min_similarity=0.5)
    config = RunConfig(
        name="t",
        runs_dir=str(folder),
        steps=3,
        tasks=TASKS,
        reward=rules,
        rollout=RolloutConfig(group_size=4),
        algo=AlgoConfig(groups_per_step=2),
    )
    log = RunLog(folder, LogConfig(tensorboard=False), steps=3)
    engines = Thinkers()

    async def pushed(version: int) -> int:
        engines.version = version
        return 1

    async def nothing(*_: Any) -> dict[str, float]:
        return {}

    async def main() -> None:
        def start(_: int) -> Any:
            return ray.remote(RewardWorker).options(num_cpus=0).remote(config.tasks, config.reward)

        rewards = ActorPool("reward", start, 1, timeout_s=30, fault=config.fault)
        await rewards.ready()
        stream = SampleStream(SAMPLES, seed=0, shuffle=False)
        prefetcher = PromptPrefetcher(stream, prepare, prefetch=4, max_bad_fraction=0.0)
        driver = Driver(
            config,
            prefetcher=prefetcher,
            engines=engines,
            rewards=rewards,
            learner=cast(Any, FakeLearner()),
            log=log,
            sync_weights=pushed,
            on_step=nothing,
            after_step=nothing,  # type: ignore[arg-type]
            progress=RunProgress(),
        )
        try:
            await driver.run()
        finally:
            prefetcher.close()
            await rewards.close()

    asyncio.run(main())
    log.close()
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("answer", "missing", "failures"),
    [(honest, 0.0, 0), (down, 1.0, 16), (slow, 1.0, 16), (nonsense, 1.0, 16)],
    ids=["honest", "down", "slow", "nonsense"],
)
def test_training_continues_and_what_is_missing_is_counted(
    local_ray: None, tmp_path: Path, answer: Callable[[dict[str, Any]], tuple[int, str]], missing: float, failures: int
) -> None:
    with endpoint(answer) as (url, _):
        rows = train(tmp_path, url, timeout_s=0.5 if answer is slow else 20.0)
    assert [row["step"] for row in rows] == [1, 2, 3]
    for row in rows:  # 2 groups of 4, two questions each: claims and agreement
        assert row["reward/missing/temporal"] == missing and row["judge/failures"] == failures
        assert row["reward/accuracy"] == 0.5 and row["group/zero_spread_frac"] == 0.0
        # all of the weight goes to what is there: half of the answers are right
        assert row["reward/mean"] == pytest.approx(1.5 if answer is honest else 1.0)
        assert ("reward/temporal" in row) == (answer is honest)


def test_training_continues_through_every_hostile_reply(local_ray: None, tmp_path: Path) -> None:
    with hostile_endpoint(list(REPLIES.values())) as (url, seen):
        rows = train(tmp_path, url, timeout_s=2.0)
    assert [row["step"] for row in rows] == [1, 2, 3] and len(seen) == 48
    assert [row["judge/failures"] for row in rows] == [16] * 3
    assert all(row["reward/missing/temporal"] == 1.0 and row["reward/accuracy"] == 0.5 for row in rows)


def test_an_engine_of_our_own_answers_and_comes_back_after_it_was_killed(local_ray: None, tmp_path: Path) -> None:
    build_toy_model(tmp_path)
    engine = JudgeEngineConfig(dtype="float32", max_context_tokens=1024, kv_cache_gib=0.1)
    config = JudgeConfig(kind="vllm", model=str(tmp_path), max_tokens=8, timeout_s=60, engine=engine)
    actor: Any = ray.remote(JudgeEngine).options(num_cpus=0, max_restarts=1).remote(config)
    chat, judge = OwnEngines([actor]), make_judge(config, [actor])
    request = {"messages": [{"role": "user", "content": "Is it blue?"}], "temperature": 0.0, "seed": 0, "max_tokens": 8}

    async def until_it_is_back() -> str:
        deadline = time.monotonic() + 240
        while True:
            try:
                return await chat(request)
            except JudgeError:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.2)

    async def main() -> None:
        pid = await actor.ready.remote()
        reply = await chat(request)
        assert reply and await chat(request) == reply
        with pytest.raises(JudgeError, match="ValueError"):  # untrained, it talks nonsense
            await judge.agrees(SAMPLES[0], "It is blue.", "blue")
        with pytest.raises(JudgeError, match="1024"):
            await chat({**request, "messages": [{"role": "user", "content": "blue " * 2000}]})
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(JudgeError, match="Actor"):
            await chat(request)
        assert await until_it_is_back() == reply
        assert await actor.ready.remote() != pid
        await end([actor])

    asyncio.run(main())
