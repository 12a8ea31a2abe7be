"""The data worker: one actor that turns samples into prompts and patches, with one decode and one processor pass each.

Owns a decode process that can be killed. Does not order samples (vrl.data.stream does) and does not cache.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vrl.config import DataConfig, ModelConfig
from vrl.data.dataset import media_root, resolve_media
from vrl.data.decoder import Decoder
from vrl.data.prompt import PromptBuilder
from vrl.data.views import seen
from vrl.errors import DataError
from vrl.tasks import TASKS
from vrl.tasks.task import Task
from vrl.types import Frames, Prompt, Sample, View

_PLAIN = View()


class DataWorker:
    """Prepares one sample at a time. A plain class: the pool makes an actor of it.

    Example: `prompt, patches = DataWorker(model, data, max_tokens=768).prepare(sample)`.
    """

    def __init__(self, model: ModelConfig, data: DataConfig, *, max_tokens: int, train_prefix: bool = True) -> None:
        self._root = media_root(data)
        self._train_prefix = train_prefix
        self._builder = PromptBuilder(model, data.frames, max_tokens)
        self._decoder = Decoder(data)
        self._num_decodes = 0

    def prepare(self, sample: Sample) -> tuple[Prompt, np.ndarray]:
        """A prompt for generation, prefix included, and patches uint8 [num_patches, patch_dim]. Raises DataError."""
        start = time.perf_counter()
        task, media, key = self._open(sample)
        prompt, patches = self._builder.build(sample, task, media)
        return replace(prompt, media_key=key, decode_s=time.perf_counter() - start), patches

    def prepare_sft(self, sample: Sample) -> tuple[Prompt, np.ndarray]:
        """A prompt with its target for supervised training, and patches. Raises DataError."""
        start = time.perf_counter()
        task, media, key = self._open(sample)
        prompt, patches = self._builder.build_sft(sample, task, media, train_prefix=self._train_prefix)
        return replace(prompt, media_key=key, decode_s=time.perf_counter() - start), patches

    def prepare_views(self, samples: Sequence[Sample], view: View) -> tuple[tuple[Prompt, ...], np.ndarray]:
        """Prompts of several questions about the same media, seen through one view, and the patches of all of them.

        One decode. Raises DataError, also where the samples do not share their media.
        """
        start = time.perf_counter()
        if {sample.media for sample in samples} != {samples[0].media}:
            raise DataError(
                f"sample {samples[0].sample_id}: got questions about different media, wanted one set", reason="media"
            )
        _, media, key = self._open(samples[0], view)
        shown = [seen(frames, view) for frames in media]
        built = [self._builder.build(sample, _task(sample), shown) for sample in samples]
        decode_s = time.perf_counter() - start
        return tuple(replace(prompt, media_key=key, decode_s=decode_s) for prompt, _ in built), built[0][1]

    def num_decodes(self) -> int:
        """Clips and pictures decoded so far."""
        return self._num_decodes

    def close(self) -> None:
        """End the decode process (it also ends with this one)."""
        self._decoder.close()

    def _open(self, sample: Sample, view: View = _PLAIN) -> tuple[Task, list[Frames], str]:
        task = _task(sample)
        files = [(resolve_media(self._root, media.path), media) for media in sample.media]
        frames = [self._decoder.read(path, media, view.times_s) for path, media in files]
        self._num_decodes += len(files)
        return task, frames, self._builder.media_key(files, view) if files else ""


def _task(sample: Sample) -> Task:
    if sample.task not in TASKS:
        raise DataError(
            f"sample {sample.sample_id}: got task {sample.task!r}, wanted one of {sorted(TASKS)}", reason="task"
        )
    return TASKS[sample.task]
