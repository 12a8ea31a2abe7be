import numpy as np
import pytest

from vrl.algo.shaping import overlong, shaped, trains
from vrl.config import AlgoConfig
from vrl.types import Completion, Reward, VersionSpan


def completion(num_tokens, finish_reason="stop"):
    return Completion(
        token_ids=np.zeros(num_tokens, dtype=np.int64),
        rollout_logprobs=np.zeros(num_tokens, dtype=np.float32),
        text="",
        finish_reason=finish_reason,
        versions=(VersionSpan(start=0, end=num_tokens, policy_version=0),),
    )


REWARD = Reward(value=0.8, breakdown={"accuracy": 1.0, "format": None})


@pytest.mark.parametrize(("num_tokens", "penalty"), [(1, 0.0), (16, 0.0), (17, -0.25), (19, -0.75), (20, -1.0)])
def test_the_penalty_is_linear_over_the_last_tokens(num_tokens, penalty):
    assert overlong(num_tokens, 20, 4) == penalty


def test_the_penalty_joins_the_reward_and_its_parts():
    found = shaped(completion(18), REWARD, AlgoConfig(overlong_tokens=4, overlong_coef=0.2), 20)
    assert found.value == pytest.approx(0.7)
    assert found.breakdown == {"accuracy": 1.0, "format": None, "overlong": pytest.approx(-0.1)}


def test_a_truncated_completion_may_earn_nothing():
    config = AlgoConfig(truncated="zero_reward")
    assert shaped(completion(20, "length"), REWARD, config, 20) == Reward(value=0.0, breakdown=REWARD.breakdown)
    assert shaped(completion(20), REWARD, config, 20) == REWARD  # it ended before the limit
    both = AlgoConfig(truncated="zero_reward", overlong_tokens=4)
    assert shaped(completion(20, "length"), REWARD, both, 20).value == -1.0


def test_nothing_changes_unless_asked():
    assert shaped(completion(20, "length"), REWARD, AlgoConfig(), 20) is REWARD


@pytest.mark.parametrize(
    ("truncated", "finish_reason", "wanted"),
    [("mask", "length", False), ("mask", "stop", True), ("keep", "length", True), ("zero_reward", "length", True)],
)
def test_only_masked_truncated_completions_do_not_train(truncated, finish_reason, wanted):
    assert trains(completion(5, finish_reason), AlgoConfig(truncated=truncated)) is wanted
