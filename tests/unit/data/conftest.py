"""Tiny checkpoints of the three families; a data worker and a sample for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.clips import FOUR_FRAMES, write_clip

from vrl.config import DataConfig, ModelConfig
from vrl.data.worker import DataWorker
from vrl.toyworld.model import FAMILIES, build_family
from vrl.types import Media, Sample


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    for family in FAMILIES:
        build_family(folder / family, family, sharp=False)
    return {family: folder / family for family in FAMILIES}


@pytest.fixture
def worker(checkpoints: dict[str, Path], tmp_path: Path) -> Iterator[DataWorker]:
    """A worker that reads media from the test's own folder."""
    worker = DataWorker(
        ModelConfig(path=str(checkpoints["qwen2_vl"]), max_context_tokens=256),
        DataConfig(train=str(tmp_path / "train.parquet"), frames=FOUR_FRAMES),
        max_tokens=16,
    )
    yield worker
    worker.close()


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    """A question about a clip in that folder: two seconds, eight shades per second."""
    write_clip(tmp_path / "a.mp4", [i / 8 for i in range(16)])
    return Sample(sample_id="s", task="vqa", question="How?", answer="red", media=(Media(kind="video", path="a.mp4"),))
