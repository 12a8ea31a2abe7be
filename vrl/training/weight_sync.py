"""Keeps the rollout engines at the learner's weights: after a step, a restart, or a failed push.

No engine samples from unverified weights: engines are paused before the first byte is sent and resumed once all of
them have verified. If learner and engines share GPUs, they take turns. Moves no bytes: the learner's ranks do
(vrl.weights.sender).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from vrl.actors.interfaces import Engines, Learner
from vrl.config import PushConfig
from vrl.errors import LostCallError, WeightPushError
from vrl.observability.spans import span

logger = logging.getLogger(__name__)


class WeightSync:
    """Pushes the learner's weights to the engines, which are current if `learner_version` equals `pushed_version`.

    Example: `await weights.sync(policy_version)` after a step, and `weights.sync_newcomers()` as a background task.
    """

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
        """Engines and learner start with the weights at model.path: policy version 0.

        `gpus`: the lock on GPUs that engines and learner share, None if they share none. It is held while the learner
        trains, while an engine starts (see ActorPool) and while a newcomer gets its weights.
        """
        self.failures = 0
        self.pushed_version = learner.version  # held by every engine that takes calls
        self._gpus = gpus
        self._engines = engines
        self._learner = learner
        self._connection = (backend, config, workers_per_engine)
        self._connected: tuple[Any, ...] = ()
        self._policy_version = 0  # what engines call `pushed_version`; one step may be several updates
        self._one_at_a_time = asyncio.Lock()

    @property
    def learner_version(self) -> int:
        """The version of the learner's weights; it counts an optimizer step that is still in flight."""
        return self._learner.version

    async def sync(self, policy_version: int) -> int:
        """Pause the engines, send and verify the learner's weights, resume; returns the bytes sent to each engine.

        An engine that fails is replaced, and the push to the others starts again. Without a live engine nothing is
        sent: `sync_newcomers` serves restarted ones. Raises WeightPushError if no engine is at fault (they stay
        paused), WorkerError if all engines are lost.
        """
        with span("push"):
            async with self._one_at_a_time:
                self._policy_version = policy_version
                if self._gpus is not None:
                    await self._learner.offload()  # its weights fit on the GPU together with the engine's
                version = self.learner_version
                num_bytes = await self._send(version)
                async with self._learner.version_changed:
                    self.pushed_version = version
                    self._learner.version_changed.notify_all()
                return num_bytes

    async def sync_newcomers(self) -> None:
        """Send restarted engines the last pushed weights and end their quarantine. Never returns.

        A newcomer waits while the learner is ahead: the next `sync` serves it too.
        """
        while True:
            await self._engines.newcomer.wait()
            async with self._learner.version_changed:
                await self._learner.version_changed.wait_for(lambda: self.learner_version == self.pushed_version)
            async with self._gpus or nullcontext(), self._one_at_a_time:
                if self._engines.newcomer.is_set() and self.learner_version == self.pushed_version:
                    await self._send(self.pushed_version)

    @asynccontextmanager
    async def colocated_training(self) -> AsyncIterator[None]:
        """Give the learner the GPUs that it shares with the engines; does nothing if they share none.

        No request may be running. The engines sleep until a `sync` in the block, or its end, wakes them. Outside the
        block, everything that only training needs stays on the host. An exception that leaves the block ends or
        restarts the run, so engines are not woken then.
        """
        if self._gpus is None:
            yield
            return
        async with self._gpus:
            await self._broadcast("sleep")
            await self._learner.reload()
            yield
            await self._learner.offload()
            await self._broadcast("resume")

    async def _broadcast(self, method: str) -> None:
        """Call a method of all engines. The pool replaces a lost one, which starts awake after the training block."""
        try:
            await self._engines.broadcast(method)
        except LostCallError as error:
            logger.warning("%s; continuing with the remaining engines", error)

    async def _send(self, version: int) -> int:
        """Try until all live engines hold the learner's weights of this `version`; return the bytes sent to each."""
        unexplained = 0
        while engines := self._engines.alive:
            try:
                return await self._attempt(engines, version)
            except LostCallError as error:  # the pool has replaced the engine
                self._record_failure(error)
            except WeightPushError as error:
                self._record_failure(error)
                await self._engines.check(engines)
                unexplained += self._engines.alive == engines  # all of them answered
                if unexplained > 1:
                    if error.engine is None:
                        raise
                    self._engines.replace(engines[error.engine], str(error))
        return 0

    async def _attempt(self, engines: Sequence[Any], version: int) -> int:
        await self._engines.ask(engines, "pause")
        if engines != self._connected:
            self._connected = ()
            backend, config, workers_per_engine = self._connection
            await self._learner.connect_engines(engines, backend, config, workers_per_engine)
            self._connected = tuple(engines)
        num_bytes = 0
        if self.learner_version == version:  # an optimizer step may have begun meanwhile, for newcomers only
            num_bytes = await self._learner.send_weights(self._policy_version)
            self._engines.admit(engines)
        await self._engines.ask(engines, "resume")
        return num_bytes

    def _record_failure(self, error: Exception) -> None:
        self.failures += 1
        self._connected = ()  # a torn push leaves the connection in an unknown state
        logger.warning("weight push failed, trying again with the remaining engines: %s", error)
