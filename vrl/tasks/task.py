"""What a task is: the prompt prefix, the instruction, the target text and the parser of one kind of question.

A prefix ends without white space and is put after the assistant header; every target begins with one space. That is the
only place where the white space between them is decided, so cold start, RL and evaluation tokenise the same text.
Does not score anything: rewards read what `parse` found.
"""

from collections.abc import Callable
from dataclasses import dataclass

from vrl.types import Sample

EVENT_START = "<|event_start|>"
EVENT_END = "<|event_end|>"
_END_TOKENS = ("<|im_end|>", "<|endoftext|>")


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """What a completion says. A task fills the fields it knows; the others keep their empty default."""

    answer: str = ""  # stripped, not normalised
    span_ratios: tuple[tuple[float, float], ...] = ()  # (start, end) as written, fractions of the clip's duration
    elements: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One kind of question. All functions are pure; `parse` takes any text in linear time and never raises."""

    name: str
    prefix: str  # assistant text that selects the task; no white space at either end
    instruction: Callable[[Sample], str]  # user text beside the media
    target: Callable[[Sample, float], str]  # (sample, duration_s) -> true text after the prefix, without end token
    parse: Callable[[str], Parsed | None]  # text after the prefix, special tokens kept; None: not this task's format
    well_formed: Callable[[Sample, Parsed], bool]  # what was parsed can be an answer to this very sample
    rewards: tuple[str, ...]  # default reward names, weight 1 each


def body(text: str) -> str:
    """The text before the first end token, without surrounding white space."""
    for token in _END_TOKENS:
        text = text.partition(token)[0]
    return text.strip()
