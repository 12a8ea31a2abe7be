"""Keeps every rollout engine at the learner's weights: after a step, after a restart, after a push that failed.

No engine samples from weights that nobody vouches for: engines are paused before the first byte leaves and resumed
once all of them have verified. Where learner and engines share GPUs they take turns on them. Sends nothing itself
(vrl.weights.sender does, on the learner's ranks).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from vrl.actors.interfaces import Engines, Learner
from vrl.config import PushConfig
from vrl.errors import LostCallError, WeightPushError

logger = logging.getLogger(__name__)


class WeightSync:
    """Example: `await push.to_all(policy_version)` after a step; `push.to_newcomers()` runs beside it for ever."""

    def __init__(
        self,
        engines: Engines,
        learner: Learner,
        *,
        backend: str,
        config: PushConfig,
        workers_per_engine: int,
        gpus: asyncio.Lock | None = None,
    ) -> None:
        """Engines and learner start with equal weights, those at model.path: policy version 0.

        `gpus`: where they share them, held by whoever needs the engines to keep still: the learner in its turn, an
        engine that starts (see ActorPool), a push to a newcomer. The engines' turn comes first: the learner is away.
        """
        self.failures = 0
        self._gpus = gpus
        self._engines = engines
        self._learner = learner
        self._connection = (backend, config, workers_per_engine)
        self._connected: tuple[Any, ...] = ()
        self._version = 0
        self._one_at_a_time = asyncio.Lock()

    async def to_all(self, policy_version: int) -> int:
        """Pause the engines, send and verify the learner's weights, resume; returns the bytes sent to each engine.

        An engine that fails is replaced and the others get the weights again, from the start; with no engine alive
        there is nothing to do, and those to come are served by `to_newcomers`. Raises WeightPushError when the fault
        is no engine's (the engines stay paused), WorkerError when all engines are lost.
        """
        async with self._one_at_a_time:
            self._version = policy_version
            if self._gpus is not None:
                await self._learner.offload()  # with its weights it fits beside theirs
            num_bytes = await self._push()
            self._learner.pushed.set()  # also where no engine was there to get them
            return num_bytes

    async def to_newcomers(self) -> None:
        """Push to restarted engines as soon as they are there, and end their quarantine. Never returns.

        While the learner's weights are ahead of the last push, the next one is on its way and serves them too.
        """
        while True:
            await self._engines.newcomer.wait()
            await self._learner.pushed.wait()
            async with self._gpus or nullcontext(), self._one_at_a_time:
                if self._engines.newcomer.is_set() and self._learner.pushed.is_set():
                    await self._push(only_if_current=True)

    @asynccontextmanager
    async def colocated_training(self) -> AsyncIterator[None]:
        """Whatever the learner computes on shared GPUs belongs in here; on GPUs of its own this does nothing.

        The engines, which nobody may be using, sleep until a `to_all` in the block wakes them step by step, and
        otherwise until its end; the optimizer's state and all else that only training needs is on the host meanwhile
        and after. When a fault leads out of the block all stays as it is: it ends the run, or begins it anew.
        """
        if self._gpus is None:
            yield
            return
        async with self._gpus:
            await self._tell("sleep")
            await self._learner.reload()
            yield
            await self._learner.offload()
            await self._tell("resume")

    async def _tell(self, method: str) -> None:
        """Whoever is lost with it is replaced, and starts awake once the turn is over."""
        try:
            await self._engines.broadcast(method)
        except LostCallError as error:
            logger.warning("%s; going on with the engines that are left", error)

    async def _push(self, *, only_if_current: bool = False) -> int:
        unexplained = 0
        while engines := self._engines.alive:
            try:
                return await self._attempt(engines, only_if_current)
            except LostCallError as error:  # the pool knows already
                self._failed(error)
            except WeightPushError as error:
                self._failed(error)
                await self._engines.check(engines)
                unexplained += self._engines.alive == engines  # all answer
                if unexplained > 1:
                    if error.engine is None:
                        raise
                    self._engines.replace(engines[error.engine], str(error))
        return 0

    async def _attempt(self, engines: Sequence[Any], only_if_current: bool) -> int:
        await self._engines.ask(engines, "pause")
        if engines != self._connected:
            self._connected = ()
            backend, config, workers_per_engine = self._connection
            await self._learner.connect_engines(engines, backend, config, workers_per_engine)
            self._connected = tuple(engines)
        num_bytes = 0
        if self._learner.pushed.is_set() or not only_if_current:
            num_bytes = await self._learner.sync_weights(self._version)
            self._engines.admit(engines)
        await self._engines.ask(engines, "resume")
        return num_bytes

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        self._connected = ()  # what a torn push left in it is not to be used
        logger.warning("weight push failed, trying again with the engines that are left: %s", error)
