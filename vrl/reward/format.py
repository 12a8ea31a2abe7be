"""Form of the completion, as its task requires it. Ignores its content."""

from vrl.reward.inputs import RewardInput


def format_reward(inputs: RewardInput) -> float:
    """1 if the completion ended with the end token and its task parses it as well formed, else 0.

    Our definition, stricter than VideoReasoner's (both event tokens in order, anywhere).
    """
    parsed = inputs.parsed
    return float(
        parsed is not None and inputs.finish_reason == "stop" and inputs.task.well_formed(inputs.sample, parsed)
    )


REWARDS = {"format": format_reward}
