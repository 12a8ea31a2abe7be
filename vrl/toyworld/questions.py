"""Questions about a toy scene and their true answers: dataset rows of the tasks vqa, grounding and key_elements.

Works on the scene, never on pixels. Every row of the task vqa has the spans in which its answer is visible and the key
elements that it names; the `source` of a row is `toyworld/<kind of question>`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from vrl.toyworld.scene import TICK_S, Scene, Thing
from vrl.toyworld.words import (
    COLOUR_FIRST,
    COLOUR_LAST,
    COLOUR_WHILE,
    DIRECTIONS,
    HOW_MANY,
    HOW_MANY_COLOURS,
    LIST_ALL,
    NOTHING,
    SEEN,
    SHAPES,
    WHAT_COLOUR,
    WHEN_COLOUR,
    WHEN_VISIBLE,
    WHICH_FIRST,
    WHICH_WAY,
)
from vrl.types import Caption, Media, Sample

SOURCE = "toyworld"
_BASIC = (f"{SOURCE}/colour", f"{SOURCE}/visible")

_MAX_OPTIONS = 4


def ask(scene: Scene, *, clip_id: str, path: str, rng: np.random.Generator) -> tuple[Sample, ...]:
    """Return all rows of the clip at `path`: visual questions, events and elements."""
    sentences, elements = captions(scene), _elements(scene)
    visual = [replace(row, key_elements=_named(row.question)) for row in _visual_questions(scene, rng)]
    rows = (*visual, *_events(scene), elements)
    return tuple(
        replace(row, sample_id=f"{clip_id}-{number:02d}", media=(Media(kind="video", path=path),), captions=sentences)
        for number, row in enumerate(rows)
    )


def is_basic(sample: Sample) -> bool:
    """Return whether this is an easy question: the colour of a shape with only one, or when a shape is visible."""
    return sample.source in _BASIC


def captions(scene: Scene) -> tuple[Caption, ...]:
    """Return one sentence for every stretch of time in which the visible things do not change."""
    edges = {0, scene.ticks} | {edge for thing in scene.things for phase in thing.phases for edge in phase.ticks}
    ticks = sorted(edges)
    found = []
    for first, end in pairwise(ticks):
        seen = [
            f"{_article(colour)} {colour} {thing.shape}" for thing in scene.things if (colour := thing.colour_at(first))
        ]
        text = SEEN.format(things=" and ".join(seen)) if seen else NOTHING
        found.append(Caption(start_s=first * TICK_S, end_s=end * TICK_S, text=text))
    return tuple(found)


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _visual_questions(scene: Scene, rng: np.random.Generator) -> Iterator[Sample]:
    lives = [(thing.born, thing.gone) for thing in scene.things]
    if len(scene.things) > 1:
        yield _vqa("shapes", HOW_MANY, str(len(scene.things)), "number", lives)
    for thing in scene.things:
        yield from _about_one(scene, thing, rng)
        for other in scene.things:
            yield from _about_two(scene, thing, other, rng)
    births = sorted((thing.born, thing.shape) for thing in scene.things)
    if len(births) > 1 and births[0][0] < births[1][0]:
        yield _choice("first_shape", WHICH_FIRST, births[0][1], SHAPES, [(births[0][0], births[1][0])], rng)


def _about_one(scene: Scene, thing: Thing, rng: np.random.Generator) -> Iterator[Sample]:
    first, last = thing.phases[0], thing.phases[-1]
    yield _vqa(
        "colours",
        HOW_MANY_COLOURS.format(shape=thing.shape),
        str(len(thing.phases)),
        "number",
        [(thing.born, thing.gone)],
    )
    if first is last:
        yield from _colour("colour", WHAT_COLOUR.format(shape=thing.shape), first.colour, first.ticks, scene, rng)
    else:
        yield from _colour(
            "first_colour", COLOUR_FIRST.format(shape=thing.shape), first.colour, first.ticks, scene, rng
        )
        yield from _colour("last_colour", COLOUR_LAST.format(shape=thing.shape), last.colour, last.ticks, scene, rng)
    if thing.moves:
        way = DIRECTIONS[thing.end_xy[0] > thing.start_xy[0]]
        yield _choice(
            "direction", WHICH_WAY.format(shape=thing.shape), way, DIRECTIONS, [(thing.born, thing.gone)], rng
        )


def _about_two(scene: Scene, thing: Thing, other: Thing, rng: np.random.Generator) -> Iterator[Sample]:
    """Ask for the colour at a moment, of a thing that changes it: the moment has to be found first."""
    colour = thing.colour_at(other.born)
    if other is not thing and colour and len(thing.phases) > 1:
        question = COLOUR_WHILE.format(shape=thing.shape, other=other.shape)
        yield from _colour("colour_while", question, colour, (other.born, other.born + 1), scene, rng)


def _events(scene: Scene) -> Iterator[Sample]:
    for thing in scene.things:
        yield _event("visible", WHEN_VISIBLE.format(shape=thing.shape), (thing.born, thing.gone))
        if len(thing.phases) > 1:
            for phase in thing.phases:
                yield _event("colour_event", WHEN_COLOUR.format(shape=thing.shape, colour=phase.colour), phase.ticks)


def _elements(scene: Scene) -> Sample:
    things = sorted(scene.things, key=lambda thing: thing.born)
    return Sample(
        sample_id="",
        task="key_elements",
        question=LIST_ALL,
        answer_type="elements",
        key_elements=tuple(f"{phase.colour} {thing.shape}" for thing in things for phase in thing.phases),
        spans=_seconds((thing.born, thing.gone) for thing in things),
        source=f"{SOURCE}/elements",
    )


def _named(question: str) -> tuple[str, ...]:
    """Return the shapes that a question names, in its order, or all shapes if it names none."""
    named = [shape for shape in SHAPES if shape in question]
    return tuple(sorted(named, key=question.index)) or SHAPES


def _event(kind: str, question: str, ticks: tuple[int, int]) -> Sample:
    return replace(_vqa(kind, question, "", "span", [ticks]), task="grounding")


def _colour(
    kind: str, question: str, colour: str, ticks: tuple[int, int], scene: Scene, rng: np.random.Generator
) -> Iterator[Sample]:
    """Yield the same question twice: open, and with options."""
    yield _vqa(kind, question, colour, "text", [ticks])
    yield _choice(kind, question, colour, scene.palette, [ticks], rng)


def _choice(
    kind: str,
    question: str,
    answer: str,
    choices: Sequence[str],
    ticks: Sequence[tuple[int, int]],
    rng: np.random.Generator,
) -> Sample:
    """Ask with at most four options, the right one included: all choices in order, or some in random order."""
    options = list(choices)
    if len(options) > _MAX_OPTIONS:
        wrong = [choice for choice in choices if choice != answer]
        options = [answer, *(wrong[i] for i in rng.permutation(len(wrong))[: _MAX_OPTIONS - 1])]
        options = [options[i] for i in rng.permutation(len(options))]
    return replace(_vqa(kind, question, chr(65 + options.index(answer)), "choice", ticks), options=tuple(options))


def _vqa(kind: str, question: str, answer: str, answer_type: str, ticks: Sequence[tuple[int, int]]) -> Sample:
    return Sample(
        sample_id="",
        task="vqa",
        question=question,
        answer=answer,
        answer_type=answer_type,
        spans=_seconds(ticks),
        source=f"{SOURCE}/{kind}",
    )


def _seconds(ticks: Iterable[tuple[int, int]]) -> tuple[tuple[float, float], ...]:
    return tuple((first * TICK_S, end * TICK_S) for first, end in sorted(ticks))
