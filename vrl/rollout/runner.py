"""One wave of groups, from prepared prompts to rewarded rollouts.

A wave is what the engines admit together: one group when rollouts and learning overlap, a whole step's groups when
they alternate, so that equal seeds give equal batches and equal bits. A group that cannot be made or scored is dropped
with a reason; when all workers of a role are dead the run ends.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from vrl.actors.interfaces import Workers
from vrl.errors import LostCallError, RewardError, RolloutError
from vrl.rollout.buffer import RolloutBuffer
from vrl.rollout.prefetch import PreparedPrompt
from vrl.rollout.shuffled import ShuffledDraws
from vrl.types import Completion, Reward, Rollout, RolloutGroup

logger = logging.getLogger(__name__)
_MAX_FAILURES_IN_A_ROW = 32
Drawn = tuple[Completion, ...]  # of one prompt


class Runner:
    """Turns prompts into groups and hands them to the buffer."""

    def __init__(
        self,
        engines: Workers,
        rewards: Workers,
        buffer: RolloutBuffer,
        shape: Callable[[Completion, Reward], Reward],
        shuffled: ShuffledDraws,
    ) -> None:
        """`shape` makes of a completion's reward the one that trains; see vrl.algo.shaping."""
        self._shuffled = shuffled
        self._shape = shape
        self._engines = engines
        self._rewards = rewards
        self._buffer = buffer
        self._failures = 0

    async def run_wave(self, prepared: Sequence[PreparedPrompt], group_ids: Sequence[int]) -> None:
        """Generate and score every prompt of the wave; its groups are put into the buffer, those that fail dropped.

        Raises RolloutError or RewardError when too many groups in a row fail: more than a sample is wrong then.
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
        """What each job's prompt gave and, where its task asks, what it gave on permuted frames; one call for all."""
        twins = [self._shuffled.twin(job, group_id) for group_id, job in jobs]
        again = [twin for twin in twins if twin is not None]
        if not again:
            return await generate(self._engines, [job for _, job in jobs]), [()] * len(jobs)
        sizes = [self._shuffled.group_size] * len(jobs) + [self._shuffled.draws] * len(again)
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
        """The group with its rewards; None where they could not be had. `sampled`: monotonic seconds, from and to."""
        started = time.monotonic()
        try:
            rewards: tuple[Reward, ...] = await self._rewards.call("score", prepared.prompt, completions, shuffled)
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
        lost = isinstance(error, LostCallError)  # with two workers: how many more may be is bounded by their restarts
        reason = f"{role}_lost" if lost else role
        logger.warning("group %d dropped (%s): %s", group_id, reason, error)
        await self._buffer.drop(group_id, reason)
        if lost:
            return
        self._failures += 1
        if self._failures >= _MAX_FAILURES_IN_A_ROW:
            raise type(error)(f"{self._failures} groups in a row failed, the last one: {error}") from error


async def generate(
    engines: Workers, prepared: Sequence[PreparedPrompt], **sampling: Any
) -> list[tuple[Completion, ...]]:
    """The completions of each prompt, admitted together by one engine; a prompt that comes alone goes where the
    features of its clip are, if anywhere. `sampling` overrides the engine's settings."""
    prompts = tuple(job.prompt for job in prepared)
    clip = prompts[0].media_key if len(prompts) == 1 else ""
    return list(await engines.call("generate", prompts, *(job.patches for job in prepared), affinity=clip, **sampling))
