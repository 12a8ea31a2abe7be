"""A pool of equal Ray actors: least-loaded dispatch, heartbeats, restarts, and a second attempt for a lost call.

Ray neither notices an actor that hangs nor retries the calls of one that dies, so the pool sends heartbeats, limits
the time of every call, and replaces an actor that died or hangs, within a restart budget. A pool with `quarantine`
sends a restarted actor no calls until `admit`. Does not know what the actors do, and does not place them.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from vrl.actors.ray_errors import unwrap
from vrl.actors.restarts import RestartBudget
from vrl.config import FaultConfig
from vrl.errors import LostCallError, WorkerError

logger = logging.getLogger(__name__)
_ATTEMPTS = 2  # workers that a call is tried on before it counts as lost
_AFFINITY_LOAD = 1.25  # affinity yields when its worker has more than this multiple of the least load
_START_TIMEOUT_S = 1800.0  # loading a large model from a slow disk


class _State(Enum):
    SERVING = auto()
    QUARANTINED = auto()  # alive, gets no calls
    RESTARTING = auto()
    LOST = auto()  # dead and not replaced


@dataclass(slots=True)
class _Worker:
    """One member of the pool; keeps its index and restart budget when its actor is replaced."""

    index: int
    name: str
    actor: Any
    budget: RestartBudget
    state: _State = _State.SERVING
    in_flight: int = 0
    cause: str = ""  # why its last actor was replaced

    @property
    def alive(self) -> bool:
        return self.state in (_State.SERVING, _State.QUARANTINED)


class ActorPool:
    """Equal actors that share calls.

    Example: `pool = ActorPool("reward", start, 4, timeout_s=60, fault=FaultConfig())`, then
    `rewards = await pool.call("score", prompt, completions)` runs on the actor with the fewest calls in flight.
    """

    def __init__(
        self,
        role: str,
        start: Callable[[int], Any],
        count: int,
        *,
        timeout_s: float,
        fault: FaultConfig,
        heartbeat: str = "__ray_ready__",
        answers_while_busy: bool = False,
        max_in_flight: int | None = None,
        quarantine: bool = False,
        restart_lock: asyncio.Lock | None = None,
        room_for: Callable[[int], Any] | None = None,
        shutdown: str = "",
    ) -> None:
        """Start `count` actors: `start(index)` returns a handle, now and for every restart.

        `heartbeat`: a method that raises or does not return if an actor is broken; unless the actor
        `answers_while_busy` it is called only while the actor is idle, as calls have their own `timeout_s`.
        `max_in_flight`: maximum number of calls that one actor runs at a time.
        `quarantine`: a restarted actor gets no call before `admit`; `newcomer` is set meanwhile.
        `restart_lock`: held while an actor restarts, because others sometimes use the memory that it needs.
        `room_for(index)`: returns a reference that resolves once some node has room for the actor.
        `shutdown`: a method that each actor runs before `close` kills it.
        """
        self.role = role
        self.restarts = 0
        self.lost_calls = 0
        self.newcomer = asyncio.Event()
        self._start = start
        self._timeout_s = timeout_s
        self._fault = fault
        self._heartbeat = heartbeat
        self._answers_while_busy = answers_while_busy
        self._max_in_flight = max_in_flight
        self._quarantine = quarantine
        self._restart_lock = restart_lock
        self._room_for = room_for
        self._shutdown = shutdown
        self._workers = [_Worker(i, f"{role} worker {i}", start(i), RestartBudget(fault)) for i in range(count)]
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._workers)

    async def ready(self) -> None:
        """Wait until every actor answers, then start the heartbeat. Raises what a constructor raised."""
        waits = [asyncio.wait_for(getattr(w.actor, self._heartbeat).remote(), _START_TIMEOUT_S) for w in self._workers]
        try:
            await asyncio.gather(*waits)
        except (RayError, TimeoutError) as error:
            if isinstance(error, RayTaskError | RayActorError) and (raised := unwrap(error)) is not None:
                raise raised from error
            raise WorkerError(f"{self.role}: a worker did not start: {error or type(error).__name__}") from error
        self.start_heartbeat()

    def start_heartbeat(self) -> None:
        """Start the heartbeat task in this process. `ready` does so; a pool sent to another process needs the call."""
        self._spawn(self._send_heartbeats(), "heartbeat")

    async def stop_heartbeat(self) -> None:
        """Stop the heartbeat and all restarts. Required before the pool is sent to another process."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def call(
        self, method: str, *args: Any, affinity: str = "", timeout_s: float | None = None, **kwargs: Any
    ) -> Any:
        """Run `method` on the least-loaded actor; top-level object references arrive as values.

        Calls of equal `affinity` go to the same actor unless it is much busier than the others. Raises what the method
        raises; LostCallError if two actors in a row were lost with the call; WorkerError if no actor is left.
        """
        value, _ = await self._dispatch(method, args, kwargs, affinity, num_returns=1, timeout_s=timeout_s)
        return value

    async def call_keeping(self, method: str, *args: Any, timeout_s: float | None = None) -> tuple[Any, Any]:
        """Run a method that returns two values on the least-loaded actor; the second stays in the object store.

        Returns the first value and a reference to the second, so that pixels never pass through the driver.
        """
        value, refs = await self._dispatch(method, args, {}, "", num_returns=2, timeout_s=timeout_s)
        return value, refs[1]

    @property
    def alive(self) -> tuple[Any, ...]:
        """Handles of the live actors, quarantined ones included. Raises WorkerError if all are lost."""
        self._require_any()
        return tuple(worker.actor for worker in self._workers if worker.alive)

    @property
    def num_lost(self) -> int:
        """Number of actors that died and were not replaced."""
        return sum(worker.state is _State.LOST for worker in self._workers)

    async def ask(self, actors: Sequence[Any], method: str, *args: Any) -> list[Any]:
        """Run `method` on each of these actors and wait for all. Raises LostCallError if one is lost."""
        workers = self._living(actors)
        calls = (
            self._await(worker, worker.actor, method, getattr(worker.actor, method).remote(*args), self._timeout_s)
            for worker in workers
        )
        results = await asyncio.gather(*calls, return_exceptions=True)
        if len(workers) < len(actors):
            raise LostCallError(f"{self.role}: {len(actors) - len(workers)} workers were replaced before {method}")
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return results

    async def broadcast(self, method: str, *args: Any) -> list[Any]:
        """Run `method` on every live actor, as `ask` does."""
        return await self.ask(self.alive, method, *args)

    async def check(self, actors: Sequence[Any]) -> None:
        """Send these actors a heartbeat now and replace those that do not answer."""
        await asyncio.gather(*(self._probe(worker) for worker in self._living(actors)))

    def replace(self, actor: Any, cause: str) -> None:
        """Kill a broken actor and start another in its place if its restart budget allows."""
        for worker in self._workers:
            self._fail(worker, actor, cause)

    def admit(self, actors: Sequence[Any]) -> None:
        """Let the quarantined ones among `actors` take calls."""
        for worker in self._workers:
            if worker.state is _State.QUARANTINED and worker.actor in actors:
                self._set_state(worker, _State.SERVING)

    async def close(self, grace_s: float = 10.0) -> None:
        """Let every actor run its `shutdown` method for at most `grace_s` seconds, then kill it."""
        await self.stop_heartbeat()
        present = [worker.actor for worker in self._workers if worker.state is not _State.LOST]
        alive = [worker.actor for worker in self._workers if worker.alive]
        for worker in self._workers:
            worker.state = _State.LOST  # an actor that dies from now on is not replaced
        self._workers = []
        if self._shutdown and alive:
            calls = [_ignore_failure(getattr(actor, self._shutdown).remote()) for actor in alive]
            await asyncio.wait([asyncio.ensure_future(call) for call in calls], timeout=grace_s)
        for actor in present:
            ray.kill(actor)

    def _living(self, actors: Sequence[Any]) -> list[_Worker]:
        return [worker for worker in self._workers if worker.alive and worker.actor in actors]

    async def _dispatch(
        self,
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        affinity: str,
        *,
        num_returns: int,
        timeout_s: float | None = None,
    ) -> tuple[Any, Sequence[Any]]:
        lost: LostCallError | None = None
        for _ in range(_ATTEMPTS):
            while (worker := self._choose(affinity)) is None:
                self._require_any()
                await self._changed.wait()
            made = getattr(worker.actor, method).options(num_returns=num_returns).remote(*args, **kwargs)
            refs = [made] if num_returns == 1 else made
            try:
                return await self._await(worker, worker.actor, method, refs[0], timeout_s or self._timeout_s), refs
            except LostCallError as error:
                lost = error
        self._require_any()
        raise LostCallError(f"{lost}; the call failed on {_ATTEMPTS} workers, giving up") from lost

    def _choose(self, affinity: str) -> _Worker | None:
        """Return the least-loaded free worker, or the one that `affinity` maps to (bounded-load rendezvous hashing)."""
        limit = self._max_in_flight
        free = [w for w in self._workers if w.state is _State.SERVING and (limit is None or w.in_flight < limit)]
        if not free:
            return None
        least = min(free, key=lambda worker: (worker.in_flight, worker.index))
        if not affinity:
            return least
        own = max(free, key=lambda worker: hashlib.blake2b(f"{affinity}/{worker.index}".encode()).digest())
        return own if own.in_flight <= least.in_flight * _AFFINITY_LOAD else least

    async def _await(self, worker: _Worker, actor: Any, method: str, ref: Any, timeout_s: float) -> Any:
        """Return the result of a call. If the actor is lost, replace it and raise LostCallError."""
        worker.in_flight += 1
        try:
            return await asyncio.wait_for(ref, timeout_s)
        except RayTaskError as error:
            if not isinstance(error.cause, WorkerError | RayError):
                raise error.cause from error
            if isinstance(error.cause, RayError):
                lost = self._lost_call(worker, f"could not {method}: an argument was lost: {_last_line(error.cause)}")
            else:
                lost = self._lost_call(worker, f"was lost during {method}: {error.cause}")
                self._fail(worker, actor, str(lost))
        except TimeoutError:
            how = f"was lost during {method}: no answer in {timeout_s:g} s ({self.role}.timeout_s)"
            lost = self._lost_call(worker, how)
            self._fail(worker, actor, str(lost))
        except RayActorError as error:
            lost = self._lost_call(worker, f"was lost during {method}: it died: {_last_line(error)}")
            self._fail(worker, actor, str(lost))
        except RayError as error:
            lost = self._lost_call(worker, f"could not {method}: an argument was lost: {error}")
        finally:
            worker.in_flight -= 1
            self._notify()
        raise lost

    def _lost_call(self, worker: _Worker, how: str) -> LostCallError:
        self.lost_calls += 1
        return LostCallError(f"{worker.name} {how}")

    def _fail(self, worker: _Worker, actor: Any, cause: str) -> None:
        """Replace a worker's actor, only once, even if several of its calls report it lost."""
        if worker.actor is not actor or not worker.alive:
            return
        logger.warning("%s; replacing it", cause)
        ray.kill(actor)
        self._replace(worker, cause)

    def _replace(self, worker: _Worker, cause: str) -> None:
        worker.cause = cause
        pause_s = worker.budget.spend()
        if pause_s is None:
            self._set_state(worker, _State.LOST)
            logger.warning("%s is not replaced: its restart budget is exhausted", worker.name)
        else:
            self._set_state(worker, _State.RESTARTING)
            self._spawn(self._restart(worker, pause_s), f"restart_{worker.index}")

    def _set_state(self, worker: _Worker, state: _State) -> None:
        worker.state = state
        if any(worker.state is _State.QUARANTINED for worker in self._workers):
            self.newcomer.set()
        else:
            self.newcomer.clear()
        self._notify()

    async def _restart(self, worker: _Worker, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        if not await self._has_room(worker):
            return
        async with self._restart_lock or nullcontext():
            worker.actor = self._start(worker.index)
            try:
                await asyncio.wait_for(getattr(worker.actor, self._heartbeat).remote(), _START_TIMEOUT_S)
            except (RayError, TimeoutError) as error:
                ray.kill(worker.actor)
                self._replace(worker, f"{worker.name} did not start: {_last_line(error)}")
                return
        self.restarts += 1
        self._set_state(worker, _State.QUARANTINED if self._quarantine else _State.SERVING)

    async def _has_room(self, worker: _Worker) -> bool:
        """Wait for a node with room; if none appears the actor is lost, even with restart budget left."""
        if self._room_for is None:
            return True
        ref = self._room_for(worker.index)
        try:
            await asyncio.wait_for(ref, self._fault.placement_timeout_s)
        except TimeoutError:
            ray.cancel(ref)
            limit_s = self._fault.placement_timeout_s
            worker.cause += f"; no node had room for it in {limit_s:g} s (fault.placement_timeout_s)"
            logger.warning("%s is not replaced: %s", worker.name, worker.cause)
            self._set_state(worker, _State.LOST)
            return False
        except RayError:  # the start of the actor will show
            logger.warning("%s: cannot find out whether a node has room", worker.name, exc_info=True)
        return True

    async def _send_heartbeats(self) -> None:
        while True:
            await asyncio.sleep(self._fault.heartbeat_interval_s)
            able = [w for w in self._workers if w.alive and (self._answers_while_busy or not w.in_flight)]
            await asyncio.gather(*(self._probe(worker) for worker in able))

    async def _probe(self, worker: _Worker) -> None:
        actor, timeout_s = worker.actor, self._fault.heartbeat_timeout_s
        try:
            await asyncio.wait_for(getattr(actor, self._heartbeat).remote(), timeout_s)
        except TimeoutError:
            if self._answers_while_busy or not worker.in_flight:
                self._fail(worker, actor, f"{worker.name} was silent for {timeout_s:g} s")
        except RayError as error:
            cause = error.cause if isinstance(error, RayTaskError) else error
            self._fail(worker, actor, f"{worker.name} is dead: {_last_line(cause)}")

    def _require_any(self) -> None:
        if self._workers and all(worker.state is _State.LOST for worker in self._workers):
            causes = "; ".join(sorted({worker.cause for worker in self._workers}))
            raise WorkerError(
                f"all {len(self._workers)} {self.role} workers are dead and have no restarts or no room left "
                f"(fault.max_restarts={self._fault.max_restarts} in {self._fault.window_s:g} s). {causes}"
            )

    def _notify(self) -> None:
        """Wake the calls that wait for a free worker."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _spawn(self, work: Any, name: str) -> None:
        task = asyncio.create_task(work, name=f"{self.role}_{name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """Report a failure of the pool's own task to all waiting calls: a restart would not help."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s pool: %s failed", self.role, task.get_name(), exc_info=error)
            for worker in self._workers:
                worker.state, worker.cause = _State.LOST, f"{task.get_name()} failed: {error!r}"
            self._notify()


def _last_line(error: BaseException) -> str:
    """Return the last line of a traceback or of one of Ray's reports."""
    return ([line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__])[-1]


async def _ignore_failure(ref: Any) -> None:
    """Wait for a reference and ignore a failure: the actor is killed next anyway."""
    try:
        await ref
    except (RayActorError, RayTaskError):
        return
