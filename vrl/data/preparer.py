"""The one way to turn samples into prompts: media are tracked on every call, prompts cached where samples repeat."""

from typing import Any

from vrl.data.media_tracker import MediaTracker, Prepare
from vrl.errors import MediaError
from vrl.types import Prompt, Sample

_MAX_PATCH_BYTES = 3 * 2 * 16 * 16  # the largest patch of the three families: RGB, two frames, 16 x 16 pixels


class SamplePreparer:
    """Prepares samples on data workers, for training, validation and the parity gate alike.

    Example: `prompt, patches = await SamplePreparer(fleets.prepare, tracker)(sample)`; `patches` is a reference.
    """

    def __init__(self, prepare: Prepare, tracker: MediaTracker, *, cache_bytes: int = 0) -> None:
        """`cache_bytes`: patches to keep in the object store for the next call; samples beyond are prepared again.

        0 keeps nothing, not even samples without media.
        """
        self._prepare = prepare
        self._tracker = tracker
        self._caches = cache_bytes > 0
        self._room = cache_bytes
        self._cached: dict[str, tuple[Prompt, Any]] = {}

    async def __call__(self, sample: Sample) -> tuple[Prompt, Any]:
        """Return a prompt and a reference to its patches.

        Raises MediaError, without trying, for media that are known to be bad, and what `prepare` raises.
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
