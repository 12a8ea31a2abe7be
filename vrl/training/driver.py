"""The RL driver: two loops and one buffer between them.

             rollout_loop                               learn_loop
consumes     samples, prepared ahead by the prefetcher  the groups of one step, in order of reservation
produces     scored groups, put into the buffer         an update (vrl.training.step), synced to the engines
waits for    a free slot of the buffer                  groups_per_step finished groups
unblocked by learn_loop releasing a step's slots        rollout_loop putting the last group of the step

A slot is reserved before its clip is decoded and released after the weights trained on its group are pushed, so
`max_policy_age = 0` is the synchronous algorithm: no slot is free earlier. The driver gets started fleets and never
touches Ray, a model or a pixel; with fakes it runs completely in a unit test.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from vrl.actors.interfaces import Learner, Workers
from vrl.algo.packing import LIKE_TOKENS, PatchCost
from vrl.algo.shaping import shaped
from vrl.config import RunConfig
from vrl.observability.run_log import RunLog
from vrl.observability.spans import span
from vrl.rollout.buffer import GroupCounts, RolloutBuffer
from vrl.rollout.describe import describe
from vrl.rollout.prefetch import PromptPrefetcher
from vrl.rollout.runner import Runner
from vrl.rollout.shuffled import shuffled_draws
from vrl.training.progress import RunProgress
from vrl.training.step import learn
from vrl.types import RolloutGroup


class Driver:
    """One RL run over started fleets."""

    def __init__(
        self,
        config: RunConfig,
        *,
        prefetcher: PromptPrefetcher,
        engines: Workers,
        rewards: Workers,
        learner: Learner,
        log: RunLog,
        sync_weights: Callable[[int], Coroutine[Any, Any, int]],
        colocated_training: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
        on_step: Callable[[int, Sequence[RolloutGroup], Sequence[np.ndarray]], Coroutine[Any, Any, dict[str, float]]],
        after_step: Callable[[], Coroutine[Any, Any, None]],
        progress: RunProgress,
        patch_cost: PatchCost = LIKE_TOKENS,
    ) -> None:
        """`sync_weights(version)` returns the bytes sent; no engine generates inside `colocated_training()`.

        `on_step` writes samples and validates after a step and returns metrics to add to its row. `after_step` runs
        once the row is written, so that a checkpoint never covers rows that are missing.
        """
        self.config = config
        self.progress = progress
        self._patch_cost = patch_cost
        self._prefetcher = prefetcher
        self._learner = learner
        self._log = log
        self._sync_weights = sync_weights
        self._colocated_training = colocated_training
        self._on_step = on_step
        self._after_step = after_step
        algo = config.algo
        self.buffer = RolloutBuffer(
            groups_per_step=algo.groups_per_step,
            max_policy_age=algo.max_policy_age,
            steps=config.steps - progress.step,
            max_refills=algo.max_refills,
        )
        self._waves: set[asyncio.Task[None]] = set()
        shape = partial(shaped, config=algo, max_tokens=config.rollout.max_tokens)
        self._runner = Runner(engines, rewards, self.buffer, shape, shuffled_draws(config))
        self._wave = algo.groups_per_step if algo.max_policy_age == 0 else 1

    async def run(self) -> None:
        """Train until `steps` are done or `stop_soon` is called. A failure of either loop or of a wave ends the run."""
        async with asyncio.TaskGroup() as tasks:
            rollouts = tasks.create_task(self._rollout_loop(tasks), name="rollout_loop")
            await tasks.create_task(self._learn_loop(), name="learn_loop")
            await self.buffer.close()
            await rollouts
            for wave in list(self._waves):
                wave.cancel()

    def stop_soon(self) -> None:
        """Make `run` return after the current step. Only schedules, so a signal handler may call it."""
        self._stopping = asyncio.ensure_future(self.buffer.close())

    @property
    def counts(self) -> GroupCounts:
        """Every group since the first start of the run, resumed or not."""
        return self.progress.earlier + self.buffer.counts

    @property
    def checkpoint_progress(self) -> RunProgress:
        """The progress to store in a checkpoint, without unfinished groups: a resumed run draws their samples again."""
        counts = self.counts
        earlier = replace(counts, started=counts.started - counts.unfinished, unfinished=0)
        return replace(self.progress, earlier=earlier)

    async def _rollout_loop(self, tasks: asyncio.TaskGroup) -> None:
        while group_ids := await self.buffer.reserve(self._wave):
            with span("wait_prompts"):
                prepared = [job for _ in group_ids if (job := await self._prefetcher.next()) is not None]
            wave = tasks.create_task(self._runner.run_wave(prepared, group_ids), name=f"wave_{group_ids[0]}")
            self._waves.add(wave)
            wave.add_done_callback(self._waves.discard)

    async def _learn_loop(self) -> None:
        while self.progress.step < self.config.steps:
            started = time.monotonic()
            with span("wait_groups"):
                groups, replaced = await self.buffer.take()
            if not groups:
                return
            described = describe([*groups, *replaced], self.progress.policy_version)
            async with self._colocated_training():
                result = await learn(groups, self._learner, self.config, self._patch_cost)
                self.progress.policy_version += result.applied
                pushed = await self._timed_sync() if result.applied else {"push/seconds": 0.0, "push/bytes_per_s": 0.0}
            metrics = {"policy_version": self.progress.policy_version, **result.metrics, **pushed}
            metrics |= {**described, "group/refills": float(len(replaced))}
            self.buffer.account(groups, result.untrained)
            self.progress.step += 1
            self.progress.ordinal = groups[-1].ordinal + 1
            metrics |= await self._on_step(self.progress.step, groups, result.advantages)
            await self.buffer.release()  # before the checkpoint, which may take minutes and needs no engine
            step_s = time.monotonic() - started
            busy_s = sum(metrics[f"{part}/seconds"] for part in ("rollout", "reward", "learn", "push"))
            self._log.log(
                self.progress.step, metrics | {"step/seconds": step_s, "idle/seconds": max(0.0, step_s - busy_s)}
            )
            await self._after_step()

    async def _timed_sync(self) -> dict[str, float]:
        started = time.monotonic()
        num_bytes = await self._sync_weights(self.progress.policy_version)
        seconds = time.monotonic() - started
        return {"push/seconds": seconds, "push/bytes_per_s": num_bytes / seconds}
