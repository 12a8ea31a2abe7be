"""What watching costs: the driver over stand-ins, with and without metrics, spans and the report's sample files.

    python benchmarks/bench_observability.py [steps=60] [pairs=7] [step_s=0.45]

Runs in pairs, one with everything on (Prometheus endpoint, spans, a sample file every ten steps) and one with all off,
over stand-ins that do what actors do between spans: nothing. All roles run in this process, so the cost of every actor
is in the difference, where a real run spreads it over processes. The shape is the toy run's: 16 groups of 8, 16 frames
of 56 x 56. Prints one JSON record; `overhead_share` is the median difference in CPU seconds a step over `step_s`, the
time of a toy step on two quiet cores.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from record import emit

from vrl.config import AlgoConfig, LogConfig, RunConfig
from vrl.data.stream import SampleStream
from vrl.driver import Driver, Progress
from vrl.metrics import RunLog
from vrl.observability.series import count, observe
from vrl.observability.spans import timed
from vrl.report.samples import write_samples
from vrl.rollout.feed import PromptFeed
from vrl.types import Completion, Prompt, Reward, Sample, Update, VersionSpan, VisionGrid

GROUPS, GROUP_SIZE, TOKENS = 16, 8, 8
SAMPLES = [Sample(sample_id=str(i), task="vqa", question="What color is it?", answer="red") for i in range(64)]
GRID = VisionGrid(kind="video", grid_thw=(8, 4, 4))
PATCHES = np.zeros((GRID.num_patches, 1176), np.uint8)


def main(arguments: list[str]) -> None:
    """Run the pairs and print the record."""
    given = dict(argument.split("=", 1) for argument in arguments)
    steps, pairs = int(given.get("steps", 60)), int(given.get("pairs", 7))
    step_s = float(given.get("step_s", 0.45))
    run(steps, watched=True)  # warm-up: imports, caches
    differences, plain = [], []
    for i in range(pairs):
        order = (True, False) if i % 2 else (False, True)
        took = {watched: run(steps, watched=watched) / steps for watched in order}
        differences.append(took[True] - took[False])
        plain.append(took[False])
    overhead_s = statistics.median(differences)
    metrics = {
        "overhead_ms_per_step": 1000 * overhead_s,
        "overhead_share": overhead_s / step_s,
        "unwatched_ms_per_step": 1000 * statistics.median(plain),
        "pairs": pairs,
    }
    print("  ".join(f"{name} {value:.3g}" for name, value in metrics.items()), file=sys.stderr)
    emit("observability", {"steps": steps, "step_s": step_s, "groups": GROUPS, "group_size": GROUP_SIZE}, metrics)


def run(steps: int, *, watched: bool) -> float:
    """Seconds of CPU time that `steps` steps of the driver take, over all threads of this process."""
    with tempfile.TemporaryDirectory(prefix="vrl-bench-") as folder:
        run_dir = Path(folder) / "run"
        run_dir.mkdir()
        log_config = LogConfig(tensorboard=False, spans=watched)
        if watched:
            log_config = replace(log_config, prometheus_port=_free_port())
        log = RunLog(run_dir, log_config, steps=steps)
        started = time.process_time()
        try:
            asyncio.run(_drive(run_dir, log, steps, watched))
            return time.process_time() - started
        finally:
            log.close()


async def _drive(run_dir: Path, log: RunLog, steps: int, watched: bool) -> None:
    config = RunConfig(name="bench", steps=steps, algo=AlgoConfig(groups_per_step=GROUPS))
    workers = Workers()

    async def on_step(step: int, groups: Any, advantages: Any) -> dict[str, float]:
        if watched and (step % 10 == 0 or step == 1):
            write_samples(run_dir, step, list(groups)[:4], list(advantages)[:4], [PATCHES] * 4)
        return {"data/bad_samples": 0.0}

    async def after_step() -> None:
        return None

    feed = PromptFeed(SampleStream(SAMPLES, seed=0, shuffle=True), workers.prepare, prefetch=32, max_bad_fraction=0.0)
    driver = Driver(
        config,
        feed=feed,
        engines=workers,
        rewards=workers,
        learner=workers,
        log=log,
        push_weights=workers.push_weights,
        on_step=on_step,
        after_step=after_step,
        progress=Progress(),
    )
    await driver.run()
    feed.close()


class Workers:
    """All roles at once: what they count and time is what the real ones do, the work itself is left out."""

    def __init__(self) -> None:
        self._version = 0

    def __len__(self) -> int:
        return 1

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return await getattr(self, method)(*args, **kwargs)

    @timed("prepare")
    async def prepare(self, sample: Sample) -> tuple[Prompt, Any]:
        count("vrl_data_samples_total", outcome="prepared")
        count("vrl_data_patches_total", len(PATCHES))
        times = tuple(float(i) for i in range(16))
        return Prompt(
            sample=sample, token_ids=np.arange(64), vision=(GRID,), timestamps_s=times, duration_s=16.0
        ), PATCHES

    @timed("generate")
    async def generate(self, prompts: Any, *patches: Any, **sampling: Any) -> Any:
        count("vrl_rollout_prompt_tokens_total", 64 * len(prompts))
        for _ in range(GROUP_SIZE * len(prompts)):
            count("vrl_rollout_generated_tokens_total", TOKENS)
            count("vrl_rollout_completions_total", finish="stop")
        return tuple(tuple(self._completion() for _ in range(GROUP_SIZE)) for _ in prompts)

    @timed("score")
    async def score(self, prompt: Prompt, completions: Any, *shuffled: Any) -> tuple[Reward, ...]:
        for i in range(len(completions)):
            observe("vrl_reward_value", float(i % 2), task="vqa")
        return tuple(Reward(value=float(i % 2), breakdown={"accuracy": i % 2}) for i in range(len(completions)))

    @timed("forward_backward")
    async def forward_backward(self, batch: Any, patches: Any) -> dict[str, float]:
        count("vrl_learner_tokens_total", batch.num_tokens)
        return {"loss/policy": 0.5, "loss/mismatch_kl": 0.0, "loss/entropy": 1.0, "loss/clip_frac": 0.0}

    @timed("optimizer")
    async def optim_step(self) -> Update:
        self._version += 1
        count("vrl_learner_updates_total", outcome="applied")
        return Update(updates=self._version, lr=1e-3, grad_norm=1.0)

    @timed("push")
    async def push_weights(self, version: int) -> int:
        count("vrl_learner_pushed_bytes_total", 1)
        return 1

    def _completion(self) -> Completion:
        return Completion(
            token_ids=np.arange(TOKENS),
            rollout_logprobs=np.zeros(TOKENS, np.float32),
            text="red<|im_end|>",
            finish_reason="stop",
            versions=(VersionSpan(start=0, end=TOKENS, policy_version=self._version),),
        )


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main(sys.argv[1:])
