import numpy as np
import pytest

from vrl.algo.advantage import advantages, is_zero_spread
from vrl.config import AlgoConfig
from vrl.errors import RewardError


def test_grpo_centres_and_divides_by_the_sample_deviation():
    # Mean 2; squared distances 4, 0, 0, 4 sum to 8; the sample variance is 8 / 3, its root 1.63299.
    rewards = np.array([0.0, 2.0, 2.0, 4.0])
    found = advantages(rewards, AlgoConfig(advantage="grpo", std_eps=0.0))
    np.testing.assert_allclose(found, [-1.2247449, 0.0, 0.0, 1.2247449], rtol=1e-6)
    assert found.dtype == np.float32


def test_grpo_adds_eps_to_the_deviation():
    found = advantages(np.array([0.0, 2.0]), AlgoConfig(advantage="grpo", std_eps=1.0))
    np.testing.assert_allclose(found, [-1 / (np.sqrt(2) + 1), 1 / (np.sqrt(2) + 1)], rtol=1e-6)


def test_without_std_the_scale_of_rewards_stays():
    found = advantages(np.array([0.0, 3.0, 0.0]), AlgoConfig(advantage="grpo_no_std"))
    assert found.tolist() == [-1.0, 2.0, -1.0]


def test_a_group_of_one_has_no_advantage():
    assert advantages(np.array([0.7]), AlgoConfig(advantage="grpo")).tolist() == [0.0]


def test_spread():
    assert is_zero_spread(np.array([0.1 + 0.2, 0.3]))  # equal but for rounding
    assert not is_zero_spread(np.array([0.3, 0.3, 0.31]))


def test_a_reward_that_is_not_a_number_is_refused():
    with pytest.raises(RewardError, match="nan"):
        advantages(np.array([0.0, np.nan]), AlgoConfig())
