"""The inputs of reward functions, and the types of reward functions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vrl.config import RewardConfig
from vrl.tasks.task import Parsed, Task
from vrl.types import Sample


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A claim of the thinking about what is visible in [start_s, end_s]; a moment has equal ends."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """A judge's findings on one completion. None: not asked, or no usable answer (counted by the worker)."""

    claims: tuple[Claim, ...] | None = None
    similarity: np.ndarray | None = None  # float [claims, captions of the sample], cosine or its like
    agrees: bool | None = None  # whether thinking and answer reach the same conclusion
    conclusion: str | None = None  # of the thinking, as an answer; empty: none
    visual: float | None = None  # [0, 1]: how much the thinking relies on visual evidence
    same: bool | None = None  # whether the answer means the same as the true one


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardInput:
    """One completion with its sample's truth."""

    task: Task
    sample: Sample
    duration_s: float  # of the first clip
    timestamps_s: tuple[float, ...] = ()  # of its sampled frames
    text: str  # after the prefix, special tokens kept
    parsed: Parsed | None  # task.parse(text)
    finish_reason: str  # "stop" or "length"
    num_tokens: int = 0  # of the completion
    num_thinking_tokens: int = 0  # of parsed.thinking alone
    config: RewardConfig = field(default_factory=RewardConfig)
    judgement: Judgement = field(default_factory=Judgement)


RewardFunction = Callable[[RewardInput], float | None]
"""Returns the value, or None if the reward does not apply or is missing. Raising fails the whole group."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupInput:
    """All G completions of one prompt, for rewards that compare them."""

    inputs: tuple[RewardInput, ...]  # G
    accuracy: tuple[float | None, ...]  # G, of the same completions
    shuffled_accuracy: tuple[float | None, ...] = ()  # of completions on permuted frames; empty: none were drawn
    config: RewardConfig = field(default_factory=RewardConfig)


GroupRewardFunction = Callable[[GroupInput], Sequence[float | None]]
"""Returns one value per completion, in order; None as in RewardFunction."""

Values = Mapping[str, float | None]
"""Reward values of one completion by name."""
