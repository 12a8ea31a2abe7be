"""A judge without a model, which finds times and conclusions by pattern. For tests and the toy world.

Our definition throughout. It understands only `00:02 a red ball appears.` and `So the answer is B.`
"""

import re

from vrl.reward.accuracy import same_number
from vrl.reward.inputs import Claim
from vrl.tasks.answer import choice_letter
from vrl.tasks.clock import mentions
from vrl.tasks.normal_form import normalise
from vrl.types import Sample

_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|[\n;]")
_CONCLUDES = re.compile(r"\banswer(?: is|:) ?", re.IGNORECASE)
_MAX_CLAIMS = 64  # of one completion
_FULL_MARKS = 4  # sentences with a time that score 1


class RuleJudge:
    """A `Judge` that never fails."""

    async def claims(self, thinking: str) -> tuple[Claim, ...]:
        """Return, for every sentence that names a time, its first time and its words without times."""
        found = []
        for sentence in _sentences(thinking):
            times = mentions(sentence)
            if times:
                cuts = [0, *(edge for time in times for edge in (time.start, time.end)), len(sentence)]
                text = "".join(sentence[start:end] for start, end in zip(cuts[::2], cuts[1::2], strict=True))
                found.append(Claim(start_s=times[0].start_s, end_s=times[0].end_s, text=" ".join(text.split())))
            if len(found) == _MAX_CLAIMS:
                break
        return tuple(found)

    async def agrees(self, sample: Sample, thinking: str, answer: str) -> bool:
        """Return whether conclusion and answer are the same letter, number or words, by the answer type."""
        return _alike(sample, await self.conclusion(sample, thinking), answer)

    async def conclusion(self, sample: Sample, thinking: str) -> str:
        """Return the text after the last `answer is` or `answer:`, to the end of the sentence."""
        found = list(_CONCLUDES.finditer(thinking))
        return _sentences(thinking[found[-1].end() :])[0].strip() if found else ""

    async def visual(self, sample: Sample, thinking: str) -> float:
        """Return 0.25 per sentence that names a time, at most 1."""
        return min(1.0, len(await self.claims(thinking)) / _FULL_MARKS)

    async def same(self, sample: Sample, answer: str) -> bool:
        """Return whether the answer is the same letter, number or words as the true one, by the answer type."""
        return _alike(sample, answer, sample.answer)


def _alike(sample: Sample, first: str, second: str) -> bool:
    """Return whether two answers to the sample are the same letter, number or words."""
    if sample.answer_type == "choice":
        letter = choice_letter(second, sample.options)
        return letter is not None and choice_letter(first, sample.options) == letter
    if sample.answer_type in ("number", "regression"):
        return same_number(first, second)
    return bool(first) and normalise(first) == normalise(second)


def _sentences(text: str) -> list[str]:
    return _SENTENCE_END.split(text)
