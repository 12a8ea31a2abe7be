"""An endless, seeded, resumable order over the samples of a dataset. Does not read files or decode media."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vrl.errors import CheckpointError
from vrl.types import Sample


class SampleStream:
    """An endless iterator over `samples`; each epoch is a permutation that depends only on (seed, epoch).

    Example: `stream = SampleStream(samples, seed=0, shuffle=True)`, `sample = next(stream)`; after a restart
    `stream.restore(state)` with a value of `state()` continues with the next sample.
    """

    def __init__(self, samples: Sequence[Sample], *, seed: int, shuffle: bool) -> None:
        if not samples:
            raise ValueError("samples: got none, wanted at least one")
        self._samples = samples
        self._seed = seed
        self._shuffle = shuffle
        self._fingerprint = hashlib.sha256("\0".join(sample.sample_id for sample in samples).encode()).hexdigest()[:16]
        self._ordinal = 0  # samples handed out so far
        self._order = self._permutation(0)

    def __iter__(self) -> Iterator[Sample]:
        return self

    def __next__(self) -> Sample:
        epoch, position = divmod(self._ordinal, len(self._samples))
        if position == 0:
            self._order = self._permutation(epoch)
        self._ordinal += 1
        return self._samples[self._order[position]]

    def state(self) -> dict[str, Any]:
        """Return the cursor, as JSON values: the number of samples handed out, and what the order depends on."""
        return {"ordinal": self._ordinal, "seed": self._seed, "shuffle": self._shuffle, "samples": self._fingerprint}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`. Raises CheckpointError if seed, shuffling or samples differ from it."""
        here = self.state()
        for key in ("seed", "shuffle", "samples"):
            if state[key] != here[key]:
                raise CheckpointError(
                    f"sample order: got {key}={here[key]!r}, the checkpoint was made with {state[key]!r}; keep seed, "
                    "data.train, data.tasks and data.shuffle to resume"
                )
        self._ordinal = state["ordinal"]
        self._order = self._permutation(self._ordinal // len(self._samples))

    def _permutation(self, epoch: int) -> list[int]:
        size = len(self._samples)
        if not self._shuffle:
            return list(range(size))
        return np.random.default_rng([self._seed, epoch]).permutation(size).tolist()
