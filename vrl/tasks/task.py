"""The definition of a task: prompt prefix, instruction, target text and parser of one kind of question.

A prefix ends without white space and follows the assistant header; a target begins with one space, or with none if the
prefix is empty. Nothing else adds white space between them, so cold start, RL and evaluation tokenise the same text.
Does not score anything: rewards read the result of `parse`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from vrl.types import Sample

EVENT_START = "<|event_start|>"
EVENT_END = "<|event_end|>"
_END_TOKENS = ("<|im_end|>", "<|endoftext|>")


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """Times and subtitles of the first clip of a sample, which instructions and targets may use."""

    duration_s: float  # 0 if the sample has no clip
    timestamps_s: tuple[float, ...] = ()  # of its sampled frames; frame number k, counted from 1, is [k - 1]
    subtitles: tuple[str, ...] = ()  # cues that overlap the clip, in order; read only for a template that shows them


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """The parts of a parsed completion. A task fills the fields it knows; the others keep their default."""

    answer: str = ""  # stripped, not normalised
    span_ratios: tuple[tuple[float, float], ...] = ()  # (start, end) as written, fractions of the clip's duration
    span_seconds: tuple[tuple[float, float], ...] = ()  # (start, end) as written, in tasks that answer in seconds
    elements: tuple[str, ...] = ()
    thinking: str = ""  # the reasoning, stripped
    keyframes: tuple[int, ...] = ()  # cited frame numbers as written, ranges written out, repeats kept
    unreadable_keyframes: int = 0  # cited pieces that are not frame numbers
    tidy: bool = True  # every block once, in order, no other text

    def events(self, duration_s: float) -> tuple[tuple[float, float], ...]:
        """Return the written spans as fractions of a clip of `duration_s` seconds; none of those in seconds if 0."""
        seconds = self.span_seconds if duration_s else ()
        return (*self.span_ratios, *((start / duration_s, end / duration_s) for start, end in seconds))


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One kind of question. All functions are pure; `parse` takes any text in linear time and never raises."""

    name: str
    prefix: str  # assistant text that selects the task; may be empty; no white space at either end
    instruction: Callable[[Sample, Clip], str]  # user text next to the media
    target: Callable[[Sample, Clip], str]  # true text after the prefix, without end token
    parse: Callable[[str], Parsed | None]  # text after the prefix, special tokens kept; None: not this task's format
    well_formed: Callable[[Sample, Parsed], bool]  # the parsed parts can answer this sample
    rewards: tuple[str, ...]  # default reward names, weight 1 each
    needs: tuple[str, ...]  # fields of a sample that its rewards need as truth
    needs_clip: bool = False  # cannot be asked of images only
    thinks: bool = False  # completions contain reasoning, which a judge may read


def body(text: str) -> str:
    """Return the text before the first end token, without surrounding white space."""
    for token in _END_TOKENS:
        text = text.partition(token)[0]
    return text.strip()
