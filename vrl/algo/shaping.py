"""What the length of a completion does to its reward and to its training. Pure functions of one rollout.

Does not score: rewards come from vrl.reward, and validation uses them unshaped.
"""

from dataclasses import replace

from vrl.config import AlgoConfig
from vrl.types import Completion, Reward


def shaped(completion: Completion, reward: Reward, config: AlgoConfig, max_tokens: int) -> Reward:
    """The reward that training sees: without that of a truncated completion where algo.truncated=zero_reward, and with
    the penalty for length as the part "overlong". The other parts stay what they were.
    """
    if config.truncated == "zero_reward" and is_truncated(completion):
        reward = replace(reward, value=0.0)
    if not config.overlong_tokens:
        return reward
    penalty = config.overlong_coef * overlong(len(completion.token_ids), max_tokens, config.overlong_tokens)
    return replace(reward, value=reward.value + penalty, breakdown={**reward.breakdown, "overlong": penalty})


def trains(completion: Completion, config: AlgoConfig) -> bool:
    """Whether a completion's tokens train. Those that do not still count in the baseline.

    algo.truncated=mask is the overlong filtering of DAPO, arXiv 2503.14476.
    """
    return not (config.truncated == "mask" and is_truncated(completion))


def overlong(num_tokens: int, max_tokens: int, margin: int) -> float:
    """0 up to max_tokens - margin tokens, falling along a line to -1 at max_tokens.

    The soft overlong punishment of DAPO, arXiv 2503.14476; `margin` is its L_cache.
    """
    return min(0.0, (max_tokens - margin - num_tokens) / margin)


def is_truncated(completion: Completion) -> bool:
    """Whether it ran into rollout.max_tokens."""
    return completion.finish_reason == "length"
