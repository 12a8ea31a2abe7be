"""Rewards that compare all completions of a prompt. Each returns one value per completion, in order."""

from vrl.reward.inputs import GroupInput

_SOLVED = 0.1  # accuracy above which a completion is accurate; Video-R1's


def temporal_order(group: GroupInput) -> list[float | None]:
    """T-GRPO: 1 for an accurate completion if order helps, that is if the mean accuracy on ordered frames is at least
    reward.order_margin x that on permuted ones. Paper's weight: 0.3.

    Source: Video-R1 (arXiv 2503.21776); its code has a margin of 0.8, the later paper 1.0. All None if no completion
    on permuted frames was drawn (images, validation) or if the sample has no accuracy.
    """
    ordered = [value for value in group.accuracy if value is not None]
    shuffled = [value for value in group.shuffled_accuracy if value is not None]
    if not ordered or not shuffled:
        return [None] * len(group.inputs)
    helps = _mean(ordered) >= group.config.order_margin * _mean(shuffled)
    return [None if value is None else float(helps and value > _SOLVED) for value in group.accuracy]


def length_band(group: GroupInput) -> list[float | None]:
    """1 for an accurate completion of reward.length_band = [least, most] tokens, if at least two of the group are
    accurate, else 0. None for a group of one, as in validation. Source: Video-R1's length reward, of weight 0.2.
    """
    if len(group.inputs) < 2:
        return [None] * len(group.inputs)
    least, most = group.config.length_band
    enough = sum((value or 0.0) > _SOLVED for value in group.accuracy) >= 2
    return [
        None if value is None else float(enough and value > _SOLVED and least <= one.num_tokens <= most)
        for one, value in zip(group.inputs, group.accuracy, strict=True)
    ]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


GROUP_REWARDS = {"temporal_order": temporal_order, "length_band": length_band}
