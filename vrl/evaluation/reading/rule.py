"""What a rule of reading is: how a benchmark's authors find the answer in a reply that is not in a fixed form.

Rules change scores only. Training, the votes of strategies and their evidence read strictly (vrl.tasks.answer).
"""

from collections.abc import Callable
from dataclasses import dataclass

from vrl.reward.inputs import RewardInput
from vrl.tasks.tags import split_thoughts
from vrl.tasks.task import body
from vrl.types import Sample

LMMS_EVAL = "mbzuai-oryx/Video-R2, eval/lmms-eval/lmms_eval/tasks"  # the copy of lmms-eval behind its numbers

Reader = Callable[[str, Sample], str]
"""Returns the answer that a reply gives, as strict reading knows it (a letter, digits, text); empty for none."""


def as_written(reply: str, sample: Sample) -> str:
    """Return the whole reply."""
    return reply


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplyRule:
    """How replies are read, by the type of the answer. An empty answer is wrong: no rule guesses."""

    source: str  # repository and file that publish it
    choice: Reader = as_written
    number: Reader = as_written  # also of regression
    words: Reader = as_written  # of text, ocr and free answers
    same: Callable[[str, str], bool] | None = None  # (reply, truth): are words right? None: as vrl.reward.accuracy says

    def read(self, reply: str, sample: Sample) -> str:
        """Return the answer that a reply gives, empty for none."""
        if sample.answer_type == "choice":
            return self.choice(reply, sample)
        return (self.number if sample.answer_type in ("number", "regression") else self.words)(reply, sample)


def reply_of(inputs: RewardInput) -> str:
    """Return the part of a completion that answers: what its task parses or, if it cannot, all that is no thinking.

    Empty if the completion ends within its thinking. lmms-eval reads such a completion whole, which is a guess.
    """
    if inputs.parsed is not None:
        return inputs.parsed.answer
    return split_thoughts(body(inputs.text))[1].strip()
