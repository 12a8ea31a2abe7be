"""The toy world: determinism, truths recomputed from decoded pixels, answers that depend on the order of time."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from vrl.data.dataset import check_media, read_samples
from vrl.errors import ConfigError
from vrl.tasks import TASKS
from vrl.tasks.task import Clip
from vrl.toyworld.questions import ask, captions
from vrl.toyworld.render import render
from vrl.toyworld.scene import FPS, FRAMES_PER_TICK, GREY, LEVELS, TICK_S, Phase, Scene, Thing, draw_scene
from vrl.toyworld.words import COLOURS, SHAPES
from vrl.toyworld.world import SPLITS, generate
from vrl.types import Sample

_BAR_ROWS = 10  # the white progress bar and the rows that compression smears it into


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("toy") / "world"
    generate(out, train=10, val=2, test=2, difficulty=0, seed=3, workers=2)
    return out


def _decode(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def _seen_colours(frames_THWC: np.ndarray) -> list[str]:
    """Return, for every tick, the colour that covers at least a tenth of its middle frame, or an empty string."""
    middles_KHWC = frames_THWC[FRAMES_PER_TICK // 2 :: FRAMES_PER_TICK, :-_BAR_ROWS].astype(int)
    found = []
    for frame_HWC in middles_KHWC:
        far_by_name = {name: np.abs(frame_HWC - rgb).max(axis=-1) for name, rgb in COLOURS.items()}
        cover = {name: float((far <= 40).mean()) for name, far in far_by_name.items()}
        best = max(cover, key=lambda name: cover[name])
        found.append(best if cover[best] > 0.1 else "")
    return found


def _solve(sample: Sample, seen: list[str]) -> str | list[tuple[float, float]] | None:
    """Return the answer for an easy clip (one shape) from the colours seen; None for a question about shapes."""
    present = [tick for tick, colour in enumerate(seen) if colour]
    if sample.task == "grounding":
        wanted = sample.question.rstrip("?").split()[-1]
        ticks = present if wanted == "visible" else [tick for tick in present if seen[tick] == wanted]
        return [(ticks[0] * TICK_S, (ticks[-1] + 1) * TICK_S)]
    if "How many colors" in sample.question:
        return str(len({seen[tick] for tick in present}))
    if "What color" in sample.question:
        colour = seen[present[-1]] if "vanishes" in sample.question else seen[present[0]]
        return chr(65 + sample.options.index(colour)) if sample.options else colour
    return None


def _rows(world: Path) -> Iterator[tuple[Sample, list[str]]]:
    seen = {}
    for sample in read_samples(world / "train.parquet"):
        path = sample.media[0].path
        if path not in seen:
            seen[path] = _seen_colours(_decode(world / path))
        yield sample, seen[path]


def test_answers_can_be_read_off_the_decoded_pixels(world: Path) -> None:
    solved = 0
    for sample, seen in _rows(world):
        truth = _solve(sample, seen)
        if sample.task == "grounding":
            assert truth == list(sample.spans), sample
        elif sample.task == "vqa":
            assert truth == sample.answer, sample
        solved += truth is not None
    assert solved > 40


def test_reversing_time_changes_some_answers_and_shuffling_moves_events(world: Path) -> None:
    changed_answers = changed_spans = 0
    for sample, seen in _rows(world):
        if sample.task == "vqa":
            changed_answers += _solve(sample, seen[::-1]) != sample.answer
        if sample.task == "grounding":
            shuffled = [seen[i] for i in np.random.default_rng(0).permutation(len(seen))]
            changed_spans += _solve(sample, shuffled) != list(sample.spans)
    assert changed_answers >= 5
    assert changed_spans >= 10


def _digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_same_seed_gives_the_same_bytes_for_any_number_of_workers(world: Path, tmp_path: Path) -> None:
    generate(tmp_path / "again", train=10, val=2, test=2, difficulty=0, seed=3, workers=1)
    assert _digests(tmp_path / "again") == _digests(world)
    generate(tmp_path / "other", train=10, val=2, test=2, difficulty=0, seed=4, workers=1)
    assert _digests(tmp_path / "other")["train.parquet"] != _digests(world)["train.parquet"]


def test_splits_share_no_clip(world: Path) -> None:
    clips = {split: {path.read_bytes() for path in (world / "clips" / split).iterdir()} for split in SPLITS}
    assert [len(clips[split]) for split in SPLITS] == [10, 2, 2]
    assert len(set().union(*clips.values())) == 14


def test_basic_files_hold_the_rows_that_ask_for_no_moment(world: Path) -> None:
    for split in SPLITS:
        rows = read_samples(world / f"{split}.parquet")
        basic = read_samples(world / f"{split}_basic.parquet")
        assert set(basic) < set(rows)
        assert {row.task for row in basic} <= {"vqa", "grounding"}
        for row in set(rows) - set(basic):
            assert "visible" not in row.question
            assert row.task != "vqa" or any(words in row.question for words in ("How many", "appears", "vanishes"))


def test_files_are_complete_and_valid(world: Path) -> None:
    for split in SPLITS:
        samples = read_samples(world / f"{split}.parquet")
        assert check_media(samples, world) == []
        assert {sample.media[0].path.split("/")[1] for sample in samples} == {split}
    with av.open(str(world / "clips/train/000000.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        times_s = [frame.time for frame in container.decode(video=0)]
    assert times_s == [i / FPS for i in range(64)]


def test_a_finished_world_is_kept_and_another_one_refused(world: Path) -> None:
    calls: list[tuple[int, int]] = []
    keep: dict[str, Any] = {"val": 2, "test": 2, "difficulty": 0, "seed": 3}
    generate(world, train=10, **keep, progress=lambda done, total: calls.append((done, total)))
    assert calls == []
    with pytest.raises(ConfigError, match="another world"):
        generate(world, train=11, **keep)


def test_an_interrupted_world_is_written_again(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "torn"
    (out / "clips" / "train").mkdir(parents=True)
    (out / "clips" / "train" / "000000.mp4").write_bytes(b"half a clip")
    calls: list[tuple[int, int]] = []
    generate(out, train=1, val=1, test=1, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert json.loads((out / "world.json").read_text())["train"] == 1
    assert len(_decode(out / "clips/train/000000.mp4")) == 64


def test_bad_arguments_are_all_named_and_foreign_folders_left_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        generate(tmp_path / "x", train=0, val=1, test=1, difficulty=5, seed=-1, workers=0)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["train", "difficulty", "seed", "workers"]
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigError, match=r"thesis\.tex"):
        generate(tmp_path, train=1, val=1, test=1)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def _thing(
    shape: str, *phases: tuple[int, int, str], xy: tuple[int, int] = (14, 14), to: tuple[int, int] | None = None
):
    return Thing(
        shape=shape,
        radius=5,
        phases=tuple(Phase(ticks=(first, end), colour=colour) for first, end, colour in phases),
        start_xy=xy,
        end_xy=to or xy,
    )


def _scene(*things: Thing, distractors: tuple[Thing, ...] = ()) -> Scene:
    palette = ("red", "green", "blue", "yellow")
    return Scene(side=56, ticks=8, palette=palette, things=things, distractors=distractors, noise=0, noise_seed=0)


def test_hand_made_scene_asks_for_the_right_moment() -> None:
    square = _thing("square", (0, 2, "red"), (2, 6, "blue"))
    circle = _thing("circle", (3, 5, "green"), xy=(42, 42))
    rows = ask(_scene(square, circle), clip_id="c", path="c.mp4", rng=np.random.default_rng(0))
    open_answers = {row.question: (row.answer, row.spans) for row in rows if row.answer_type in ("text", "number")}
    assert open_answers == {
        "How many colored shapes are there?": ("2", ((0.0, 3.0), (1.5, 2.5))),
        "How many colors does the square have?": ("2", ((0.0, 3.0),)),
        "How many colors does the circle have?": ("1", ((1.5, 2.5),)),
        "What color is the square when it appears?": ("red", ((0.0, 1.0),)),
        "What color is the square when it vanishes?": ("blue", ((1.0, 3.0),)),
        "What color is the square when the circle appears?": ("blue", ((1.5, 2.0),)),
        "What color is the circle?": ("green", ((1.5, 2.5),)),
    }
    events = {row.question: row.spans for row in rows if row.task == "grounding"}
    assert events == {
        "When is the square visible?": ((0.0, 3.0),),
        "When is the square red?": ((0.0, 1.0),),
        "When is the square blue?": ((1.0, 3.0),),
        "When is the circle visible?": ((1.5, 2.5),),
    }
    (elements,) = [row.key_elements for row in rows if row.task == "key_elements"]
    assert elements == ("red square", "blue square", "green circle")
    (first,) = [row for row in rows if row.question == "Which shape appears first?"]
    assert first.options[ord(first.answer) - 65] == "square"
    assert [(caption.start_s, caption.end_s, caption.text) for caption in rows[0].captions] == [
        (0.0, 1.0, "There is a red square."),
        (1.0, 1.5, "There is a blue square."),
        (1.5, 2.5, "There is a blue square and a green circle."),
        (2.5, 3.0, "There is a blue square."),
        (3.0, 4.0, "Nothing is visible."),
    ]


def test_visual_questions_carry_the_shapes_to_look_for() -> None:
    square = _thing("square", (0, 2, "red"), (2, 6, "blue"))
    circle = _thing("circle", (3, 5, "green"), xy=(42, 42))
    rows = ask(_scene(square, circle), clip_id="c", path="c.mp4", rng=np.random.default_rng(0))
    found = {row.question: row.key_elements for row in rows if row.task == "vqa"}
    assert found["What color is the circle?"] == ("circle",)
    assert found["What color is the square when the circle appears?"] == ("square", "circle")
    assert found["How many colored shapes are there?"] == SHAPES


def test_an_ambiguous_first_shape_is_not_asked_about() -> None:
    rows = ask(
        _scene(_thing("square", (1, 4, "red")), _thing("circle", (1, 6, "green"), xy=(42, 42))),
        clip_id="c",
        path="c.mp4",
        rng=np.random.default_rng(0),
    )
    assert not [row for row in rows if "first" in row.question]


def test_movement_is_drawn_and_asked_about() -> None:
    mover = _thing("square", (0, 8, "red"), xy=(6, 20), to=(46, 20))
    scene = _scene(mover)
    frames_THWC = render(scene)
    centres = []
    for frame_HWC in frames_THWC[[0, 16, 31]]:
        _, columns = np.nonzero((frame_HWC == COLOURS["red"]).all(axis=-1))
        centres.append((columns.min() + columns.max()) / 2)
    assert centres == [6, 26, 45]  # 6 + 40 * index / 32, rounded
    (way,) = [row for row in ask(scene, clip_id="c", path="p", rng=np.random.default_rng(0)) if "way" in row.question]
    assert way.options[ord(way.answer) - 65] == "right"


def test_things_hide_distractors_which_are_never_asked_about() -> None:
    square = _thing("square", (0, 8, "red"))
    hidden = _thing("circle", (0, 8, GREY))
    scene = _scene(square, distractors=(hidden,))
    assert (render(scene) == render(_scene(square))).all()
    assert captions(scene) == captions(_scene(square))
    aside = _thing("circle", (0, 8, GREY), xy=(40, 40))
    assert (render(_scene(square, distractors=(aside,))) != render(_scene(square))).any()


def test_background_tells_the_time() -> None:
    frames_THWC = render(_scene())
    brightness = frames_THWC[:, 0, 0, 0].astype(int)
    assert (np.diff(brightness) > 0).all()
    bar = (frames_THWC[:, -1, :, 0] == 255).sum(axis=1)
    assert bar[0] == 0
    assert bar[-1] == 56


def test_texture_stays_near_the_shade_and_still() -> None:
    plain = render(_scene())[:, :40].astype(int)
    textured = render(replace(_scene(), noise=6))[:, :40].astype(int)
    assert np.abs(textured - plain).max() == 6
    assert (textured[8] - plain[8] == textured[20] - plain[20]).all()


@pytest.mark.parametrize("difficulty", range(len(LEVELS)))
def test_every_level_draws_legal_scenes_and_rows_that_its_tasks_accept(difficulty: int) -> None:
    level = LEVELS[difficulty]
    kinds = set()
    for clip in range(10):
        rng = np.random.default_rng([difficulty, clip])
        scene = draw_scene(rng, difficulty)
        assert level.ticks[0] <= scene.ticks <= level.ticks[1]
        assert len({thing.shape for thing in scene.things}) == len(scene.things)
        for thing in scene.things:
            assert 0 <= thing.born < thing.gone <= scene.ticks
            lengths = [phase.ticks[1] - phase.ticks[0] for phase in thing.phases]
            assert len(lengths) == 1 or min(lengths) >= level.min_phase * level.grid
            assert all(tick % level.grid == 0 for phase in thing.phases for tick in phase.ticks)
            assert all(thing.radius <= c < scene.side - thing.radius for c in (*thing.start_xy, *thing.end_xy))
        empty = render(_only(scene))
        alone = sum((render(_only(scene, thing)) != empty).any(axis=-1).sum() for thing in scene.things)
        together = (render(_only(scene, *scene.things)) != empty).any(axis=-1).sum()
        assert alone == together, "two things overlap"
        for sample in ask(scene, clip_id=str(clip), path="x.mp4", rng=rng):
            kinds.add((sample.task, sample.answer_type))
            target = TASKS[sample.task].target(sample, Clip(duration_s=scene.duration_s))
            assert TASKS[sample.task].parse(target) is not None
            assert all(0 <= start < end <= scene.duration_s for start, end in sample.spans)
            if sample.answer_type == "choice":
                assert len(set(sample.options)) == len(sample.options) > ord(sample.answer) - 65
    assert kinds == {
        ("vqa", "number"),
        ("vqa", "text"),
        ("vqa", "choice"),
        ("grounding", "span"),
        ("key_elements", "elements"),
    }


def _only(scene: Scene, *things: Thing) -> Scene:
    return replace(scene, things=things, distractors=(), noise=0)
