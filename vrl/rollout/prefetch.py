"""Prompts decoded ahead of the engines, delivered in dataset order.

A sample that cannot be used is left out, counted by reason and listed, never substituted; too many end the run.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vrl.errors import DataError
from vrl.types import Prompt, Sample

logger = logging.getLogger(__name__)
_WINDOW = 200  # samples over which max_bad_fraction is judged


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedPrompt:
    """A prompt, a reference to its patches, and its position in the dataset order."""

    prompt: Prompt
    patches: Any  # object reference to uint8 [num_patches, patch_dim]
    ordinal: int  # number of samples drawn before it


@dataclass(frozen=True, kw_only=True, slots=True)
class BadSample:
    """A sample that was left out."""

    sample_id: str
    ordinal: int  # number of samples drawn before it
    reason: str
    message: str


class PromptPrefetcher:
    """Draws samples, prepares `prefetch` of them ahead, and returns them in order.

    Example: `prefetcher = PromptPrefetcher(iter(samples), preparer, prefetch=8, max_bad_fraction=0.05)`, then
    `prepared = await prefetcher.next()`; None if no samples are left.
    """

    def __init__(
        self,
        samples: Iterator[Sample],
        prepare: Callable[[Sample], Awaitable[tuple[Prompt, Any]]],
        *,
        prefetch: int,
        max_bad_fraction: float,
        first_ordinal: int = 0,
        bad: Sequence[BadSample] = (),
    ) -> None:
        """`first_ordinal`: number of samples drawn before a resume; `bad`: those of them that were left out."""
        self._samples = samples
        self._prepare = prepare
        self._prefetch = prefetch
        self._max_bad_fraction = max_bad_fraction
        self._ordinal = first_ordinal
        self._ahead: deque[tuple[int, Sample, asyncio.Task[tuple[Prompt, Any]]]] = deque()
        self.bad = list(bad)

    @property
    def bad_by_reason(self) -> dict[str, int]:
        return dict(Counter(sample.reason for sample in self.bad))

    async def next(self) -> PreparedPrompt | None:
        """Return the next usable prompt, or None if no samples are left.

        Raises DataError if more than `max_bad_fraction` of the recent samples could not be used.
        """
        while True:
            self._top_up()
            if not self._ahead:
                return None
            ordinal, sample, task = self._ahead.popleft()
            try:
                prompt, patches = await task
            except DataError as error:
                self._record(ordinal, sample, error)
                continue
            return PreparedPrompt(prompt=prompt, patches=patches, ordinal=ordinal)

    def close(self) -> None:
        """Stop preparing."""
        for _, _, task in self._ahead:
            task.cancel()
        self._ahead.clear()

    def _top_up(self) -> None:
        while len(self._ahead) < self._prefetch:
            sample = next(self._samples, None)
            if sample is None:
                return
            task = asyncio.ensure_future(self._prepare(sample))
            self._ahead.append((self._ordinal, sample, task))
            self._ordinal += 1

    def _record(self, ordinal: int, sample: Sample, error: DataError) -> None:
        bad = BadSample(sample_id=sample.sample_id, ordinal=ordinal, reason=error.reason, message=str(error))
        self.bad.append(bad)
        logger.warning("sample %s left out (%s): %s", sample.sample_id, error.reason, error)
        recent = sum(earlier.ordinal > ordinal - _WINDOW for earlier in self.bad[-_WINDOW:])
        if recent / _WINDOW > self._max_bad_fraction:
            worst = "; ".join(f"{bad.sample_id}: {bad.message}" for bad in self.bad[-3:])
            raise DataError(
                f"data: got {recent} unusable samples among the last {min(ordinal + 1, _WINDOW)}, wanted at most "
                f"data.max_bad_fraction={self._max_bad_fraction} of {_WINDOW}. The last ones: {worst}",
                reason="too_many_bad",
            )
