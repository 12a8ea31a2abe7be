"""What a task is: the prompt prefix, the instruction, the target text and the parser of one kind of question.

A prefix ends without white space and is put after the assistant header; a target begins with one space after a prefix
and with none where the prefix is empty. That is the only place where the white space between them is decided, so cold
start, RL and evaluation tokenise the same text. Does not score anything: rewards read what `parse` found.
"""

from collections.abc import Callable
from dataclasses import dataclass

from vrl.types import Sample

EVENT_START = "<|event_start|>"
EVENT_END = "<|event_end|>"
_END_TOKENS = ("<|im_end|>", "<|endoftext|>")


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """What a task knows of the first clip of a sample."""

    duration_s: float  # 0 where the sample has no clip
    timestamps_s: tuple[float, ...] = ()  # of its sampled frames; frame number k, counted from 1, is [k - 1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """What a completion says. A task fills the fields it knows; the others keep their default."""

    answer: str = ""  # stripped, not normalised
    span_ratios: tuple[tuple[float, float], ...] = ()  # (start, end) as written, fractions of the clip's duration
    elements: tuple[str, ...] = ()
    thinking: str = ""  # the reasoning, stripped
    keyframes: tuple[int, ...] = ()  # cited frame numbers as written, ranges written out, repeats kept
    unreadable_keyframes: int = 0  # cited pieces that are no frame number
    tidy: bool = True  # nothing is outside the form: every block once, in order, no other text


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One kind of question. All functions are pure; `parse` takes any text in linear time and never raises."""

    name: str
    prefix: str  # assistant text that selects the task; may be empty; no white space at either end
    instruction: Callable[[Sample, Clip], str]  # user text next to the media
    target: Callable[[Sample, Clip], str]  # true text after the prefix, without end token
    parse: Callable[[str], Parsed | None]  # text after the prefix, special tokens kept; None: not this task's format
    well_formed: Callable[[Sample, Parsed], bool]  # what was parsed can be an answer to this very sample
    rewards: tuple[str, ...]  # default reward names, weight 1 each
    needs: tuple[str, ...]  # fields of a sample without which its rewards have no truth
    needs_clip: bool = False  # cannot be asked of images alone
    thinks: bool = False  # a completion holds reasoning before its answer, for a judge to read


def body(text: str) -> str:
    """The text before the first end token, without surrounding white space."""
    for token in _END_TOKENS:
        text = text.partition(token)[0]
    return text.strip()
