from itertools import combinations

import numpy as np
import pytest

from vrl.algo.advantage import advantages, has_signal, pass_at_k
from vrl.config import AlgoConfig
from vrl.errors import RewardError
from vrl.types import Completion, Prompt, Reward, Rollout, RolloutGroup, Sample


def of_step(rewards, *, num_tokens=None, **algo):
    """Return the advantages of a step's groups, by default with one token per completion."""
    lengths = num_tokens or [[1] * len(group) for group in rewards]
    return advantages([np.array(r) for r in rewards], [np.array(n) for n in lengths], AlgoConfig(**algo))


def of_group(rewards, **algo):
    return of_step([rewards], **algo)[0]


def test_grpo_centres_and_divides_by_the_sample_deviation():
    # Mean 2; squared distances 4, 0, 0, 4 sum to 8; the sample variance is 8 / 3, its root 1.63299.
    found = of_group([0.0, 2.0, 2.0, 4.0], advantage="grpo", std_eps=0.0)
    np.testing.assert_allclose(found, [-1.2247449, 0.0, 0.0, 1.2247449], rtol=1e-6)
    assert found.dtype == np.float32


def test_grpo_adds_eps_to_the_deviation():
    found = of_group([0.0, 2.0], advantage="grpo", std_eps=1.0)
    np.testing.assert_allclose(found, [-1 / (np.sqrt(2) + 1), 1 / (np.sqrt(2) + 1)], rtol=1e-6)


def test_without_std_the_scale_of_rewards_is_kept():
    assert of_group([0.0, 3.0, 0.0], advantage="grpo_no_std").tolist() == [-1.0, 2.0, -1.0]


def test_rloo_compares_with_the_mean_of_the_others():
    # 0 against (3 + 6) / 2, 3 against (0 + 6) / 2, 6 against (0 + 3) / 2.
    assert of_group([0.0, 3.0, 6.0], advantage="rloo").tolist() == [-4.5, 0.0, 4.5]


@pytest.mark.parametrize("advantage", ["grpo", "grpo_no_std", "rloo"])
def test_a_group_of_one_has_no_advantage(advantage):
    assert of_group([0.7], advantage=advantage).tolist() == [0.0]


def test_the_batch_baseline_is_the_mean_of_the_step():
    found = of_step([[1.0, 1.0], [0.0, 2.0, 6.0]], advantage="reinforce_batch")
    assert [group.tolist() for group in found] == [[-1.0, -1.0], [-2.0, 0.0, 4.0]]


def test_reinforce_plus_plus_normalises_over_the_tokens_of_the_step():
    # Values 1, 1, 4 on 2, 1 and 3 tokens: mean (3 + 12) / 6 = 2.5, every token 1.5 away from it.
    found = of_step([[1.0, 1.0], [4.0]], num_tokens=[[2, 1], [3]], advantage="reinforce_plus_plus", std_eps=0.5)
    assert [group.tolist() for group in found] == [[-0.75, -0.75], [0.75]]


def test_reinforce_plus_plus_with_baseline_centres_each_group_first():
    # Centred -1, 1 and -2, 2: mean 0, variance (1 + 1 + 4 + 4) / 4 = 2.5.
    found = of_step([[0.0, 2.0], [10.0, 14.0]], advantage="reinforce_plus_plus_baseline", std_eps=1.0)
    scale = np.sqrt(2.5) + 1.0
    np.testing.assert_allclose(found, np.array([[-1, 1], [-2, 2]]) / scale, rtol=1e-6)


def test_pass_at_k_is_the_analytic_form_of_the_paper():
    # Two of five right, k = 3: no right one in comb(3, 3) of comb(5, 3) = 10 draws, so 0.9 succeed; with a right one
    # all do; with a given wrong one all but comb(2, 2) of comb(4, 2) = 6.
    found = of_group([1.0, 0.0, 0.0, 1.0, 0.0], advantage="pass_at_k", pass_k=3, std_eps=1e-9)
    sigma = np.sqrt(0.9 * 0.1)
    np.testing.assert_allclose(found, np.array([0.1, 5 / 6 - 0.9, 5 / 6 - 0.9, 0.1, 5 / 6 - 0.9]) / sigma, rtol=1e-6)


@pytest.mark.parametrize("k", [1, 2, 4, 5])
def test_pass_at_k_of_graded_rewards_equals_all_draws_one_by_one(k):
    rewards = np.array([0.3, 1.2, 0.3, -0.5, 0.9])
    draws = list(combinations(range(5), k))
    best = np.array([rewards[list(draw)].max() for draw in draws])
    wanted = [best[[i in draw for draw in draws]].mean() - best.mean() for i in range(5)]
    np.testing.assert_allclose(pass_at_k(rewards, k, 0.1), np.array(wanted) / (best.std() + 0.1), atol=1e-12)


def group(*rewards):
    """Return a group of empty completions with these rewards."""
    empty = np.zeros(0)
    completion = Completion(token_ids=empty, rollout_logprobs=empty, text="", finish_reason="stop", versions=())
    rollouts = tuple(Rollout(completion=completion, reward=Reward(value=reward)) for reward in rewards)
    prompt = Prompt(sample=Sample(sample_id="s", task="vqa", question="?"), token_ids=empty)
    return RolloutGroup(group_id=0, prompt=prompt, patches=None, ordinal=0, rollouts=rollouts)


def test_spread():
    assert group(0.1 + 0.2, 0.3).zero_spread  # equal but for rounding
    assert not group(0.3, 0.3, 0.31).zero_spread


def test_equal_rewards_carry_signal_only_if_the_baseline_is_the_steps():
    step = [group(1.0, 1.0), group(0.0, 1.0)]
    assert has_signal(step, AlgoConfig(advantage="rloo")) == [False, True]
    assert has_signal(step, AlgoConfig(advantage="reinforce_plus_plus_baseline")) == [False, True]
    assert has_signal(step, AlgoConfig(advantage="reinforce_batch")) == [True, True]
    assert has_signal(step[:1] * 2, AlgoConfig(advantage="reinforce_plus_plus")) == [False, False]


def test_a_reward_that_is_not_a_number_is_refused():
    with pytest.raises(RewardError, match="nan"):
        of_step([[0.0, 1.0], [0.0, np.nan]])
