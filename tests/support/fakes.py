"""In-process fakes of engines, reward workers and the learner. Deterministic."""

import asyncio
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vrl.errors import RewardError
from vrl.types import Completion, PackedBatch, Prompt, Reward, Sample, Update, VersionSpan


class FakeEngines:
    """Engines that generate tokens derived from the sample and record the version of their weights.

    `cut`: by sample number, how many of its completions, from the first, are truncated at max_tokens.
    """

    def __init__(
        self, group_size: int = 4, num_engines: int = 1, seed: int = 0, cut: Mapping[int, int] | None = None
    ) -> None:
        self._cut = cut or {}
        self.version = 0
        self.calls: list[tuple[str, ...]] = []
        self._group_size = group_size
        self._num_engines = num_engines
        self._rng = random.Random(seed)

    def __len__(self) -> int:
        return self._num_engines

    async def call(self, method: str, *args: Any, **sampling: Any) -> Any:
        assert method == "generate"
        prompts, patches = args[0], args[1:]
        assert len(prompts) == len(patches)
        self.calls.append(tuple(prompt.sample.sample_id for prompt in prompts))
        sizes = sampling.get("group_size", self._group_size)
        sizes = [sizes] * len(prompts) if isinstance(sizes, int) else sizes
        version = self.version  # the weights at the start, even if a push lands meanwhile
        for _ in range(self._rng.randrange(8)):
            await asyncio.sleep(0)
        return tuple(
            tuple(self._completion(prompt, i, version) for i in range(size))
            for prompt, size in zip(prompts, sizes, strict=True)
        )

    def _completion(self, prompt: Prompt, index: int, version: int) -> Completion:
        tokens = np.array([int(prompt.sample.sample_id) % 50, index], dtype=np.int64)
        return Completion(
            token_ids=tokens,
            rollout_logprobs=np.full(2, -1.0, dtype=np.float32),
            text=f"{index}",
            finish_reason="length" if index < self._cut.get(int(prompt.sample.sample_id), 0) else "stop",
            versions=(VersionSpan(start=0, end=2, policy_version=version),),
        )


class FakeRewards:
    """Scores completion i with i % 2; samples in `flat` get equal rewards, samples in `broken` fail."""

    def __init__(self, flat: frozenset[int] = frozenset(), broken: frozenset[int] = frozenset()) -> None:
        self._flat, self._broken = flat, broken
        self.shuffled: list[int] = []  # number of completions on permuted frames, by scored group

    def __len__(self) -> int:
        return 1

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        assert method == "score" and kwargs in ({}, {"diagnose": True})
        prompt, completions, *shuffled = args
        self.shuffled += [len(one) for one in shuffled]
        number = int(prompt.sample.sample_id)
        if number in self._broken:
            raise RewardError(f"sample {number}: judge is down")
        values = [1.0 if number in self._flat else float(i % 2) for i in range(len(completions))]
        return tuple(Reward(value=value, breakdown={"accuracy": value}) for value in values)


class FakeLearner:
    """Records its batches. Its policy gives every token e times the probability that its reference gives."""

    def __init__(self) -> None:
        self.updates = 0
        self.batches: list[PackedBatch] = []
        self.calls: list[str] = []  # of methods that run the model
        self.nonfinite: set[int] = set()  # steps, from 1, with a loss that is not a number

    async def forward_backward(self, batch: PackedBatch, patches: Sequence[Any]) -> dict[str, float]:
        assert sum(len(mb.groups) for rank in batch.micro_batches for mb in rank) == len(patches)
        self.batches.append(batch)
        self.calls.append("forward_backward")
        broken = len(self.batches) in self.nonfinite
        return {"loss/policy": math.nan if broken else 0.5, "loss/mismatch_kl": 0.0}

    async def logprobs(self, batch: PackedBatch, patches: Sequence[Any]) -> list[tuple[np.ndarray, ...]]:
        self.calls.append("logprobs")
        return self._scores(batch, -0.5)

    async def ref_logprobs(self, batch: PackedBatch, patches: Sequence[Any]) -> list[tuple[np.ndarray, ...]]:
        self.calls.append("ref_logprobs")
        return self._scores(batch, -1.5)

    def _scores(self, batch: PackedBatch, value: float) -> list[tuple[np.ndarray, ...]]:
        found = {}
        for micro_batch in (micro_batch for rank in batch.micro_batches for micro_batch in rank):
            for index, group in zip(micro_batch.group_indices, micro_batch.groups, strict=True):
                found[index] = tuple(np.full(len(c), value, dtype=np.float32) for c in group.completions)
        return [found[index] for index in sorted(found)]

    async def optim_step(self) -> Update:
        applied = len(self.batches) not in self.nonfinite
        self.updates += applied
        skipped = len(self.batches) - self.updates
        norm = 1.0 if applied else math.nan
        return Update(updates=self.updates, lr=1e-3, grad_norm=norm, applied=applied, nonfinite_steps=skipped)


async def prepare(sample: Sample) -> tuple[Prompt, Any]:
    """A prompt of three tokens, without decoding anything."""
    return Prompt(sample=sample, token_ids=np.array([1, 2, 3])), f"patches of {sample.sample_id}"
