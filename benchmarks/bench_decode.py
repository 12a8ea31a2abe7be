"""Decoding: our frames per second over raw decord's on intact files, and the cache against decoding.

    python benchmarks/bench_decode.py [clips=1] [repeats=5] [frames=32]

Clips are generated (H.264 that decord decodes correctly) in several sizes and keyframe distances. Both sides reopen
each file and take the same uniform frames; ours adds safety: the probe, selection by time, the process hop.
`decord_ratio` is the median over clips and repeats of raw time over ours, pair by pair.
`cache_speedup` is a data worker's second epoch over its first, prompts and processor included, in the median of pairs;
`decodes_over_clips` is 1 when no clip was decoded twice.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import decord
import numpy as np
from record import emit

from vrl.config import CacheConfig, DataConfig, FrameConfig, ModelConfig
from vrl.data.decode.process import DecodeProcess
from vrl.data.decode.sampling import choose_frames
from vrl.data.decode.video import probe
from vrl.data.worker import DataWorker
from vrl.toyworld.model import build_family
from vrl.types import Media, Sample

SHAPES = ((640, 360, 30, 10), (1280, 720, 30, 3), (640, 360, 250, 10))  # width, height, frames per keyframe, seconds
RATE = 30


def main(overrides: list[str]) -> None:
    """Run the benchmark and print its record."""
    config = {"clips": 1, "repeats": 5, "frames": 32} | {k: int(v) for k, v in (o.split("=") for o in overrides)}
    with tempfile.TemporaryDirectory(prefix="vrl-bench-") as folder:
        paths = [
            write_clip(Path(folder) / f"{i}-{copy}.mp4", *shape, seed=copy)
            for copy in range(config["clips"])
            for i, shape in enumerate(SHAPES)
        ]
        metrics = compare_with_decord(paths, config) | compare_with_cache(Path(folder), paths, config)
    print("  ".join(f"{name} {value:.3g}" for name, value in metrics.items()), file=sys.stderr)
    emit("decode", config, metrics)


def write_clip(path: Path, width: int, height: int, gop: int, seconds: int, seed: int) -> Path:
    """Write a clip of drifting waves with a grain that no codec can skip."""
    rng, (y, x) = np.random.default_rng(seed), np.mgrid[:height, :width]
    grain = rng.integers(0, 12, (height, width, 3))
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = gop
        for index in range(seconds * RATE):
            waves = 100 + 50 * np.sin((x + y + 4 * index) / 37) + 40 * np.cos((x - 3 * index) / 53)
            frame = np.clip(waves[..., None] + np.roll(grain, index, axis=1), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def compare_with_decord(paths: list[Path], config: dict[str, int]) -> dict[str, float]:
    """Time raw decord and our killable decoder in turn on the same frames of the same file."""
    frames = FrameConfig(fps=1000.0, min_frames=2, max_frames=config["frames"])
    decoder, media = DecodeProcess(DataConfig(train="", frames=frames)), Media(kind="video", path="")
    ratios, raw_rates, our_rates = [], [], []
    chosen = {path: indices(path, frames) for path in paths}
    try:
        for path in paths * config["repeats"]:
            raw_s, wanted = timed(lambda path=path: raw_decord(path, chosen[path]))
            ours_s, got = timed(lambda path=path: decoder.read(path, media).pixels_THWC)
            assert np.array_equal(got, wanted), f"{path}: other frames than decord's"
            ratios.append(raw_s / ours_s)
            raw_rates.append(len(got) / raw_s)
            our_rates.append(len(got) / ours_s)
    finally:
        decoder.close()
    return {
        "decord_ratio": statistics.median(ratios),
        "decord_frames_per_s": statistics.median(raw_rates),
        "frames_per_s": statistics.median(our_rates),
    }


def indices(path: Path, frames: FrameConfig) -> list[int]:
    """Return the frames that our reader selects; decord gets them at no cost."""
    clip = probe(path)
    return choose_frames(clip.timestamps_s, clip.duration_s, frames).indices.tolist()


def raw_decord(path: Path, wanted: list[int]) -> np.ndarray:
    """Decode frames as a careless loader does: uint8 [T,H,W,3]."""
    return decord.VideoReader(str(path), num_threads=1).get_batch(wanted).asnumpy()


def compare_with_cache(folder: Path, paths: list[Path], config: dict[str, int]) -> dict[str, float]:
    """Time two epochs of one data worker: the first decodes, the second hits the cache."""
    build_family(folder / "model", "qwen2_vl", sharp=False)
    samples = [
        Sample(
            sample_id=path.name, task="vqa", question="What?", answer="x", media=(Media(kind="video", path=path.name),)
        )
        for path in paths
    ]
    speedups, decodes = [], 0
    for repeat in range(config["repeats"]):
        data = DataConfig(
            train="",
            root=str(folder),
            frames=FrameConfig(max_frames=config["frames"]),
            cache=CacheConfig(dir=str(folder / f"cache-{repeat}")),
        )
        worker = DataWorker(ModelConfig(path=str(folder / "model")), data, max_tokens=16)
        first_s, first = timed(lambda worker=worker: [worker.prepare(sample) for sample in samples])
        second_s, second = timed(lambda worker=worker: [worker.prepare(sample) for sample in samples])
        worker.close()
        assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(first, second, strict=True))
        speedups.append(first_s / second_s)
        decodes += sum(prompt.media_work.decodes for prompt, _ in (*first, *second))
    return {
        "cache_speedup": statistics.median(speedups),
        "decodes_over_clips": decodes / len(paths) / config["repeats"],
    }


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds of a call and its result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main(sys.argv[1:])
