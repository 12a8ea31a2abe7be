"""Light actors for chaos tests: Ray actors that answer like engines and reward workers, and a learner that pushes."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
from support.fakes import FakeLearner

from vrl.errors import LearnerLostError, WeightPushError
from vrl.types import Completion, PackedBatch, Prompt, Reward, Update, VersionSpan

MIXED = -1  # the policy version of a token that was sampled from shards of two versions


class LightEngine:
    """Samples four tokens per completion, one at a time; its weights are two shards."""

    def __init__(self, index: int, token_s: float = 0.02) -> None:
        self._index = index
        self._token_s = token_s
        self._shards = [0, 0]
        self._running = asyncio.Event()
        self._running.set()
        self._asleep = False
        self._under_way = 0

    async def ready(self) -> None: ...

    async def pid(self) -> int:
        return os.getpid()

    async def pause(self) -> None:
        self._running.clear()

    async def sleep(self) -> None:
        if self._under_way:
            raise RuntimeError(f"engine {self._index} is put to sleep while it generates")
        self._asleep = True

    async def sleeps(self) -> bool:
        return self._asleep

    async def resume(self) -> None:
        self._asleep = False
        self._running.set()

    async def take(self, shard: int, version: int) -> None:
        self._shards[shard] = version

    async def held(self) -> list[int]:
        return self._shards

    async def generate(
        self, prompts: Sequence[Prompt], *patches: Any, group_size: int = 4
    ) -> tuple[tuple[Completion, ...], ...]:
        spans = []
        self._under_way += 1
        for token in range(4):
            await self._running.wait()
            if self._asleep:
                raise RuntimeError(f"engine {self._index} gets a request while it sleeps")
            version = self._shards[0] if self._shards[0] == self._shards[1] else MIXED
            spans.append(VersionSpan(start=token, end=token + 1, policy_version=version))
            await asyncio.sleep(self._token_s)
        self._under_way -= 1
        done = Completion(
            token_ids=np.arange(4, dtype=np.int64),
            rollout_logprobs=np.full(4, -1.0, dtype=np.float32),
            text="",
            finish_reason="stop",
            versions=tuple(spans),
        )
        return tuple((done,) * group_size for _ in prompts)


class LightReward:
    """Scores completion i with i % 2; for the samples in `ill` it hangs or dies, according to `how`."""

    def __init__(self, ill: frozenset[str] = frozenset(), how: str = "") -> None:
        self._ill, self._how = ill, how

    async def pid(self) -> int:
        return os.getpid()

    async def score(self, prompt: Prompt, completions: Sequence[Completion], *_: Any) -> tuple[Reward, ...]:
        if prompt.sample.sample_id in self._ill:
            await asyncio.sleep(3600) if self._how == "hang" else os._exit(1)
        return tuple(Reward(value=float(i % 2), breakdown={}) for i in range(len(completions)))


class LightLearner(FakeLearner):
    """Sends weights shard by shard; `between` runs in the middle of every push."""

    def __init__(self, between: Callable[[Sequence[Any]], Awaitable[None]] | None = None) -> None:
        super().__init__()
        self.version = 0
        self.version_changed = asyncio.Condition()
        self.lost = False  # if set, the next step raises LearnerLostError
        self.on_gpu: bool | None = None  # with shared GPUs: whether its training state is on them
        self.turns = 0
        self._between = between
        self._engines: Sequence[Any] = ()

    async def optim_step(self) -> Update:
        self.version += 1
        return await super().optim_step()

    async def forward_backward(self, batch: PackedBatch, patches: Sequence[Any]) -> dict[str, float]:
        if self.lost:
            raise LearnerLostError("the learner is dead")
        await asyncio.sleep(0.05)
        if self.on_gpu is not None:
            sleeps = await asyncio.gather(*(one.sleeps.remote() for one in self._engines), return_exceptions=True)
            if not self.on_gpu or False in sleeps:  # a dead engine returns an error
                raise RuntimeError("the learner trains outside colocated_training")
        return await super().forward_backward(batch, patches)

    async def reload(self) -> None:
        self.on_gpu, self.turns = True, self.turns + 1

    async def offload(self) -> None:
        self.on_gpu = False

    async def connect_engines(self, engines: Sequence[Any], *_: Any, **__: Any) -> None:
        self._engines = engines

    async def send_weights(self, policy_version: int) -> int:
        for shard in (0, 1):
            await self._each("take", shard, policy_version)
            if shard == 0 and self._between is not None:
                await self._between(self._engines)
        if any(held != [policy_version] * 2 for held in await self._each("held")):
            raise WeightPushError("an engine holds something else")
        return 8

    async def _each(self, method: str, *args: Any) -> list[Any]:
        found = []
        for index, engine in enumerate(self._engines):
            try:
                found.append(await asyncio.wait_for(getattr(engine, method).remote(*args), 10))
            except Exception as error:
                raise WeightPushError(f"engine {index}: {type(error).__name__}", index) from error
        return found
