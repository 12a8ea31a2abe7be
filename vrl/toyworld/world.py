"""The toy world on disk: real H.264 clips and parquet files with questions about them.

    out/clips/<split>/000000.mp4 ...   out/<split>.parquet   out/<split>_basic.parquet   out/world.json
    out/<split>_cited.parquet   out/<split>_cited_basic.parquet

Splits are train, val and test. The basic files hold the rows that ask for no moment (`questions.is_basic`), the cited
files the rows that teach RLER's election (`cited`), made from all rows or from the basic ones.

`scene`, `render` and `questions` decide what happens, how it looks and what is asked; this file encodes, spreads the
work over processes and writes. Equal arguments give equal frames and equal parquet bytes.
"""

import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np

from vrl.data.dataset import write_parquet
from vrl.errors import ConfigError
from vrl.toyworld.cited import cited_rows
from vrl.toyworld.questions import ask, is_basic
from vrl.toyworld.render import render
from vrl.toyworld.scene import FPS, LEVELS, draw_scene
from vrl.types import Sample

SPLITS = ("train", "val", "test")

_MANIFEST = "world.json"
_WORLD_VERSION = 5  # raise it if the same seed gives other clips, other rows or another model
# Quality that preserves colours; a key frame every 4 s. Without zerolatency, x264's lookahead depends on uninitialised
# memory: about one clip in ten differed from run to run.
_ENCODER = {"crf": "14", "preset": "veryfast", "tune": "zerolatency", "g": "32"}
_CLIPS_PER_CALL = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """The parameters that determine a generated folder."""

    train: int  # clips
    val: int
    test: int
    difficulty: int  # index into LEVELS
    seed: int
    version: int = _WORLD_VERSION


def generate(
    out: Path,
    *,
    train: int,
    val: int,
    test: int,
    difficulty: int = 0,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write the clips of each split, and all rows about them, into the folder `out`.

    A folder that already holds this world is not changed. `progress` is called with (clips done, all clips).
    Raises ConfigError for numbers out of range and for a folder that holds anything else.
    """
    world = World(train=train, val=val, test=test, difficulty=difficulty, seed=seed)
    problems = _check(world, workers)
    if problems:
        raise ConfigError(*problems)
    if _is_complete(out, world):
        return
    clips = [(split, index) for split in SPLITS for index in range(getattr(world, split))]
    for split in SPLITS:
        (out / "clips" / split).mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    make = partial(_make_clip, out, difficulty, seed)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        made = zip(clips, pool.map(make, clips, chunksize=_CLIPS_PER_CALL), strict=True)
        for done, ((split, _), samples) in enumerate(made, start=1):
            rows[split] += samples
            progress(done, len(clips))
    for split in SPLITS:
        write_parquet(rows[split], out / f"{split}.parquet")
        basic = [sample for sample in rows[split] if is_basic(sample)]
        write_parquet(basic, out / f"{split}_basic.parquet")
        for name, asked in (("cited", rows[split]), ("cited_basic", basic)):
            cited = cited_rows(asked, np.random.default_rng([seed, SPLITS.index(split)]))
            write_parquet(cited, out / f"{split}_{name}.parquet")
    (out / _MANIFEST).write_text(json.dumps(asdict(world), indent=1) + "\n")  # last: marks the folder as complete


def encode(frames_THWC: np.ndarray, path: Path, fps: int) -> None:
    """Write uint8 RGB frames as an H.264 mp4 of constant frame rate; frame i is at i / fps seconds.

    Height and width must be even (4:2:0 chroma). Uses one thread, so that equal frames give equal bytes.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options=_ENCODER)
        stream.height, stream.width = frames_THWC.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        stream.time_base = Fraction(1, fps)
        for index, frame_HWC in enumerate(frames_THWC):
            frame = av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _make_clip(out: Path, difficulty: int, seed: int, clip: tuple[str, int]) -> tuple[Sample, ...]:
    """Draw, render and encode one clip. Its random state depends on the arguments, not on the process."""
    split, index = clip
    rng = np.random.default_rng([seed, difficulty, SPLITS.index(split), index])
    scene = draw_scene(rng, difficulty)
    path = f"clips/{split}/{index:06d}.mp4"
    encode(render(scene), out / path, FPS)
    return ask(scene, clip_id=f"{split}-{index:06d}", path=path, rng=rng)


def _check(world: World, workers: int) -> list[str]:
    problems = [
        f"{split}: got {count} clips, wanted at least 1" for split in SPLITS if (count := getattr(world, split)) < 1
    ]
    if not 0 <= world.difficulty < len(LEVELS):
        problems.append(f"difficulty: got {world.difficulty}, wanted 0 to {len(LEVELS) - 1}")
    if world.seed < 0:
        problems.append(f"seed: got {world.seed}, wanted at least 0")
    if workers < 1:
        problems.append(f"workers: got {workers}, wanted at least 1")
    return problems


def _is_complete(out: Path, world: World) -> bool:
    """Return whether the folder holds this world. An interrupted one (clips but no manifest) is written again.

    Raises ConfigError if it holds something else.
    """
    manifest = out / _MANIFEST
    if manifest.is_file():
        found = json.loads(manifest.read_text())
        if found == asdict(world):
            return True
        raise ConfigError(
            f"{out}: got a folder that holds another world ({found}), wanted a new folder or {asdict(world)}"
        )
    strange = (
        sorted(path.name for path in out.iterdir() if path.name not in ("clips", "model", "encoder"))
        if out.is_dir()
        else []
    )
    if [name for name in strange if name.removesuffix(".parquet").partition("_")[0] not in SPLITS]:
        raise ConfigError(f"{out}: got a folder that holds {', '.join(strange)}, wanted a new or empty one")
    return False
