"""`vrl toy`: the toy world in one folder: clips, train / val / test rows, and a tiny model with random weights."""

import time
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from vrl.toyworld.model import build_toy_model
from vrl.toyworld.world import generate

_DEMO_CLIPS = 1000
_HELD_OUT = 8  # training clips per validation clip, and per test clip


def make_toy(out: Path, *, clips: int, difficulty: int, seed: int, workers: int) -> None:
    """Write `out/{train,val,test}.parquet`, `out/clips/` and `out/model/`; `clips` = 0: as many as the demo needs.

    Equal arguments give equal files, and a folder that already holds them is not changed. Raises ConfigError for a
    folder that holds something else.
    """
    train = clips or _DEMO_CLIPS
    held_out = max(1, train // _HELD_OUT)
    started = time.monotonic()
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("clips", total=None)
        generate(
            out,
            train=train,
            val=held_out,
            test=held_out,
            difficulty=difficulty,
            seed=seed,
            workers=workers,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    if not (out / "model" / "config.json").is_file():
        build_toy_model(out / "model", seed)
    took = time.monotonic() - started
    console.print(f"{out}: {train + 2 * held_out} clips and a tiny Qwen2-VL in {took:.1f} s", highlight=False)
