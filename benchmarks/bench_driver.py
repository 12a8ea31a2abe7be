"""The cost of the driver and what it hides: the real loops, buffer and runner with simulated engines, rewards, learner.

    python benchmarks/bench_driver.py [key=value ...]

`overlap_ratio` is the wall time of an asynchronous run over that of its slowest stage alone, the worst of
max_policy_age 1 and 2; stages are simulated by sleeping, and alone means that the others take no time. For any driver,
a bound on policy age limits a step to at least (rollout_s + reward_s + learn_s) / (max_policy_age + 1) seconds, because
its rollouts may start only after the step max_policy_age + 1 before it has finished. At an age of 1 the defaults make
this as long as the slowest stage, so that no loss in the driver is hidden; `age_bound_ratio` is what the bound allows.
`groups_per_s` is the throughput of the loops with 256 engines that take 0.1 s per group and a learner that takes no
time; `rss_growth_mb` is the growth of the process over the last two thirds of that run. Keys: steps, groups_per_step,
engines, scale_steps, rollout_s, reward_s, learn_s.
"""

import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
from record import emit

from vrl.config import AlgoConfig, LogConfig, RunConfig
from vrl.data.stream import SampleStream
from vrl.observability.run_log import RunLog
from vrl.rollout.prefetch import PromptPrefetcher
from vrl.training.driver import Driver
from vrl.training.progress import RunProgress
from vrl.types import Completion, Prompt, Reward, Sample, Update, VersionSpan

GROUP_SIZE, TOKENS = 4, 16


@dataclass(frozen=True, kw_only=True)
class Stages:
    """Duration of every stage, and sizes."""

    rollout_s: float = 0.2  # one group on one engine, which does one at a time
    reward_s: float = 0.05  # one group
    learn_s: float = 0.15  # one step
    engines: int = 4
    groups_per_step: int = 4
    steps: int = 60
    scale_engines: int = 256
    scale_steps: int = 60


class Engines:
    """Simulated engines; each takes one group at a time."""

    def __init__(self, count: int, group_s: float) -> None:
        self.version = 0
        self._count, self._group_s = count, group_s
        self._free = asyncio.Semaphore(count)

    def __len__(self) -> int:
        return self._count

    async def call(self, method: str, prompts: Any, *patches: Any, **sampling: Any) -> Any:
        async with self._free:
            version = self.version
            await asyncio.sleep(self._group_s * len(prompts))
        return tuple(tuple(_completion(version) for _ in range(GROUP_SIZE)) for _ in prompts)


class Rewards:
    """Simulated reward workers without a limit."""

    def __init__(self, group_s: float) -> None:
        self._group_s = group_s

    def __len__(self) -> int:
        return 1

    async def call(self, method: str, prompt: Prompt, completions: Any, *rest: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(self._group_s)
        return tuple(Reward(value=float(i % 2), breakdown={"accuracy": float(i % 2)}) for i in range(len(completions)))


class Learner:
    """A simulated learner with a fixed time per step."""

    def __init__(self, step_s: float) -> None:
        self.updates = 0
        self._step_s = step_s

    async def forward_backward(self, batch: Any, patches: Any) -> dict[str, float]:
        await asyncio.sleep(self._step_s)
        return {"loss/policy": 0.0, "loss/mismatch_kl": 0.0}

    async def optim_step(self) -> Update:
        self.updates += 1
        return Update(updates=self.updates, lr=0.0, grad_norm=1.0)


def main(overrides: list[str]) -> None:
    """Run the benchmark and print its record."""
    types = {field.name: type(field.default) for field in fields(Stages)}
    given = dict(word.split("=", 1) for word in overrides)
    stages = replace(Stages(), **{name: types[name](value) for name, value in given.items()})
    alone = {
        name: wall_s(replace(stages, **{other: 0.0 for other in ("rollout_s", "reward_s", "learn_s") if other != name}))
        for name in ("rollout_s", "reward_s", "learn_s")
    }
    stage_s = (stages.rollout_s, stages.reward_s, stages.learn_s)
    ratios = {age: wall_s(stages, age) / max(alone.values()) for age in (0, 1, 2)}
    scale = replace(
        stages,
        rollout_s=0.1,
        reward_s=0.0,
        learn_s=0.0,
        engines=stages.scale_engines,
        groups_per_step=stages.scale_engines,
        steps=stages.scale_steps,
    )
    memory_mb: list[float] = []
    scale_s = wall_s(scale, 1, memory_mb)
    metrics = {
        "overlap_ratio": max(ratios[1], ratios[2]),
        "age_bound_ratio": max(1.0, sum(stage_s) / 2 / max(stage_s)),
        "synchronous_ratio": ratios[0],
        "groups_per_s": scale.steps * scale.groups_per_step / scale_s,
        "rss_growth_mb": memory_mb[-1] - memory_mb[len(memory_mb) // 3],
    }
    print("  ".join(f"{name} {value:.3g}" for name, value in metrics.items()), file=sys.stderr)
    emit("driver", {field.name: getattr(stages, field.name) for field in fields(Stages)}, metrics)


def wall_s(stages: Stages, age: int = 1, memory_mb: list[float] | None = None) -> float:
    """Return the seconds of a whole run, and append resident memory after each step to `memory_mb`."""
    with tempfile.TemporaryDirectory(prefix="vrl-bench-") as folder:
        return asyncio.run(_train(Path(folder), stages, age, memory_mb if memory_mb is not None else []))


async def _train(folder: Path, stages: Stages, age: int, memory_mb: list[float]) -> float:
    algo = AlgoConfig(groups_per_step=stages.groups_per_step, max_policy_age=age)
    config = RunConfig(name="bench", runs_dir=str(folder), steps=stages.steps, algo=algo)
    samples = [Sample(sample_id=str(i), task="vqa", question="?") for i in range(1000)]
    stream = SampleStream(samples, seed=0, shuffle=True)
    feed = PromptPrefetcher(stream, _prepare, prefetch=2 * stages.groups_per_step, max_bad_fraction=0.0)
    engines, process = Engines(stages.engines, stages.rollout_s), psutil.Process()
    log = RunLog(folder, LogConfig(tensorboard=False), steps=0)  # prints no step lines

    async def push(version: int) -> int:
        engines.version = version
        return 0

    async def on_step(*_: Any) -> dict[str, float]:
        memory_mb.append(process.memory_info().rss / 2**20)
        return {}

    async def after_step() -> None: ...

    driver = Driver(
        config,
        prefetcher=feed,
        engines=engines,
        rewards=Rewards(stages.reward_s),
        learner=cast(Any, Learner(stages.learn_s)),
        log=log,
        sync_weights=push,
        on_step=on_step,
        after_step=after_step,
        progress=RunProgress(),
    )
    started = time.monotonic()
    await driver.run()
    took_s = time.monotonic() - started
    feed.close()
    log.close()
    assert driver.counts.trained == stages.steps * stages.groups_per_step
    return took_s


async def _prepare(sample: Sample) -> tuple[Prompt, Any]:
    return Prompt(sample=sample, token_ids=np.array([1, 2, 3])), None


def _completion(version: int) -> Completion:
    return Completion(
        token_ids=np.arange(TOKENS, dtype=np.int64),
        rollout_logprobs=np.full(TOKENS, -1.0, dtype=np.float32),
        text="",
        finish_reason="stop",
        versions=(VersionSpan(start=0, end=TOKENS, policy_version=version),),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
