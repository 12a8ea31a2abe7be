import numpy as np
import pytest

from vrl.rollout.describe import covered_s, describe, part_spreads
from vrl.types import Completion, Prompt, Reward, Rollout, RolloutGroup, Sample, VersionSpan


def group(start_s, seconds, rewards, *, num_tokens=10, version=3):
    rollouts = tuple(
        Rollout(
            completion=Completion(
                token_ids=np.zeros(num_tokens, dtype=np.int64),
                rollout_logprobs=np.zeros(num_tokens, dtype=np.float32),
                text="",
                finish_reason="stop",
                versions=(VersionSpan(start=0, end=num_tokens, policy_version=version),),
            ),
            reward=Reward(value=value, breakdown={"accuracy": value}),
        )
        for value in rewards
    )
    return RolloutGroup(
        group_id=0,
        prompt=Prompt(sample=Sample(sample_id="a", task="vqa", question="?"), token_ids=np.arange(4)),
        patches=None,
        ordinal=0,
        rollouts=rollouts,
        rollout_start_s=start_s,
        rollout_s=seconds,
    )


def test_covered_seconds_count_once():
    assert covered_s([(5.0, 6.0), (0.0, 2.0), (1.0, 4.0), (1.5, 3.0)]) == 5.0  # 0 to 4 and 5 to 6
    assert covered_s([(0.0, 1.0), (1.0, 2.0)]) == 2.0


def test_throughput_counts_only_the_time_in_which_any_group_was_sampled():
    # Two groups in parallel from 100 to 104, one alone from 110 to 111: 60 tokens in 5 seconds; mean latency 3.
    groups = [group(100.0, 4.0, [0.0, 1.0]), group(100.0, 4.0, [1.0, 1.0]), group(110.0, 1.0, [0.0, 0.0], version=2)]
    found = describe(groups, policy_version=4)
    assert found["rollout/tokens_per_s"] == pytest.approx(60 / 5)
    assert found["rollout/seconds"] == pytest.approx(3.0)
    assert found["rollout/policy_age_max"] == 2
    assert found["group/zero_spread_frac"] == pytest.approx(2 / 3)
    assert found["reward/mean"] == pytest.approx(0.5)


def test_the_spread_of_a_part_is_within_groups():
    assert part_spreads([group(0, 1, [0.0, 1.0]), group(0, 1, [3.0, 3.0])]) == {"accuracy": pytest.approx(0.25)}
