"""Does the completion have the form that its task asks for? Says nothing about its content."""

from vrl.reward.record import RewardInput


def format_reward(given: RewardInput) -> float:
    """1.0 where the completion ended by itself, its task can read it and finds it well formed; else 0.0.

    Our definition, one step stricter than VideoReasoner's (both event tokens in order, anywhere).
    """
    parsed = given.parsed
    return float(parsed is not None and given.finish_reason == "stop" and given.task.well_formed(given.sample, parsed))


REWARDS = {"format": format_reward}
