"""Preparation of samples as prompts, with media tracked on every call and prompts cached for samples that repeat."""

from typing import Any

from vrl.data.media_tracker import MediaTracker, Prepare
from vrl.errors import MediaError
from vrl.types import Prompt, Sample

_MAX_PATCH_BYTES = 3 * 2 * 16 * 16  # the largest patch of the three families: RGB, two frames, 16 x 16 pixels


class SamplePreparer:
    """A callable that prepares samples on data workers, for training, validation and the parity gate.

    Example: `prompt, patches = await SamplePreparer(fleets.prepare, tracker)(sample)`; `patches` is a reference.
    """

    def __init__(self, prepare: Prepare, tracker: MediaTracker, *, cache_bytes: int = 0) -> None:
        """`cache_bytes`: bytes of patches to keep in the object store; samples that do not fit are prepared again.

        0 caches nothing, not even samples without media.
        """
        self._prepare = prepare
        self._tracker = tracker
        self._caches = cache_bytes > 0
        self._room = cache_bytes
        self._cached: dict[str, tuple[Prompt, Any]] = {}

    async def __call__(self, sample: Sample) -> tuple[Prompt, Any]:
        """Return a prompt and a reference to its patches.

        Raises MediaError for known bad media without trying them, and any error that `prepare` raises.
        """
        if sample.sample_id in self._cached:
            return self._cached[sample.sample_id]
        self._tracker.refuse_known_bad(sample)
        try:
            prepared = await self._prepare(sample)
        except MediaError as error:
            self._tracker.add_bad(sample, error)
            raise
        prompt, _ = prepared
        self._tracker.work += prompt.media_work
        size = _MAX_PATCH_BYTES * sum(grid.num_patches for grid in prompt.vision)
        if self._caches and size <= self._room:
            self._room -= size
            self._cached[sample.sample_id] = prepared
        return prepared
