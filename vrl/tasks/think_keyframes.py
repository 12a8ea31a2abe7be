"""Think, cite the frames that show it, then answer: the form of RLER.

    <think> ... </think><keyframes>[3, 4]</keyframes><answer>B</answer>

RLER's tags are known from notes on the paper; the order, the numbers counted from 1 over the sampled frames and the
wording are our definition. Numbers are read with or without brackets, with any separator, and `3-5` is 3, 4, 5.
"""

import re

from vrl.errors import DataError
from vrl.tasks import think
from vrl.tasks.answer import is_answer, question, true_answer
from vrl.tasks.event import true_spans
from vrl.tasks.tags import block, is_sequence, refuse_tags, split_thoughts, wrap
from vrl.tasks.task import Clip, Parsed, Task, body
from vrl.types import Sample

TAGS = ("think", "keyframes", "answer")
CITE = "Between both, cite the frames that show it between <keyframes> and </keyframes>, as [3, 4]."
_CITED = 4  # at most, in a target
_MAX_PIECES = 256  # per completion
_MAX_RANGE = 64  # frames; a longer range is unreadable
_PIECE = re.compile(r"[^\s,;\[\](){}]+")
_NUMBERS = re.compile(r"(\d{1,6})(?:[-\u2013](\d{1,6}))?")


def instruction(sample: Sample, clip: Clip) -> str:
    """Return the question, the number and spacing of frames, and the answer's form. Raises DataError without a clip."""
    count = len(clip.timestamps_s)
    if not count:
        raise DataError(f"sample {sample.sample_id}: got no clip, wanted one (task {sample.task})", reason="media")
    frames = f"The video is shown as {count} frames, 1 to {count}, one every {clip.duration_s / count:.2f} seconds."
    return f"{question(sample)}\n{frames}\n{think.THINK_FIRST} {CITE}"


def target(sample: Sample, clip: Clip) -> str:
    """Return thinking, up to four frames of the true spans, and answer. Raises DataError if one is missing."""
    thoughts = think.thinking(sample, [caption.text for caption in sample.captions])
    cited = ", ".join(str(number) for number in evidence_frames(sample, clip))
    answer = true_answer(sample)
    inside = (thoughts, f"[{cited}]", answer)
    return "".join(wrap(tag, refuse_tags(sample, text, TAGS)) for tag, text in zip(TAGS, inside, strict=True))


def evidence_frames(sample: Sample, clip: Clip) -> list[int]:
    """Return the numbers of up to four frames spread evenly over the true spans, or of the nearest frame if none fits.

    Our definition. Raises DataError without spans or a clip.
    """
    if not sample.spans or not clip.timestamps_s:
        raise DataError(
            f"sample {sample.sample_id}: got {len(sample.spans)} spans and {len(clip.timestamps_s)} frames, wanted "
            f"some of both to cite frames from (task {sample.task})",
            reason="spans",
        )
    spans = true_spans(sample, clip.duration_s)
    inside = [k for k, time_s in enumerate(clip.timestamps_s, start=1) if in_spans(sample, time_s)]
    if not inside:
        middle_s = sum(spans[0]) / 2
        inside = [1 + min(range(len(clip.timestamps_s)), key=lambda k: abs(clip.timestamps_s[k] - middle_s))]
    count = min(_CITED, len(inside))
    return [inside[(2 * i + 1) * len(inside) // (2 * count)] for i in range(count)]


def in_spans(sample: Sample, time_s: float) -> bool:
    """Return whether a true span contains this moment."""
    return any(start_s <= time_s < end_s for start_s, end_s in sample.spans)


def parse(text: str) -> Parsed | None:
    """Return thinking, then cited frames and answer in either order; None without an answer."""
    whole = body(text)
    thoughts, rest = split_thoughts(whole)
    answer = block(rest, "answer")
    if not answer:
        return None
    keyframes, unreadable = _read_frames(block(rest, "keyframes") or "")
    return Parsed(
        answer=answer,
        thinking=thoughts,
        keyframes=keyframes,
        unreadable_keyframes=unreadable,
        tidy=is_sequence(whole, TAGS) or is_sequence(whole, ("think", "answer", "keyframes")),
    )


def _read_frames(text: str) -> tuple[tuple[int, ...], int]:
    numbers: list[int] = []
    unreadable = 0
    for count, piece in enumerate(_PIECE.finditer(text)):
        if count == _MAX_PIECES:
            unreadable += 1
            break
        written = _NUMBERS.fullmatch(piece[0])
        first = int(written[1]) if written else 0
        last = int(written[2] or written[1]) if written else -1
        if 0 <= last - first < _MAX_RANGE:
            numbers += range(first, last + 1)
        else:
            unreadable += 1
    return tuple(numbers), unreadable


def well_formed(sample: Sample, parsed: Parsed) -> bool:
    """Return whether the text is just the three blocks, with thinking, cited frames and an answer to the sample."""
    cites = bool(parsed.keyframes) and not parsed.unreadable_keyframes
    return parsed.tidy and bool(parsed.thinking) and cites and is_answer(sample, parsed.answer)


TASK = Task(
    name="think_keyframes",
    prefix="",
    instruction=instruction,
    target=target,
    parse=parse,
    well_formed=well_formed,
    rewards=("accuracy", "format", "frame_sensitive", "think_transparency", "anti_repetition"),
    needs_clip=True,
    needs=("answer",),
    thinks=True,
)
