"""One wave of groups, from prepared prompts to rewarded rollouts.

Engines admit a wave together: one group if rollouts and learning overlap, all groups of a step if they alternate, so
that equal seeds give equal batches and bit-equal results. A group that cannot be generated or scored, for any cause, is
dropped with a reason; the run ends when all workers of a role are dead, or when too many groups in a row fail.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from vrl.actors.interfaces import Workers
from vrl.errors import LostCallError, RewardError, RolloutError, WorkerError, excerpt
from vrl.observability.faults import FaultLog
from vrl.rollout.buffer import RolloutBuffer
from vrl.rollout.prefetch import PreparedPrompt
from vrl.rollout.shuffled import ShuffledDraws
from vrl.types import Completion, Reward, Rollout, RolloutGroup

logger = logging.getLogger(__name__)
_MAX_FAILURES_IN_A_ROW = 32
Drawn = tuple[Completion, ...]  # completions of one prompt


class Runner:
    """Turns prompts into groups and puts them into the buffer."""

    def __init__(
        self,
        engines: Workers,
        rewards: Workers,
        buffer: RolloutBuffer,
        shape: Callable[[Completion, Reward], Reward],
        shuffled: ShuffledDraws,
    ) -> None:
        """`shape` turns a completion's reward into the reward to train on; see vrl.algo.shaping."""
        self._shuffled = shuffled
        self._shape = shape
        self._engines = engines
        self._rewards = rewards
        self._buffer = buffer
        self._failures = 0
        self._faults = FaultLog(logger)

    async def run_wave(self, prepared: Sequence[PreparedPrompt], group_ids: Sequence[int]) -> None:
        """Generate and score every prompt of the wave; put its groups into the buffer and drop those that fail.

        Raises RolloutError or RewardError if too many groups in a row fail: the cause is then not a single sample.
        """
        num_shares = min(len(self._engines), len(prepared))
        jobs = list(zip(group_ids, prepared, strict=True))
        shares = await asyncio.gather(*(self._run_share(jobs[i::num_shares]) for i in range(num_shares)))
        await self._buffer.put([group for share in shares for group in share])

    async def _run_share(self, jobs: Sequence[tuple[int, PreparedPrompt]]) -> list[RolloutGroup]:
        started = time.monotonic()
        try:
            completions, shuffled = await self._draw(jobs)
        except (RolloutError, LostCallError) as error:
            if isinstance(error, RolloutError) and len(jobs) > 1:  # one prompt fails the call: draw for each alone
                return [group for job in jobs for group in await self._run_share([job])]
            for group_id, _ in jobs:
                await self._drop(group_id, "rollout", error)
            return []
        ended = time.monotonic()
        scored = await asyncio.gather(
            *(
                self._score(group_id, job, done, again, (started, ended))
                for (group_id, job), done, again in zip(jobs, completions, shuffled, strict=True)
            )
        )
        return [group for group in scored if group is not None]

    async def _draw(self, jobs: Sequence[tuple[int, PreparedPrompt]]) -> tuple[list[Drawn], list[Drawn]]:
        """Generate for each job's prompt and, if its task requires it, on permuted frames, in one call."""
        twins = [self._shuffled.twin(job, group_id) for group_id, job in jobs]
        again = [twin for twin in twins if twin is not None]
        if not again:
            with _failing_as(RolloutError):
                return await generate(self._engines, [job for _, job in jobs]), [()] * len(jobs)
        sizes = [self._shuffled.group_size] * len(jobs) + [self._shuffled.draws] * len(again)
        with _failing_as(RolloutError):
            drawn = await generate(self._engines, [*(job for _, job in jobs), *again], group_size=sizes)
        rest = iter(drawn[len(jobs) :])
        return drawn[: len(jobs)], [() if twin is None else next(rest) for twin in twins]

    async def _score(
        self,
        group_id: int,
        prepared: PreparedPrompt,
        completions: Drawn,
        shuffled: Drawn,
        sampled: tuple[float, float],
    ) -> RolloutGroup | None:
        """Score a group; return None if that fails. `sampled`: monotonic seconds at start and end of its sampling."""
        started = time.monotonic()
        try:
            with _failing_as(RewardError):
                rewards = await self._rewards.call("score", prepared.prompt, completions, shuffled)
                _require_rewards(rewards, len(completions))
        except (RewardError, LostCallError) as error:
            await self._drop(group_id, "reward", error)
            return None
        self._failures = 0
        rollouts = tuple(
            Rollout(completion=c, reward=self._shape(c, r)) for c, r in zip(completions, rewards, strict=True)
        )
        return RolloutGroup(
            group_id=group_id,
            prompt=prepared.prompt,
            patches=prepared.patches,
            ordinal=prepared.ordinal,
            rollouts=rollouts,
            rollout_start_s=sampled[0],
            rollout_s=sampled[1] - sampled[0],
            reward_s=time.monotonic() - started,
            shuffled_tokens=sum(len(one.token_ids) for one in shuffled),
        )

    async def _drop(self, group_id: int, role: str, error: RolloutError | RewardError | LostCallError) -> None:
        lost = isinstance(error, LostCallError)  # on two workers; the restart budgets limit how often
        reason = f"{role}_lost" if lost else role
        self._faults.add(f"group {group_id} dropped ({reason})", error)
        await self._buffer.drop(group_id, reason)
        if lost:
            return
        self._failures += 1
        if self._failures >= _MAX_FAILURES_IN_A_ROW:
            raise type(error)(f"{self._failures} groups in a row failed, the last with: {error}") from error


@contextmanager
def _failing_as(kind: type[RolloutError] | type[RewardError]) -> Iterator[None]:
    """Make any failure of a worker's method an error of its role; dead workers stay dead."""
    try:
        yield
    except (WorkerError, kind):
        raise
    except Exception as error:
        raise kind(f"{type(error).__name__}: {excerpt(error)}") from error


def _require_rewards(rewards: Any, num_completions: int) -> None:
    """Raise RewardError unless these are finite rewards, one for each completion."""
    if not isinstance(rewards, tuple) or len(rewards) != num_completions:
        raise RewardError(f"got {excerpt(rewards)}, wanted {num_completions} rewards")
    wrong = [one for one in rewards if not (isinstance(one, Reward) and math.isfinite(one.value))]
    if wrong:
        raise RewardError(f"got {excerpt(wrong[0])}, wanted a finite reward")


async def generate(
    engines: Workers, prepared: Sequence[PreparedPrompt], **sampling: Any
) -> list[tuple[Completion, ...]]:
    """Sample the completions of all prompts on one engine, which admits them together.

    A single prompt goes to the engine that may have cached its clip. `sampling` overrides the engine's settings.
    """
    prompts = tuple(job.prompt for job in prepared)
    clip = prompts[0].media_key if len(prompts) == 1 else ""
    return list(await engines.call("generate", prompts, *(job.patches for job in prepared), affinity=clip, **sampling))
