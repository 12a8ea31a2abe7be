"""Retrieval with a real dual encoder, trained on the toy world as it would be for a run."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from vrl.config import DataConfig, FrameConfig
from vrl.errors import ConfigError, DataError
from vrl.inference.config import BackfillConfig
from vrl.inference.retrieval import RetrievalWorker
from vrl.toyworld.encoder import build_toy_encoder
from vrl.toyworld.model import build_toy_model
from vrl.toyworld.render import render
from vrl.toyworld.scene import FPS, Phase, Scene, Thing
from vrl.toyworld.words import COLOURS
from vrl.toyworld.world import encode
from vrl.types import Media, Sample


def scene() -> Scene:
    """Ten seconds: a red circle from 1 to 3, which is blue from 3 to 5; a green square from 7 to 9."""
    circle = Thing(
        shape="circle",
        radius=11,
        phases=(Phase(ticks=(2, 6), colour="red"), Phase(ticks=(6, 10), colour="blue")),
        start_xy=(20, 20),
        end_xy=(20, 20),
    )
    square = Thing(
        shape="square", radius=11, phases=(Phase(ticks=(14, 18), colour="green"),), start_xy=(60, 50), end_xy=(60, 50)
    )
    return Scene(
        side=84, ticks=20, palette=tuple(COLOURS), things=(circle, square), distractors=(), noise=4, noise_seed=1
    )


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RetrievalWorker]:
    folder = tmp_path_factory.mktemp("retrieval")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a second thread gains nothing on tensors this small, and spins where cores are busy
    build_toy_encoder(folder / "encoder")
    torch.set_num_threads(threads)
    encode(render(scene()), folder / "a.mp4", FPS)
    config = BackfillConfig(encoder=str(folder / "encoder"), retrieval_fps=2.0, segment_frames=2)
    frames = FrameConfig(fps=1.0, min_frames=4, max_frames=4)
    worker = RetrievalWorker(config, DataConfig(train=str(folder / "rows.parquet"), frames=frames))
    yield worker
    worker.close()


def sample(**media) -> Sample:
    return Sample(sample_id="s", task="vqa", question="?", media=(Media(kind="video", path="a.mp4", **media),))


def test_elements_are_found_where_they_are(worker: RetrievalWorker):
    starts_s, embeddings = worker.embed(sample())
    assert starts_s == pytest.approx([float(k) for k in range(10)])
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-5)
    hits = worker.search(("green square", "blue circle", "red circle"), starts_s, embeddings)
    assert [hit.element for hit in hits] == ["green square", "blue circle", "red circle"]
    assert hits[0].start_s in (7.0, 8.0) and hits[1].start_s in (3.0, 4.0) and hits[2].start_s in (1.0, 2.0)
    for hit in hits:  # its similarity is that of its own segment
        k = starts_s.index(hit.start_s)
        assert worker.search((hit.element,), starts_s[k : k + 1], embeddings[k : k + 1]) == (hit,)
    (absent,) = worker.search(("yellow triangle",), starts_s, embeddings)
    assert -1 <= absent.similarity < min(hit.similarity for hit in hits) <= 1


def test_times_count_from_the_cut(worker: RetrievalWorker):
    starts_s, embeddings = worker.embed(sample(start_s=5.0))
    (hit,) = worker.search(("green square",), starts_s, embeddings)
    assert hit.start_s in (2.0, 3.0)


def test_what_cannot_be_read_is_a_data_error(worker: RetrievalWorker):
    with pytest.raises(DataError, match="cut"):
        worker.embed(sample(start_s=50.0))


def test_a_folder_without_a_dual_encoder_is_refused(tmp_path: Path):
    build_toy_model(tmp_path)
    with pytest.raises(ConfigError, match="wanted a dual encoder"):
        RetrievalWorker(BackfillConfig(encoder=str(tmp_path)), DataConfig(train="x.parquet"))
