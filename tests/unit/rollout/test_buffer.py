import asyncio
import random

import numpy as np
import pytest

from vrl.rollout.buffer import RolloutBuffer
from vrl.types import Completion, Prompt, Reward, Rollout, RolloutGroup, Sample, VersionSpan


def group(group_id: int, version: int = 0) -> RolloutGroup:
    completion = Completion(
        token_ids=np.array([1]),
        rollout_logprobs=np.array([-1.0], dtype=np.float32),
        text="x",
        finish_reason="stop",
        versions=(VersionSpan(start=0, end=1, policy_version=version),),
    )
    sample = Sample(sample_id=str(group_id), task="vqa", question="?")
    return RolloutGroup(
        group_id=group_id,
        prompt=Prompt(sample=sample, token_ids=np.array([1])),
        patches=None,
        ordinal=group_id,
        rollouts=(Rollout(completion=completion, reward=Reward(value=1.0)),),
    )


async def is_waiting(coroutine) -> bool:
    task = asyncio.ensure_future(coroutine)
    await asyncio.sleep(0.01)
    waiting = not task.done()
    task.cancel()
    return waiting


def test_synchronous_buffer_frees_no_slot_before_release():
    async def scenario():
        buffer = RolloutBuffer(groups_per_step=2, max_policy_age=0, steps=3)
        assert await buffer.reserve(2) == (0, 1)
        assert await is_waiting(buffer.reserve(1))
        await buffer.put([group(1)])
        assert await is_waiting(buffer.take())  # group 0 is first in order
        await buffer.put([group(0)])
        taken, _ = await buffer.take()
        assert [g.group_id for g in taken] == [0, 1]
        buffer.account(taken, {1: "zero_spread"})
        assert await is_waiting(buffer.reserve(1))  # accounted for, but the weights are not pushed
        await buffer.release()
        assert await buffer.reserve(2) == (2, 3)
        counts = buffer.counts
        assert (counts.started, counts.trained, counts.dropped, counts.unfinished) == (4, 1, {"zero_spread": 1}, 2)

    asyncio.run(scenario())


def test_a_dropped_group_is_replaced_and_counted():
    async def scenario():
        buffer = RolloutBuffer(groups_per_step=2, max_policy_age=0, steps=1)
        await buffer.reserve(2)
        await buffer.drop(0, "reward")
        assert await buffer.reserve(2) == (2,)  # the only step needs one more
        await buffer.put([group(2)])
        await buffer.put([group(1)])
        taken, _ = await buffer.take()
        assert [g.group_id for g in taken] == [1, 2]
        buffer.account(taken, {})
        await buffer.release()
        assert buffer.counts.dropped == {"reward": 1}

    asyncio.run(scenario())


def test_groups_of_equal_rewards_are_replaced_up_to_the_bound_of_the_step():
    async def scenario():
        buffer = RolloutBuffer(groups_per_step=2, max_policy_age=0, steps=2, max_refills=1)
        await buffer.reserve(2)
        await buffer.put([group(1), group(0)])  # both of zero spread: the first in order is replaced, the other kept
        assert await buffer.reserve(2) == (2,)
        await buffer.put([group(2)])
        taken, replaced = await buffer.take()
        assert ([g.group_id for g in taken], [g.group_id for g in replaced]) == ([1, 2], [0])
        buffer.account(taken, {1: "zero_spread", 2: "zero_spread"})
        await buffer.release()
        assert await buffer.reserve(2) == (3, 4)
        await buffer.put([group(3), group(4)])  # a new step, a new allowance
        assert await buffer.reserve(2) == (5,)
        assert buffer.counts.dropped == {"zero_spread": 4}

    asyncio.run(scenario())


def test_close_wakes_all_waiting_tasks():
    async def scenario():
        buffer = RolloutBuffer(groups_per_step=1, max_policy_age=0, steps=5)
        await buffer.reserve(1)
        reserving = asyncio.ensure_future(buffer.reserve(1))
        taking = asyncio.ensure_future(buffer.take())
        await asyncio.sleep(0)
        await buffer.close()
        assert await reserving == () and await taking == ([], [])
        assert buffer.counts.unfinished == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(("age", "seed"), [(0, 1), (1, 2), (2, 3), (3, 4)])
def test_policy_age_never_exceeds_its_bound(age: int, seed: int):
    """Random speeds, random drops: every group is trained within `age` versions of the one at its reservation."""
    rng = random.Random(seed)
    steps, per_step = 25, 3
    version, oldest = 0, 0

    async def make(buffer, group_id, born):
        for _ in range(rng.randrange(6)):
            await asyncio.sleep(0)
        if rng.random() < 0.1:
            await buffer.drop(group_id, "reward")
        else:
            await buffer.put([group(group_id, version=born)])

    async def rollouts(buffer):
        waves = set()
        while ids := await buffer.reserve(1):
            waves.add(asyncio.ensure_future(make(buffer, ids[0], version)))
        await asyncio.gather(*waves)

    async def scenario():
        nonlocal version, oldest
        buffer = RolloutBuffer(groups_per_step=per_step, max_policy_age=age, steps=steps)
        loop = asyncio.ensure_future(rollouts(buffer))
        for _ in range(steps):
            taken, _ = await buffer.take()
            oldest = max(oldest, max(version - g.policy_version for g in taken))
            assert len(taken) == per_step
            version += 1
            buffer.account(taken, {})
            await buffer.release()
        await buffer.close()
        await loop
        counts = buffer.counts
        assert counts.started == counts.trained + sum(counts.dropped.values()) + counts.unfinished
        assert counts.trained == steps * per_step and counts.unfinished == 0

    asyncio.run(scenario())
    assert oldest <= age
    assert oldest == age  # and the bound is used, not just respected
