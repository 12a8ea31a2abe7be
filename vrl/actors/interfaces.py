"""Protocols of pools and learner as training and inference use them: the interfaces that tests fake.

Implements nothing: vrl.actors.pool.ActorPool and vrl.learner.group.LearnerGroup do.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from vrl.config import PushConfig
from vrl.types import PackedBatch, Update


class Workers(Protocol):
    """Equal actors that share calls: reward workers, or engines that only generate."""

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any: ...

    def __len__(self) -> int: ...


class Pool(Protocol):
    """Data workers, engines or retrieval workers, as inference uses them; one process at a time runs the heartbeat."""

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any: ...

    async def call_keeping(self, method: str, *args: Any) -> tuple[Any, Any]: ...

    async def broadcast(self, method: str, *args: Any) -> list[Any]: ...

    def start_heartbeat(self) -> None: ...

    async def stop_heartbeat(self) -> None: ...


class Engines(Workers, Protocol):
    """Rollout engines, which can also be addressed individually: paused and sent weights."""

    newcomer: asyncio.Event  # set while a restarted engine waits in quarantine for its weights

    @property
    def alive(self) -> tuple[Any, ...]: ...

    async def ask(self, actors: Sequence[Any], method: str, *args: Any) -> list[Any]: ...

    async def broadcast(self, method: str, *args: Any) -> list[Any]: ...

    async def check(self, actors: Sequence[Any]) -> None: ...

    def replace(self, actor: Any, cause: str) -> None: ...

    def admit(self, actors: Sequence[Any]) -> None: ...


class Scorer(Protocol):
    """A policy that scores completions, which is all that the parity gate asks for."""

    async def logprobs(self, batch: PackedBatch, patches: Sequence[Any]) -> list[tuple[np.ndarray, ...]]: ...


class Learner(Scorer, Protocol):
    """The policy in training, as an RL step and the weight sync use it."""

    version: int  # of its weights, incremented as soon as a change is requested
    version_changed: asyncio.Condition  # notified when `version` is decremented because a step was dropped

    async def forward_backward(self, batch: PackedBatch, patches: Sequence[Any]) -> dict[str, float]: ...

    async def optim_step(self) -> Update: ...

    async def ref_logprobs(self, batch: PackedBatch, patches: Sequence[Any]) -> list[tuple[np.ndarray, ...]]: ...

    async def offload(self) -> None: ...

    async def reload(self) -> None: ...

    async def connect_engines(
        self, engines: Sequence[Any], backend: str, config: PushConfig, workers_per_engine: int = 1
    ) -> None: ...

    async def send_weights(self, policy_version: int) -> int: ...
