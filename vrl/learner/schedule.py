"""The learning rate of a step: a pure function, so there is no scheduler state to save."""

import math

from vrl.config import LearnerConfig


def learning_rate(step: int, config: LearnerConfig, total_steps: int) -> float:
    """Return the rate of the optimizer step that follows `step` finished ones.

    Linear warm-up over `warmup_steps` (the first step has lr / warmup_steps), then constant, or linear or half-cosine
    decay to 0 at `total_steps`, or at `schedule_updates` if it is not 0.
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    end = config.schedule_updates or total_steps
    progress = min(1.0, (step - config.warmup_steps) / max(1, end - config.warmup_steps))
    match config.lr_schedule:
        case "linear":
            return config.lr * (1 - progress)
        case "cosine":
            return config.lr * 0.5 * (1 + math.cos(math.pi * progress))
    return config.lr
