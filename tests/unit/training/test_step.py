"""A step of learning against a learner that counts: which batches it gets, in which order, with which numbers."""

import asyncio
from typing import Any

import numpy as np
import pytest
from support.fakes import FakeLearner

from vrl.config import AlgoConfig, RunConfig
from vrl.training.step import learn
from vrl.types import Completion, Prompt, Reward, Rollout, RolloutGroup, Sample, VersionSpan


def group(group_id, rewards, *, lengths=(2, 3), cut=()):
    """A group whose completion i has `lengths[i]` tokens and ran into max_tokens where i is in `cut`."""
    rollouts = tuple(
        Rollout(
            completion=Completion(
                token_ids=np.full(length, group_id),
                rollout_logprobs=np.full(length, -1.0, dtype=np.float32),
                text="",
                finish_reason="length" if i in cut else "stop",
                versions=(VersionSpan(start=0, end=length, policy_version=0),),
            ),
            reward=Reward(value=reward),
        )
        for i, (reward, length) in enumerate(zip(rewards, lengths, strict=True))
    )
    prompt = Prompt(sample=Sample(sample_id=str(group_id), task="vqa", question="?"), token_ids=np.arange(3))
    return RolloutGroup(group_id=group_id, prompt=prompt, patches=f"p{group_id}", ordinal=group_id, rollouts=rollouts)


def result_of(groups, **algo):
    learner: Any = FakeLearner()
    config = RunConfig(algo=AlgoConfig(groups_per_step=len(groups), **algo))
    return asyncio.run(learn(groups, learner, config)), learner


def groups_of(batch):
    return [group for rank in batch.micro_batches for micro_batch in rank for group in micro_batch.groups]


GROUPS = [group(i, (float(i), float(i + 2))) for i in range(5)]


def test_one_update_needs_no_scores():
    result, learner = result_of(GROUPS)
    assert learner.calls == ["forward_backward"]
    assert all(not group.old_logprobs for group in groups_of(learner.batches[0]))
    assert result.applied and result.metrics["pack/loss_tokens"] == 25
    assert result.metrics["loss/policy"] == 0.5 and result.metrics["learner/lr"] == 1e-3


def test_several_updates_keep_the_policy_before_the_first_as_the_old_one():
    result, learner = result_of(GROUPS, mini_batches=2, epochs=3)
    assert learner.calls == ["logprobs"] + ["forward_backward"] * 6
    seen = [sorted({int(group.completions[0][0]) for group in groups_of(batch)}) for batch in learner.batches]
    assert seen == [[0, 1, 2], [3, 4]] * 3
    for own in groups_of(learner.batches[-1]):
        assert [old.tolist() for old in own.old_logprobs] == [[-0.5] * 2, [-0.5] * 3]
    assert result.metrics["pack/loss_tokens"] == 25
    assert [batch.counts.num_sequences for batch in learner.batches] == [6, 4] * 3


def test_the_engines_log_probs_need_no_scores():
    _, learner = result_of(GROUPS, epochs=2, old_logprobs="rollout")
    assert learner.calls == ["forward_backward"] * 2


def test_more_mini_batches_than_groups_that_train():
    flat = [group(9, (1.0, 1.0)), GROUPS[0], GROUPS[1]]
    result, learner = result_of(flat, mini_batches=3)
    assert len(learner.batches) == 2 and result.untrained == {9: "zero_spread"}


def test_the_kl_is_taken_off_the_reward_before_the_baseline_but_after_the_spread():
    # The policy finds every token e times as likely as its reference: k1 = 1 a token, 2 and 3 a completion.
    flat = group(7, (1.0, 1.0))
    result, learner = result_of(
        [GROUPS[0], flat], advantage="grpo_no_std", kl_coef=0.1, kl_in="reward", kl_estimator="k1"
    )
    assert learner.calls == ["logprobs", "ref_logprobs", "forward_backward"]
    # Rewards 0 - 0.2 and 2 - 0.3: mean 0.75. The flat group is left out, though its completions differ in length.
    assert result.advantages[0].tolist() == pytest.approx([-0.95, 0.95])
    assert result.untrained == {7: "zero_spread"} and result.advantages[1].tolist() == [0.0, 0.0]
    assert result.metrics["loss/kl"] == pytest.approx(1.0)
    assert not groups_of(learner.batches[0])[0].old_logprobs  # one update: its own log-probs are the old ones


def test_a_kl_in_the_loss_needs_no_scores():
    _, learner = result_of(GROUPS, kl_coef=0.1)
    assert learner.calls == ["forward_backward"]


def test_the_baseline_of_the_step_counts_what_does_not_train():
    groups = [group(0, (0.0, 4.0), cut=(0, 1)), group(1, (6.0, 6.0), cut=(0,))]
    result, learner = result_of(groups, advantage="reinforce_batch", truncated="mask")
    assert result.untrained == {0: "truncated"}
    (trained,) = groups_of(learner.batches[0])
    assert trained.advantages_G.tolist() == [2.0, 2.0]  # 6 over the mean 4 of all
    assert [mask.any() for mask in trained.loss_masks] == [False, True]
    assert learner.batches[0].counts.num_sequences == 1


def test_an_update_that_is_not_finite_leaves_the_others():
    learner: Any = FakeLearner()
    learner.nonfinite = {2}
    result = asyncio.run(learn(GROUPS, learner, RunConfig(algo=AlgoConfig(groups_per_step=5, mini_batches=3))))
    assert result.applied and result.metrics["learner/nonfinite_steps"] == 1
    assert result.metrics["loss/policy"] == 0.5  # of the two updates that have one
    learner = FakeLearner()
    learner.nonfinite = {1}
    assert not asyncio.run(learn(GROUPS, learner, RunConfig())).applied


def test_a_step_without_any_spread_runs_no_model():
    result, learner = result_of([group(7, (1.0, 1.0))], epochs=2, kl_coef=0.1, kl_in="reward")
    assert learner.calls == [] and not result.applied
    assert result.metrics["loss/policy"] == 0.0
