"""RLER's evidence rewards: cited frames, length of thinking, repetition.

The formulas come from notes on the paper (arXiv 2604.04379); details that the notes leave open are marked as ours.
Gates belong to the rubric: see `when` of a reward term.
"""

import math
import string

from vrl.reward.inputs import RewardInput
from vrl.reward.text import is_unspaced
from vrl.tasks.think_keyframes import in_spans

_MAX_WORDS = 8000  # words of the thinking that are checked for repetition
_CHARACTER_GRAM = 6  # characters per n-gram in text without spaces


def frame_sensitive(inputs: RewardInput) -> float:
    """clip((K - E) / (1 + K), 0, 1): K valid cited frames, E invalid ones. No citation, or no clip: 0.

    Ours: a number in 1 .. N is valid the first time; repeats, other numbers, non-numbers and every frame beyond
    reward.max_cited x N are invalid. At max_cited = 1, the paper's form, citing every frame is the best answer to any
    question; below 1 it is not.
    """
    if inputs.parsed is None:
        return 0.0
    valid = valid_frames(inputs)
    allowed = math.floor(inputs.config.max_cited * len(inputs.timestamps_s))
    good = min(len(valid), allowed)
    cited = len(inputs.parsed.keyframes) + inputs.parsed.unreadable_keyframes
    return min(1.0, max(0.0, (good - (cited - good)) / (1 + good)))


def cited_evidence(inputs: RewardInput) -> float | None:
    """Fraction of the cited frames that lie in a true span; 0 if none is cited, None if the sample has no span.

    Our definition, as a metric or as a reward for data with spans: citing frames at random does not pay.
    """
    if not inputs.sample.spans:
        return None
    valid = valid_frames(inputs)
    return sum(in_spans(inputs.sample, inputs.timestamps_s[k - 1]) for k in valid) / len(valid) if valid else 0.0


def valid_frames(inputs: RewardInput) -> list[int]:
    """Return the cited numbers of frames that exist, each once, in the order of citation."""
    cited = inputs.parsed.keyframes if inputs.parsed is not None else ()
    return [k for k in dict.fromkeys(cited) if 1 <= k <= len(inputs.timestamps_s)]


def think_transparency(inputs: RewardInput) -> float:
    """sin^2(pi * L), L the length of the thinking scaled to [0, 1]: 1 in the middle, 0 at both ends.

    Ours: reward.thinking_tokens = [least, most] tokens of thinking are scaled to [0, 1]. No thinking: 0.
    """
    least, most = inputs.config.thinking_tokens
    scaled = (inputs.num_thinking_tokens - least) / (most - least)
    return math.sin(math.pi * min(1.0, max(0.0, scaled))) ** 2


def anti_repetition(inputs: RewardInput) -> float:
    """-rho, rho the fraction of n-grams of the thinking that repeat an earlier one; in [-1, 0]."""
    thinking = inputs.parsed.thinking if inputs.parsed is not None else ""
    return -repetition(thinking, inputs.config.repetition_n)


def repetition(text: str, n: int) -> float:
    """Return 1 - distinct / all word n-grams; 0 for a text of fewer than n words.

    Ours: case folded, ASCII punctuation stripped from word ends, at most 8000 words; a text without spaces, or in
    a script that has none between words, is split into n-grams of six characters.
    """
    pieces = [stripped for word in text.casefold().split() if (stripped := word.strip(string.punctuation))]
    units: list[str] = pieces[:_MAX_WORDS]
    if len(pieces) == 1 or is_unspaced(text):
        units, n = list("".join(pieces)[:_MAX_WORDS]), _CHARACTER_GRAM
    grams = [tuple(units[i : i + n]) for i in range(len(units) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


REWARDS = {
    "frame_sensitive": frame_sensitive,
    "cited_evidence": cited_evidence,
    "think_transparency": think_transparency,
    "anti_repetition": anti_repetition,
}
COUNTS_TOKENS = ("think_transparency",)  # read num_thinking_tokens
