"""The effect of a completion's length on its reward and on its training. Pure functions of one rollout.

Does not score: rewards come from vrl.reward, and validation uses them unshaped.
"""

from dataclasses import replace

from vrl.config import AlgoConfig
from vrl.types import Completion, Reward


def shaped(completion: Completion, reward: Reward, config: AlgoConfig, max_tokens: int) -> Reward:
    """Return the reward to train on: 0 for a truncated completion with algo.truncated=zero_reward, plus the penalty for
    length, which is the part "overlong" of the breakdown. Other parts do not change.
    """
    if config.truncated == "zero_reward" and is_truncated(completion):
        reward = replace(reward, value=0.0)
    if not config.overlong_tokens:
        return reward
    penalty = config.overlong_coef * overlong(len(completion.token_ids), max_tokens, config.overlong_tokens)
    return replace(reward, value=reward.value + penalty, breakdown={**reward.breakdown, "overlong": penalty})


def trains(completion: Completion, config: AlgoConfig) -> bool:
    """Return whether a completion's tokens train. Its reward counts in the baseline in either case.

    algo.truncated=mask is the overlong filtering of DAPO, arXiv 2503.14476.
    """
    return not (config.truncated == "mask" and is_truncated(completion))


def overlong(num_tokens: int, max_tokens: int, margin: int) -> float:
    """Return 0 up to max_tokens - margin tokens, then a linear penalty down to -1 at max_tokens.

    The soft overlong punishment of DAPO, arXiv 2503.14476; `margin` is its L_cache.
    """
    return min(0.0, (max_tokens - margin - num_tokens) / margin)


def is_truncated(completion: Completion) -> bool:
    """Return whether a completion ran into rollout.max_tokens."""
    return completion.finish_reason == "length"
