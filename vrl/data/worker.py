"""The data worker: one actor that turns samples into prompts and patches, with one decode and one processor pass each.

Owns a decode process that can be killed. Shares `data.cache.dir`, if set, with the other workers, so that a clip is
decoded once for all its samples. Does not order samples (vrl.data.stream does).
"""

import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from vrl.config import DataConfig, ModelConfig
from vrl.data.cache import VisionCache
from vrl.data.dataset import media_root, resolve_media
from vrl.data.decode.limits import require_size
from vrl.data.decode.process import DecodeProcess
from vrl.data.decode.subtitles import Cue, read_subtitles, subtitle_path
from vrl.data.vision import Vision
from vrl.data.wording import Wording
from vrl.errors import DataError, MediaError
from vrl.observability.series import count
from vrl.observability.spans import timed
from vrl.observability.telemetry import start_telemetry
from vrl.tasks import TASKS
from vrl.tasks.task import Task
from vrl.types import Frames, Media, MediaWork, Prompt, RawPrompt, Sample, View

_PLAIN = View()
_OWN_WORDS = Wording()


@contextmanager
def _counted() -> Iterator[None]:
    """Count a sample as prepared, or by the reason why it cannot be used."""
    try:
        yield
    except DataError as error:
        count("vrl_data_samples_total", outcome=error.reason)
        raise
    count("vrl_data_samples_total", outcome="prepared")


class DataWorker:
    """A worker that prepares one sample at a time; a plain class that the pool turns into an actor.

    Example: `prompt, patches = DataWorker(model, data, max_tokens=768).prepare(sample)`.
    """

    def __init__(
        self,
        model: ModelConfig,
        data: DataConfig,
        *,
        max_tokens: int,
        train_prefix: bool = True,
        wording: Wording = _OWN_WORDS,
    ) -> None:
        from vrl.data.prompt import PromptBuilder  # loads transformers, which the driver must not

        start_telemetry()
        self._root = media_root(data)
        self._limits = data.limits
        self._subtitled = data.frames.overlay.subtitles
        self._subtitles_root = Path(data.subtitles_root) if data.subtitles_root else None
        self._train_prefix = train_prefix
        self._wording = wording
        self._builder = PromptBuilder(model, data.frames, max_tokens, wording)
        self._decoder = DecodeProcess(data)
        self._cache = VisionCache(data.cache) if data.cache.dir else None
        self._work = MediaWork()  # since the last prompt

    @timed("prepare")
    @_counted()
    def prepare(self, sample: Sample) -> tuple[Prompt, np.ndarray]:
        """Return a prompt with its prefix, and patches uint8 [num_patches, patch_dim]. Raises DataError."""
        start, task = time.perf_counter(), _task(sample)
        visions, key = self._open(sample)
        prompt, patches = self._builder.build(sample, task, visions, self._shown_cues(sample, task))
        count("vrl_data_patches_total", len(patches))
        return self._finish(prompt, key, start), patches

    @timed("prepare")
    @_counted()
    def prepare_sft(self, sample: Sample) -> tuple[Prompt, np.ndarray]:
        """Return a prompt with its target for supervised training, and patches. Raises DataError."""
        start, task = time.perf_counter(), _task(sample)
        visions, key = self._open(sample)
        prompt, patches = self._builder.build_sft(
            sample, task, visions, self._shown_cues(sample, task), train_prefix=self._train_prefix
        )
        count("vrl_data_patches_total", len(patches))
        return self._finish(prompt, key, start), patches

    @timed("prepare")
    @_counted()
    def prepare_views(self, samples: Sequence[Sample], view: View) -> tuple[tuple[Prompt, ...], np.ndarray]:
        """Return prompts of several questions about the same media in one view, and their common patches.

        Decodes once. Raises DataError, also if the samples do not share their media.
        """
        start, tasks = time.perf_counter(), [_task(sample) for sample in samples]
        if {sample.media for sample in samples} != {samples[0].media}:
            raise DataError(
                f"sample {samples[0].sample_id}: got questions about different media, wanted one set", reason="media"
            )
        visions, key = self._open(samples[0], view)
        built = [
            self._builder.build(sample, task, visions, self._shown_cues(sample, task))
            for sample, task in zip(samples, tasks, strict=True)
        ]
        return tuple(self._finish(prompt, key, start) for prompt, _ in built), built[0][1]

    def raw(self, prompt: Prompt) -> RawPrompt:
        """Return a prompt as it was before the processor, with its media decoded again, for the parity gate.

        MediaTracker does not count it. Raises DataError if the media cannot be read any more.
        """
        media = prompt.sample.media
        paths = [resolve_media(self._root, item.path) for item in media]
        frames = [
            self._decoder.read(path, item, cues=self._cues(path, item)[0])
            for path, item in zip(paths, media, strict=True)
        ]
        return self._builder.raw(prompt, frames)

    def close(self) -> None:
        """End the decode process (it also ends with this one)."""
        self._decoder.close()

    def _finish(self, prompt: Prompt, key: str, start: float) -> Prompt:
        work, self._work = self._work, MediaWork()
        return replace(prompt, media_key=key, decode_s=time.perf_counter() - start, media_work=work)

    def _shown_cues(self, sample: Sample, task: Task) -> tuple[str, ...]:
        """Return the cues of the first clip that overlap its cut, if the user's text shows them. Raises DataError."""
        clip = next((media for media in sample.media if media.kind == "video"), None)
        if clip is None or not self._wording.shows_subtitles(sample, task):
            return ()
        subtitles = subtitle_path(resolve_media(self._root, clip.path), self._root, self._subtitles_root)
        cues, skipped = read_subtitles(subtitles) if subtitles is not None else ((), 0)
        self._work += MediaWork(skipped_cues=0 if self._subtitled else skipped)  # drawn cues are counted already
        end_s = math.inf if clip.end_s is None else clip.end_s
        return tuple(cue.text for cue in cues if cue.start_s < end_s and cue.end_s > clip.start_s)

    def _open(self, sample: Sample, view: View = _PLAIN) -> tuple[list[Vision], str]:
        """Return the sample's media in order and one address for all. Raises MediaError for the first bad one."""
        found = [self._media(media, view) for media in sample.media]
        keys = "".join(key for _, key in found)
        return [vision for vision, _ in found], hashlib.sha256(keys.encode()).hexdigest() if keys else ""

    def _media(self, media: Media, view: View) -> tuple[Vision, str]:
        try:
            path = resolve_media(self._root, media.path)
            key = self._key(path, media, view)
            return self._vision(path, media, view, key), key
        except DataError as error:
            raise MediaError(error.message, error.reason, media) from error

    def _key(self, path: Path, media: Media, view: View) -> str:
        """Return the address of the patches, from the content of the file and, if they are drawn, its subtitles."""
        require_size(path, self._limits)
        content = self._content(path)
        subtitles = self._subtitles(path, media)
        if subtitles is not None:
            content += self._content(subtitles)
        return self._builder.vision_key(content, media, view)

    def _subtitles(self, path: Path, media: Media) -> Path | None:
        if not self._subtitled or media.kind != "video":
            return None
        return subtitle_path(path, self._root, self._subtitles_root)

    def _cues(self, path: Path, media: Media) -> tuple[tuple[Cue, ...], int]:
        """Return what to draw of a clip's subtitles, and how many cues were skipped."""
        subtitles = self._subtitles(path, media)
        return read_subtitles(subtitles) if subtitles is not None else ((), 0)

    def _content(self, path: Path) -> str:
        """Return the identity of a file: with a cache a digest of its bytes, without one its path, size and mtime."""
        if self._cache is not None:
            return self._cache.content(path)
        status = path.stat()
        return json.dumps([str(path), status.st_size, status.st_mtime_ns])

    def _vision(self, path: Path, media: Media, view: View, key: str) -> Vision:
        if self._cache is None:
            return self._decode(path, media, view)
        with self._cache.claim(key):
            corrupt = self._cache.num_corrupt
            vision = self._cache.get(key)
            self._work += MediaWork(corrupt_entries=self._cache.num_corrupt - corrupt)
            if vision is None:
                vision = self._decode(path, media, view)
                self._cache.put(key, vision)
            else:
                self._work += MediaWork(cache_hits=1)
        return vision

    def _decode(self, path: Path, media: Media, view: View) -> Vision:
        cues, skipped = self._cues(path, media)
        self._work += MediaWork(decodes=1, skipped_cues=skipped)
        frames = self._decoder.read(path, media, view.times_s, cues)
        return self._builder.process_media(media, apply_view(frames, view))


def _task(sample: Sample) -> Task:
    if sample.task not in TASKS:
        raise DataError(
            f"sample {sample.sample_id}: got task {sample.task!r}, wanted one of {sorted(TASKS)}", reason="task"
        )
    return TASKS[sample.task]


def apply_view(frames: Frames, view: View) -> Frames:
    """Return the frames cut to `view.crop` and multiplied by `view.brightness`, rounded and clipped to [0, 255].

    Edges of the crop are rounded to whole pixels, and at least one pixel is left.
    """
    pixels_THWC = frames.pixels_THWC
    _, height, width, _ = pixels_THWC.shape
    left, top, right, bottom = view.crop
    rows, columns = _pixels(top, bottom, height), _pixels(left, right, width)
    pixels_THWC = pixels_THWC[:, rows, columns]
    if view.brightness != 1:
        pixels_THWC = np.clip(np.rint(pixels_THWC * view.brightness), 0, 255).astype(np.uint8)
    return Frames(
        pixels_THWC=np.ascontiguousarray(pixels_THWC), timestamps_s=frames.timestamps_s, duration_s=frames.duration_s
    )


def _pixels(low: float, high: float, size: int) -> slice:
    start = min(round(low * size), size - 1)
    return slice(start, max(start + 1, round(high * size)))
