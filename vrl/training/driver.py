"""The RL driver: two loops and one buffer between them.

    rollout_loop   reserve slots -> next prompts -> a wave: generate, score -> buffer
    learn_loop     take a step's groups -> learn (vrl.training.step) -> push -> release

`max_policy_age = 0` is the synchronous algorithm: no slot is free before the new weights have landed. The driver is
handed ready-made fleets and never touches Ray, a model or a pixel; with fakes it runs whole in a unit test.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from vrl.algo.packing import LIKE_TOKENS, PatchCost
from vrl.algo.shaping import shaped
from vrl.config import RunConfig
from vrl.observability.run_log import RunLog
from vrl.observability.spans import span
from vrl.rollout.buffer import Ledger, RolloutBuffer
from vrl.rollout.describe import describe, mean_parts, mean_reward
from vrl.rollout.prefetch import PreparedPrompt, PromptFeed
from vrl.rollout.runner import Fleet, Runner, generate
from vrl.rollout.shuffled import shuffled_draws
from vrl.training.step import learn
from vrl.types import Rollout, RolloutGroup


@dataclass(kw_only=True, slots=True)
class Progress:
    """Where a run is: what a checkpoint stores and a resumed run starts from."""

    step: int = 0
    policy_version: int = 0
    ordinal: int = 0  # of the first sample that no finished step has used
    earlier: Ledger = field(default_factory=lambda: Ledger(started=0, trained=0))  # of the runs before a resume


class Driver:
    """One RL run over ready-made fleets."""

    def __init__(
        self,
        config: RunConfig,
        *,
        feed: PromptFeed,
        engines: Fleet,
        rewards: Fleet,
        learner: Any,
        log: RunLog,
        push_weights: Callable[[int], Coroutine[Any, Any, int]],
        learners_turn: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
        on_step: Callable[[int, Sequence[RolloutGroup], Sequence[np.ndarray]], Coroutine[Any, Any, dict[str, float]]],
        after_step: Callable[[], Coroutine[Any, Any, None]],
        progress: Progress,
        patch_cost: PatchCost = LIKE_TOKENS,
    ) -> None:
        """`push_weights(version)` returns the bytes sent; no engine generates in `learners_turn()`.

        `on_step` runs samples and validation after a step and returns metrics to add to its row; `after_step` runs
        once the row is written: a checkpoint stands for rows that are there.
        """
        self.config = config
        self.progress = progress
        self._patch_cost = patch_cost
        self._feed = feed
        self._learner = learner
        self._log = log
        self._push_weights = push_weights
        self._learners_turn = learners_turn
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
        """Train until `steps` are done or `stop` is called. The death of either loop, or of any wave, ends the run."""
        async with asyncio.TaskGroup() as tasks:
            rollouts = tasks.create_task(self._rollout_loop(tasks), name="rollout_loop")
            await tasks.create_task(self._learn_loop(), name="learn_loop")
            await self.buffer.close()
            await rollouts
            for wave in list(self._waves):
                wave.cancel()

    def stop_soon(self) -> None:
        """Finish the step under way and return from `run`. For a signal handler: only schedules."""
        self._stopping = asyncio.ensure_future(self.buffer.close())

    @property
    def ledger(self) -> Ledger:
        """Every group since the first start of the run, resumed or not."""
        now, before = self.buffer.ledger, self.progress.earlier
        reasons = sorted({*now.dropped, *before.dropped})
        return Ledger(
            started=before.started + now.started,
            trained=before.trained + now.trained,
            dropped={reason: now.dropped.get(reason, 0) + before.dropped.get(reason, 0) for reason in reasons},
            unfinished=before.unfinished + now.unfinished,
        )

    @property
    def settled(self) -> Progress:
        """What a checkpoint stores. Groups under way are left out: their samples are drawn again after a resume."""
        ledger = self.ledger
        earlier = replace(ledger, started=ledger.started - ledger.unfinished, unfinished=0)
        return replace(self.progress, earlier=earlier)

    async def _rollout_loop(self, tasks: asyncio.TaskGroup) -> None:
        while group_ids := await self.buffer.reserve(self._wave):
            with span("wait_prompts"):
                prepared = [job for _ in group_ids if (job := await self._feed.next()) is not None]
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
            async with self._learners_turn():
                lesson = await learn(groups, self._learner, self.config, self._patch_cost)
                self.progress.policy_version += lesson.applied
                pushed = await self._push() if lesson.applied else {"push/seconds": 0.0, "push/bytes_per_s": 0.0}
            metrics = {"policy_version": self.progress.policy_version, **lesson.metrics, **pushed}
            metrics |= {**described, "group/refills": float(len(replaced))}
            self.buffer.settle(groups, lesson.left_out)
            self.progress.step += 1
            self.progress.ordinal = groups[-1].ordinal + 1
            metrics |= await self._on_step(self.progress.step, groups, lesson.advantages)
            await self.buffer.release()  # before what follows: a checkpoint may take minutes, and needs no engine
            step_s = time.monotonic() - started
            busy_s = sum(metrics[f"{part}/seconds"] for part in ("rollout", "reward", "learn", "push"))
            self._log.log(
                self.progress.step, metrics | {"step/seconds": step_s, "idle/seconds": max(0.0, step_s - busy_s)}
            )
            await self._after_step()

    async def _push(self) -> dict[str, float]:
        started = time.monotonic()
        num_bytes = await self._push_weights(self.progress.policy_version)
        seconds = time.monotonic() - started
        return {"push/seconds": seconds, "push/bytes_per_s": num_bytes / seconds}


_DIAGNOSTICS = {"tac": "think_answer_consistency", "vas": "visual_evidence"}  # in a validation: part of the reward


async def validate(
    feed: PromptFeed, engines: Fleet, rewards: Fleet, *, wave: int, temperature: float
) -> dict[str, float]:
    """Mean reward of one completion for every sample of `feed`: {"mean": ..., "<task>": ..., "format/<task>": ...}.

    Where a task thinks, also {"tac": ..., "vas": ...}: Video-R2's consistency and visual evidence, in [0, 100].
    The mean is over samples, not over tasks. Raises what generation or scoring raise: a validation is whole or absent.
    """
    by_task: dict[str, list[Rollout]] = {}
    while prepared := [job for _ in range(wave) if (job := await feed.next()) is not None]:
        completions = await generate(engines, prepared, group_size=1, temperature=temperature)
        scored = await asyncio.gather(
            *(
                rewards.call("score", job.prompt, done, diagnose=True)
                for job, done in zip(prepared, completions, strict=True)
            )
        )
        _collect(by_task, prepared, completions, scored)
    everything = [rollout for rollouts in by_task.values() for rollout in rollouts]
    result = {"mean": mean_reward(everything)}
    for task, rollouts in sorted(by_task.items()):
        result[task] = mean_reward(rollouts)
        result |= {f"{part}/{task}": value for part, value in mean_parts(rollouts).items()}
    parts = mean_parts(everything)
    return result | {name: 100 * parts[part] for name, part in _DIAGNOSTICS.items() if part in parts}


def val_metrics(result: dict[str, float]) -> dict[str, float]:
    """`validate`'s result under the names of the metric catalogue."""
    names = {"mean": "val/reward"} | {name: f"val/{name}" for name in _DIAGNOSTICS}
    names |= {key: f"val/{key}" if "/" in key else f"val/reward/{key}" for key in result if key not in names}
    return {names[key]: value for key, value in result.items()}


def _collect(
    by_task: dict[str, list[Rollout]], prepared: list[PreparedPrompt], completions: list, scored: list
) -> None:
    for job, done, rewards in zip(prepared, completions, scored, strict=True):
        rollouts = [Rollout(completion=c, reward=r) for c, r in zip(done, rewards, strict=True)]
        by_task.setdefault(job.prompt.sample.task, []).extend(rollouts)
