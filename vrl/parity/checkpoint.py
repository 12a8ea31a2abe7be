"""The parity gate for a checkpoint without a run: videos of many lengths, sizes and frame rates, engine and learner.

Writes the videos, reads them through the data path, starts an engine and a learner in this process (no Ray) and runs
vrl.parity.gate on them.
"""

import asyncio
import tempfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from vrl.config import DataConfig, FrameConfig, ModelConfig, RolloutConfig
from vrl.data.worker import DataWorker
from vrl.parity.gate import GateCase, LocalLearner, ParityReport, run_gate
from vrl.rollout.engine import RolloutEngine
from vrl.types import Media, Sample

_MAX_TOKENS = 24
_CONTEXT_TOKENS = 2048
_PIXELS = (56 * 56, 128 * 128)  # of a frame: fewest, most


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoSpec:
    """A video to write: moving shades, so that no two frames are equal."""

    seconds: float = 4.0
    rate: Fraction = Fraction(10)  # frames per second
    size: tuple[int, int] = (64, 64)  # width, height


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseSpec:
    """A case to write: its media in prompt order (None: an image) and how frames are chosen."""

    name: str
    media: tuple[VideoSpec | None, ...] = (VideoSpec(),)
    fps: float = 2.0
    max_frames: int = 64
    cut_s: tuple[float, float | None] = (0.0, None)
    question: str = "Which shape is red?"


CASES = (
    CaseSpec(name="text", media=()),
    CaseSpec(name="8 frames, 2 fps"),
    CaseSpec(name="32 frames, 4 fps", media=(VideoSpec(seconds=8.0, rate=Fraction(16)),), fps=4.0),
    CaseSpec(name="8 frames, 0.5 fps", media=(VideoSpec(seconds=16.0, rate=Fraction(4)),), fps=0.5),
    CaseSpec(name="25 fps, every 12th frame", media=(VideoSpec(seconds=30.72, rate=Fraction(25)),), fps=25 / 12),
    CaseSpec(name="29.97 fps, 3 fps", media=(VideoSpec(seconds=7.0, rate=Fraction(30000, 1001)),), fps=3.0),
    CaseSpec(name="wide, odd sizes", media=(VideoSpec(size=(150, 98)),)),
    CaseSpec(name="tall, shrunk", media=(VideoSpec(size=(200, 304)),)),
    CaseSpec(name="cut out of a longer clip", media=(VideoSpec(seconds=9.0),), cut_s=(1.3, 6.1)),
    CaseSpec(
        name="long question", question="I want to know which one of all the shapes it is, and where it goes. " * 4
    ),
    CaseSpec(name="image", media=(None,)),
    CaseSpec(name="image, then clip", media=(None, VideoSpec())),
    CaseSpec(name="clip, then image", media=(VideoSpec(size=(96, 64)), None)),
    CaseSpec(name="two clips", media=(VideoSpec(), VideoSpec(size=(96, 64)))),
)


def check_checkpoint(path: str, *, dtype: str = "float32") -> ParityReport:
    """Compare engine and learner on a Hugging Face folder. Starts vLLM in child processes and ends it.

    Raises ConfigError for a checkpoint of an unknown family or with two normalisations. A difference is no error: it
    is in the report.
    """
    model = ModelConfig(path=path, dtype=dtype, max_context_tokens=_CONTEXT_TOKENS)
    rollout = RolloutConfig(max_tokens=_MAX_TOKENS, max_num_seqs=16, kv_cache_gib=0.25, gpu_memory_utilization=0.4)
    with tempfile.TemporaryDirectory(prefix="vrl-parity-") as folder:
        cases = [write_case(spec, Path(folder) / str(i), model) for i, spec in enumerate(CASES)]
    engine = RolloutEngine(model, rollout)
    try:
        learner = LocalLearner(model, rollout.temperature)
        return asyncio.run(run_gate(cases, InProcess(engine), learner, model=model, temperature=rollout.temperature))
    finally:
        engine.shutdown()


class InProcess:
    """An engine in this process, behind the interface of an ActorPool."""

    def __init__(self, engine: RolloutEngine) -> None:
        self._engine = engine

    async def call(self, method: str, *args: Any) -> Any:
        return await getattr(self._engine, method)(*args)

    def __len__(self) -> int:
        return 1


def write_case(spec: CaseSpec, folder: Path, model: ModelConfig) -> GateCase:
    """Write the media of `spec` into `folder` and read them back through the data path."""
    folder.mkdir()
    media = tuple(_write(video, folder / str(i), spec.cut_s) for i, video in enumerate(spec.media))
    sample = Sample(sample_id=spec.name, task="vqa", question=spec.question, media=media)
    frames = FrameConfig(fps=spec.fps, max_frames=spec.max_frames, min_pixels=_PIXELS[0], max_pixels=_PIXELS[1])
    data = DataConfig(train="", root=str(folder), frames=frames)
    worker = DataWorker(model, data, max_tokens=_MAX_TOKENS)
    try:
        prompt, patches = worker.prepare(sample)
        return GateCase(name=spec.name, prompt=prompt, patches=patches, raw=worker.raw(prompt))
    finally:
        worker.close()


def _write(video: VideoSpec | None, path: Path, cut_s: tuple[float, float | None]) -> Media:
    if video is None:
        Image.fromarray(_shades(VideoSpec(size=(84, 112)), 3)).save(path.with_suffix(".png"))
        return Media(kind="image", path=path.with_suffix(".png").name)
    with av.open(str(path.with_suffix(".mp4")), "w") as container:
        stream: Any = container.add_stream("libx264", rate=video.rate)
        stream.width, stream.height, stream.pix_fmt = *video.size, "yuv420p"
        for index in range(round(video.seconds * video.rate)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(_shades(video, index), format="rgb24")))
        container.mux(stream.encode())
    return Media(kind="video", path=path.with_suffix(".mp4").name, start_s=cut_s[0], end_s=cut_s[1])


def _shades(video: VideoSpec, index: int) -> np.ndarray:
    """Return frame `index`: moving waves in three colours, and grain that survives resizing; uint8 [H, W, 3]."""
    width, height = video.size
    y, x = np.mgrid[:height, :width]
    waves = [np.sin((x * a + y * b) / 9 + index * 0.7) for a, b in ((1, 2), (2, -1), (-1, 1))]
    grain = np.random.default_rng(index).normal(0, 0.15, (height, width, 3))
    return np.clip(127 + 90 * np.stack(waves, -1) + 90 * grain, 0, 255).astype(np.uint8)
