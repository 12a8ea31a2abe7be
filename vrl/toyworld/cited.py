"""Rows that teach a toy model RLER's election: answers with citations, and a referee's verdicts on them.

Repeats every question about a colour as the task think_keyframes, and adds two verdicts to each, a yes and a no, on a
few frames that a completion might cite. Works on rows, never on pixels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from vrl.tasks.referee import NO, YES, answer_words, referee_sample
from vrl.toyworld.scene import TICK_S
from vrl.toyworld.words import COLOURS
from vrl.types import Sample

_LENGTHS = (2, 4, 6)  # ticks, which are frames at 2 fps; even, since frames are merged in pairs
_COLOURS = tuple(COLOURS)[:4]  # of the easy levels
# Fraction of the noes whose frames do not show the shape. That case is learnt early; with half of the noes of that kind
# the tiny model keeps saying yes to every colour, so most noes claim a wrong colour of a visible shape.
_ELSEWHERE = 0.15


def cited_rows(samples: Sequence[Sample], rng: np.random.Generator) -> list[Sample]:
    """Return the rows made from the colour questions in `samples`, which have one span each; ids get a suffix."""
    rows: list[Sample] = []
    for sample in samples:
        if sample.task == "vqa" and answer_words(sample, sample.answer) in COLOURS:
            rows.append(replace(sample, sample_id=f"{sample.sample_id}-cited", task="think_keyframes"))
            rows += _verdicts(sample, rng)
    return rows


def _verdicts(sample: Sample, rng: np.random.Generator) -> Iterator[Sample]:
    """Yield a yes (the true colour, on frames that show it) and a no (another colour, or frames that do not)."""
    length, true = int(rng.choice(_LENGTHS)), answer_words(sample, sample.answer)
    yield _verdict(sample, "yes", true, YES, _windows(sample, length, shows=True), length, rng)
    elsewhere = _windows(sample, length, shows=False)
    if elsewhere and rng.random() < _ELSEWHERE:
        yield _verdict(sample, "elsewhere", true, NO, elsewhere, length, rng)
    else:
        others = [colour for colour in _COLOURS if colour != true]
        wrong = others[int(rng.integers(len(others)))]
        yield _verdict(sample, "wrong", wrong, NO, _windows(sample, length, shows=True), length, rng)


def _windows(sample: Sample, length: int, *, shows: bool) -> list[int]:
    """Return the first ticks of all windows of `length` ticks that overlap the span, or of those that do not."""
    ((start_s, end_s),) = sample.spans
    ticks = round(sample.captions[-1].end_s / TICK_S)  # captions cover the clip
    first, end = round(start_s / TICK_S), round(end_s / TICK_S)
    return [tick for tick in range(ticks - length + 1) if (tick < end and first < tick + length) == shows]


def _verdict(
    sample: Sample, name: str, answer: str, verdict: str, starts: Sequence[int], length: int, rng: np.random.Generator
) -> Sample:
    """Return the referee's row on `length` ticks from a randomly drawn start."""
    start_s = starts[int(rng.integers(len(starts)))] * TICK_S
    row = referee_sample(sample, answer, verdict=verdict)
    cut = replace(row.media[0], start_s=start_s, end_s=start_s + length * TICK_S)
    return replace(row, sample_id=f"{sample.sample_id}-{name}", media=(cut,), source="toyworld/referee")
