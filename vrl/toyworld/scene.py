"""The events of a toy clip: a few things appear, change colour, move and vanish. Drawn from a seed, before rendering.

Time is counted in ticks of TICK_S seconds; every event starts and ends on a tick. Renders nothing, asks nothing.
"""

from dataclasses import dataclass

import numpy as np

from vrl.toyworld.words import COLOURS, SHAPES

TICK_S = 0.5
FRAMES_PER_TICK = 4
FPS = 8  # FRAMES_PER_TICK / TICK_S
GREY = "grey"  # the colour of distractors; no question asks about them


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """A stretch of a thing's life in one colour."""

    ticks: tuple[int, int]  # first, end
    colour: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """One shape and its life. A thing that does not move has equal `start_xy` and `end_xy`."""

    shape: str
    radius: int  # pixels, half of its extent
    phases: tuple[Phase, ...]  # in time order, without gaps
    start_xy: tuple[int, int]  # centre in pixels at `born`
    end_xy: tuple[int, int]  # centre in pixels at `gone`

    @property
    def born(self) -> int:
        """The tick at which the thing appears."""
        return self.phases[0].ticks[0]

    @property
    def gone(self) -> int:
        """The first tick after the thing vanished."""
        return self.phases[-1].ticks[1]

    @property
    def moves(self) -> bool:
        return self.start_xy != self.end_xy

    def colour_at(self, tick: int) -> str | None:
        """Return the thing's colour during this tick, or None if it is not visible."""
        return next((phase.colour for phase in self.phases if phase.ticks[0] <= tick < phase.ticks[1]), None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """All events of a clip. Things have different shapes, so a shape names a thing; distractors are small and grey."""

    side: int  # pixels, height and width
    ticks: int
    palette: tuple[str, ...]  # the colours that a thing could have
    things: tuple[Thing, ...]
    distractors: tuple[Thing, ...]
    noise: int  # largest change of a background pixel
    noise_seed: int

    @property
    def duration_s(self) -> float:
        return self.ticks * TICK_S

    @property
    def num_frames(self) -> int:
        return self.ticks * FRAMES_PER_TICK


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """The parameters of one difficulty. Pairs are (least, most)."""

    side: int
    cell: int  # pixels along a place or across a lane, each used by one thing
    radius: int
    ticks: tuple[int, int]
    grid: int  # ticks: every edge is a multiple of it
    life: tuple[int, int]  # of a thing, in steps of the grid
    min_phase: int  # in steps of the grid, of either colour if there are two
    things: tuple[int, int]
    colours: int
    distractors: int
    noise: int
    motion: bool


# fmt: off
LEVELS = (
    Level(side=56, cell=56, radius=18, ticks=(16, 16), grid=4, life=(1, 2), min_phase=1, things=(1, 1), colours=4,
          distractors=0, noise=0, motion=False),
    Level(side=84, cell=28, radius=11, ticks=(16, 24), grid=1, life=(4, 14), min_phase=3, things=(2, 3), colours=5,
          distractors=1, noise=6, motion=False),
    Level(side=112, cell=28, radius=11, ticks=(24, 32), grid=1, life=(4, 20), min_phase=2, things=(2, 4), colours=6,
          distractors=2, noise=10, motion=True),
    Level(side=112, cell=28, radius=11, ticks=(32, 48), grid=1, life=(4, 28), min_phase=2, things=(3, 4), colours=8,
          distractors=4, noise=16, motion=True),
    # Easy to see and hard to find: a shape for half a second to twelve seconds, in half a minute of nothing else.
    Level(side=56, cell=56, radius=18, ticks=(64, 64), grid=1, life=(1, 24), min_phase=24, things=(1, 1), colours=4,
          distractors=0, noise=0, motion=False),
)
# fmt: on


def draw_scene(rng: np.random.Generator, difficulty: int) -> Scene:
    """Draw a random scene of a level. Equal generator states give equal scenes."""
    level = LEVELS[difficulty]
    ticks = int(rng.integers(level.ticks[0], level.ticks[1] + 1))
    count = int(rng.integers(level.things[0], level.things[1] + 1))
    shapes = [SHAPES[i] for i in rng.permutation(len(SHAPES))[:count]]
    routes = _routes(rng, level, count)
    things = tuple(_draw_thing(rng, level, ticks, shape, route) for shape, route in zip(shapes, routes, strict=True))
    distractors = tuple(_draw_distractor(rng, level, ticks) for _ in range(level.distractors))
    return Scene(
        side=level.side,
        ticks=ticks,
        palette=_palette(level),
        things=things,
        distractors=distractors,
        noise=level.noise,
        noise_seed=int(rng.integers(2**31)),
    )


def _palette(level: Level) -> tuple[str, ...]:
    return tuple(COLOURS)[: level.colours]


def _draw_thing(
    rng: np.random.Generator, level: Level, ticks: int, shape: str, route: tuple[tuple[int, int], tuple[int, int]]
) -> Thing:
    return Thing(
        shape=shape,
        radius=level.radius,
        phases=_draw_phases(rng, level, _draw_life(rng, level, ticks)),
        start_xy=route[0],
        end_xy=route[1],
    )


def _draw_phases(rng: np.random.Generator, level: Level, life: tuple[int, int]) -> tuple[Phase, ...]:
    """Draw one colour or two; mostly two if the life is long enough."""
    palette = _palette(level)
    first, second = (palette[i] for i in rng.permutation(len(palette))[:2])
    steps = (life[1] - life[0]) // level.grid
    if steps < 2 * level.min_phase or rng.random() < 0.3:
        return (Phase(ticks=life, colour=first),)
    change = life[0] + level.grid * int(rng.integers(level.min_phase, steps - level.min_phase + 1))
    return (Phase(ticks=(life[0], change), colour=first), Phase(ticks=(change, life[1]), colour=second))


def _draw_distractor(rng: np.random.Generator, level: Level, ticks: int) -> Thing:
    x, y = (int(value) for value in rng.integers(4, level.side - 8, size=2))
    return Thing(
        shape=SHAPES[int(rng.integers(len(SHAPES)))],
        radius=3,
        phases=(Phase(ticks=_draw_life(rng, level, ticks), colour=GREY),),
        start_xy=(x, y),
        end_xy=(x, y),
    )


def _draw_life(rng: np.random.Generator, level: Level, ticks: int) -> tuple[int, int]:
    """Draw a length that the level allows, then a place in the clip, each uniformly."""
    length = int(rng.integers(level.life[0], level.life[1] + 1))
    born = int(rng.integers(ticks // level.grid - length + 1))
    return born * level.grid, (born + length) * level.grid


def _routes(rng: np.random.Generator, level: Level, count: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Draw where each thing starts and ends: in its own cell, or at the two ends of its own lane."""
    cells = level.side // level.cell
    half = level.cell // 2
    if level.motion:
        ends = (half, level.side - half)
        lanes = [int(lane) * level.cell + half for lane in rng.permutation(cells)[:count]]
        ways = [ends if rng.random() < 0.5 else ends[::-1] for _ in lanes]
        return [((start, y), (end, y)) for y, (start, end) in zip(lanes, ways, strict=True)]
    chosen = [divmod(int(cell), cells) for cell in rng.permutation(cells * cells)[:count]]
    reach = half - level.radius - 1
    jitter = rng.integers(-reach, reach + 1, size=(count, 2)).tolist()
    places = [
        (column * level.cell + half + dx, row * level.cell + half + dy)
        for (row, column), (dx, dy) in zip(chosen, jitter, strict=True)
    ]
    return [(place, place) for place in places]
