"""The learner as the driver sees it: real Ray actors, patches as object references."""

import asyncio
import logging

import numpy as np
import pytest
import ray
from support.learner_cases import MIXED, make_cases
from transformers import AutoConfig

from vrl.algo.packing import pack
from vrl.config import AlgoConfig, LearnerConfig, ModelConfig
from vrl.errors import CheckpointError, LearnerError
from vrl.learner.group import LearnerGroup
from vrl.toyworld.model import build_family

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def local_ray():
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


async def start(path, ranks):
    return await LearnerGroup.start(
        [{"num_cpus": 1}] * ranks,
        model_config=ModelConfig(path=str(path), dtype="float32"),
        learner_config=LearnerConfig(ranks=ranks, zero_stage=2, lr=1e-3, timeout_s=280),
        algo_config=AlgoConfig(),
        temperature=1.0,
        total_steps=4,
        seed=0,
    )


def test_a_group_of_two_ranks(local_ray, tmp_path):
    build_family(tmp_path / "model", "qwen2_vl", sharp=True)
    cases = make_cases(AutoConfig.from_pretrained(tmp_path / "model"), MIXED)
    references = [ray.put(patches) for patches in cases.patches]

    async def main():
        group = await start(tmp_path / "model", 2)
        batch = pack(cases.groups, ranks=2, micro_batch_tokens=50)
        before = await group.logprobs(batch, references)
        losses, updates = [], []
        for _ in range(3):
            losses.append((await group.forward_backward_sft(batch, references))["loss/sft"])
            updates.append(await group.optim_step())
        await group.save(tmp_path / "state")
        after = await group.logprobs(batch, references)
        held_out = await group.sft_loss(batch, references)
        with pytest.raises(LearnerError, match="got no engines"):
            await group.send_weights(3)
        group.close()

        alone = await start(tmp_path / "model", 1)
        one = pack(cases.groups, ranks=1, micro_batch_tokens=10_000)
        again = await alone.logprobs(one, references)
        with pytest.raises(CheckpointError, match=r"learner\.ranks"):
            await alone.load(tmp_path / "state")
        alone.close()
        return before, again, losses, updates[-1], after, held_out

    before, again, losses, update, after, held_out = asyncio.run(main())
    # In the order of the groups, independent of packing.
    for group, ours, theirs in zip(cases.groups, before, again, strict=True):
        for completion, a, b in zip(group.completions, ours, theirs, strict=True):
            assert len(a) == len(completion)
            np.testing.assert_allclose(a, b, atol=2e-5)
    assert losses[0] > losses[1] > losses[2] > held_out
    assert losses[0] == pytest.approx(_nll(cases.groups, before), rel=1e-5)
    assert held_out == pytest.approx(_nll(cases.groups, after), rel=1e-5)
    assert (update.updates, update.lr) == (3, 1e-3)


def _nll(groups, logprobs):
    masked = [
        a[m]
        for group, arrays in zip(groups, logprobs, strict=True)
        for a, m in zip(arrays, group.loss_masks, strict=True)
    ]
    return -np.concatenate(masked).mean()
