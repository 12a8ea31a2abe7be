"""A step of several updates on the real learner: scores, advantages and updates do not depend on the ranks."""

import asyncio
import logging
from pathlib import Path

import numpy as np
import pytest
import ray
from support.learner_cases import MIXED, make_cases
from transformers import AutoConfig

from vrl.algo.packing import pack, to_training_group
from vrl.config import AlgoConfig, LearnerConfig, ModelConfig, RunConfig
from vrl.learner.group import LearnerGroup
from vrl.toyworld.model import build_family
from vrl.training.step import learn
from vrl.types import Completion, Prompt, Reward, Rollout, RolloutGroup, Sample, TrainingGroup, VersionSpan

pytestmark = pytest.mark.timeout(300)
ALGO = {
    "plus_plus": AlgoConfig(
        advantage="reinforce_plus_plus_baseline", mini_batches=2, epochs=2, kl_coef=0.1, kl_in="reward",
        kl_estimator="k1", truncated="mask", clip_high=0.28,
    ),
    "pass_at_k": AlgoConfig(
        advantage="pass_at_k", policy_loss="gspo", loss_aggregation="sequence_mean", clip_low=3e-4, clip_high=4e-4,
        epochs=2, correction="sequence_truncate", kl_coef=0.1,
    ),
}  # fmt: skip


def rollout_group(index: int, case: TrainingGroup, patches) -> RolloutGroup:
    rollouts = tuple(
        Rollout(
            completion=Completion(
                token_ids=tokens,
                rollout_logprobs=logprobs,
                text="",
                finish_reason="length" if len(tokens) > 60 else "stop",
                versions=(VersionSpan(start=0, end=len(tokens), policy_version=0),),
            ),
            reward=Reward(value=float(i * (index + 1))),
        )
        for i, (tokens, logprobs) in enumerate(zip(case.completions, case.rollout_logprobs, strict=True))
    )
    prompt = Prompt(
        sample=Sample(sample_id=str(index), task="vqa", question="?"),
        token_ids=case.prompt_token_ids,
        vision=case.vision,
    )
    return RolloutGroup(group_id=index, prompt=prompt, patches=ray.put(patches), ordinal=index, rollouts=rollouts)


def result_on(path: Path, cases, *, name: str, ranks: int, micro_batch_tokens: int):
    """What two steps teach, and the log-probs of all completions after them."""
    config = RunConfig(
        learner=LearnerConfig(
            ranks=ranks, lr=1e-3, micro_batch_tokens=micro_batch_tokens, eps=1e-3, zero_stage=2, timeout_s=200
        ),
        algo=ALGO[name],
    )

    async def main():
        learner = await LearnerGroup.start(
            [{"num_cpus": 1}] * ranks,
            model_config=ModelConfig(path=str(path), dtype="float32"),
            learner_config=config.learner,
            algo_config=config.algo,
            temperature=1.0,
            total_steps=10,
            seed=0,
        )
        groups = [rollout_group(i, *case) for i, case in enumerate(zip(cases.groups, cases.patches, strict=True))]
        results = [await learn(groups, learner, config) for _ in range(2)]
        plain = [to_training_group(g, np.zeros(len(g.rollouts)), [True] * len(g.rollouts)) for g in groups]
        batch = pack(plain, ranks=ranks, micro_batch_tokens=micro_batch_tokens)
        after = await learner.logprobs(batch, [group.patches for group in groups])
        learner.close()
        return results, np.concatenate([own for group in after for own in group])

    return asyncio.run(main())


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGO)
def test_a_step_of_several_updates_does_not_depend_on_ranks_and_micro_batches(tmp_path, name):
    build_family(tmp_path / "model", "qwen2_vl", sharp=True)
    cases = make_cases(AutoConfig.from_pretrained(tmp_path / "model"), MIXED)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        wanted, before = result_on(tmp_path / "model", cases, name=name, ranks=1, micro_batch_tokens=10_000)
        found, after = result_on(tmp_path / "model", cases, name=name, ranks=2, micro_batch_tokens=100)
    finally:
        ray.shutdown()
    for step, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
        for a, b in zip(ours.advantages, theirs.advantages, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
        for metric in ("loss/policy", "loss/kl", "loss/mismatch_kl", "learner/grad_norm", "loss/ratio_gap"):
            tolerance = 1e-5 if step == 0 and metric == "loss/mismatch_kl" else 1e-3
            assert ours.metrics[metric] == pytest.approx(theirs.metrics[metric], rel=tolerance, abs=1e-5), metric
    assert wanted[0].metrics["loss/ratio_gap"] > 1e-3  # the updates after the first moved away from the old policy
    assert wanted[0].metrics["loss/clip_frac"] > 0
    np.testing.assert_allclose(after, before, atol=1e-3)
