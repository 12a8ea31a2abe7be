"""Whether the completion has the form that its task asks for. Ignores its content."""

from vrl.reward.inputs import RewardInput


def format_reward(inputs: RewardInput) -> float:
    """1.0 if the completion ended with the end token and its task parses it as well formed; else 0.0.

    Our definition, one step stricter than VideoReasoner's (both event tokens in order, anywhere).
    """
    parsed = inputs.parsed
    return float(
        parsed is not None and inputs.finish_reason == "stop" and inputs.task.well_formed(inputs.sample, parsed)
    )


REWARDS = {"format": format_reward}
