import asyncio

import numpy as np
import pytest

from vrl.errors import DataError
from vrl.rollout.prefetch import BadSample, PromptPrefetcher
from vrl.types import Prompt, Sample


def samples(count: int):
    return iter([Sample(sample_id=str(i), task="vqa", question="?") for i in range(count)])


def preparing(bad: set[int], log: list[str] | None = None):
    async def prepare(sample: Sample):
        if log is not None:
            log.append(sample.sample_id)
        await asyncio.sleep(0.002 * (7 - int(sample.sample_id) % 7))  # finish out of order
        if int(sample.sample_id) in bad:
            raise DataError(f"{sample.sample_id}.mp4: cannot be read", reason="unreadable")
        return Prompt(sample=sample, token_ids=np.array([1])), f"patches {sample.sample_id}"

    return prepare


async def drain(prefetcher: PromptPrefetcher):
    found = []
    while (prepared := await prefetcher.next()) is not None:
        found.append(prepared)
    return found


def test_prompts_come_in_order_and_bad_samples_are_listed():
    async def scenario():
        prefetcher = PromptPrefetcher(
            samples(20), preparing({3, 4}), prefetch=8, max_bad_fraction=0.5, first_ordinal=100
        )
        found = await drain(prefetcher)
        assert [p.prompt.sample.sample_id for p in found] == [str(i) for i in range(20) if i not in (3, 4)]
        assert [p.ordinal for p in found] == [100 + i for i in range(20) if i not in (3, 4)]
        assert found[0].patches == "patches 0"
        assert prefetcher.bad_by_reason == {"unreadable": 2}
        assert "4.mp4" in prefetcher.bad[1].message

    asyncio.run(scenario())


def test_no_more_than_prefetch_are_prepared_ahead():
    async def scenario():
        log: list[str] = []
        prefetcher = PromptPrefetcher(samples(20), preparing(set(), log), prefetch=4, max_bad_fraction=0.5)
        await prefetcher.next()
        await asyncio.sleep(0.05)
        assert len(log) == 4
        prefetcher.close()

    asyncio.run(scenario())


def test_too_many_bad_samples_end_the_run_naming_some():
    async def scenario():
        prefetcher = PromptPrefetcher(samples(50), preparing(set(range(0, 50, 2))), prefetch=4, max_bad_fraction=0.05)
        with pytest.raises(DataError, match=r"got 11 unusable samples among the last 21.*20: 20\.mp4") as caught:
            await drain(prefetcher)
        assert caught.value.reason == "too_many_bad"
        prefetcher.close()

    asyncio.run(scenario())


def test_a_prefetcher_resumes_with_its_earlier_bad_samples():
    before = [BadSample(sample_id=str(i), ordinal=i, reason="old", message="") for i in (10, 95, 96, 97, 98, 99)]

    async def scenario(drawn: int):
        prefetcher = PromptPrefetcher(
            samples(10), preparing(set(range(10))), prefetch=4, max_bad_fraction=0.05, first_ordinal=drawn, bad=before
        )
        with pytest.raises(DataError, match="got 11 unusable samples"):
            await drain(prefetcher)
        prefetcher.close()
        return len(prefetcher.bad) - 6

    assert asyncio.run(scenario(100)) == 5
    assert asyncio.run(scenario(212)) == 6  # ordinal 10 is more than 200 samples ago
