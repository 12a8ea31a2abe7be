"""What a reward function is given, and its type."""

from collections.abc import Callable
from dataclasses import dataclass

from vrl.tasks.task import Parsed, Task
from vrl.types import Sample


@dataclass(frozen=True, kw_only=True, slots=True)
class RewardInput:
    """One completion beside the truth."""

    task: Task
    sample: Sample
    duration_s: float  # of the first clip
    text: str  # after the prefix, special tokens kept
    parsed: Parsed | None  # task.parse(text)
    finish_reason: str  # "stop" or "length"


RewardFunction = Callable[[RewardInput], float | None]
"""The value, or None where the reward does not apply or could not be had. Raising fails the whole group."""
