"""Fleets of equal Ray actors: least-loaded dispatch, heartbeats, restarts, calls given to another when one is lost.

Ray never notices an actor that hangs and gives nothing back when one dies, so the pool looks at its actors, times
every call, and replaces whoever died or fell silent, within a budget. A fleet with `quarantine` keeps a new actor
away from calls until `admit`. Knows nothing of what the actors do, and does not place them.
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
_ATTEMPTS = 2  # a call that is lost with its actor is given to another once
_AFFINITY_LOAD = 1.25  # times the least load: a busier actor does not get the calls that belong to it
_START_TIMEOUT_S = 1800.0  # loading a large model from a slow disk


class _State(Enum):
    SERVING = auto()
    QUARANTINED = auto()  # alive, not called
    RESTARTING = auto()
    LOST = auto()  # for good


@dataclass(slots=True)
class _Slot:
    """The place of one actor, which outlives it."""

    index: int
    actor: Any
    budget: RestartBudget
    state: _State = _State.SERVING
    in_flight: int = 0
    cause: str = ""  # why the last actor here was replaced

    @property
    def alive(self) -> bool:
        return self.state in (_State.SERVING, _State.QUARANTINED)


class ActorPool:
    """Equal actors behind one door.

    Example: `pool = ActorPool("reward", start, 4, timeout_s=60, fault=FaultConfig())`, then
    `rewards = await pool.call("score", prompt, completions)` runs on the actor with the fewest calls under way.
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
        turn: asyncio.Lock | None = None,
        place: Callable[[int], Any] | None = None,
    ) -> None:
        """Starts `count` actors: `start(index)` returns a handle, now and for every restart.

        `heartbeat` is a method that raises or stays silent when an actor is of no use; one that does not answer while
        busy is asked when idle only, as calls have their own `timeout_s`. `max_in_flight` calls at most are given to
        one actor. With `quarantine` a restarted actor gets no call before `admit`; `newcomer` is set meanwhile. `turn`
        is held while an actor restarts, where others fill at times what it needs. `place(index)` returns a reference
        that is there once some node has room for the actor.
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
        self._restart_lock = turn
        self._place = place
        self._slots = [_Slot(index=i, actor=start(i), budget=RestartBudget(fault)) for i in range(count)]
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._slots)

    async def ready(self) -> None:
        """Wait until every actor answers, then look after them. Raises what a constructor raised."""
        waits = (
            asyncio.wait_for(getattr(slot.actor, self._heartbeat).remote(), _START_TIMEOUT_S) for slot in self._slots
        )
        try:
            await asyncio.gather(*waits)
        except (RayError, TimeoutError) as error:
            if isinstance(error, RayTaskError | RayActorError) and (raised := unwrap(error)) is not None:
                raise raised from error
            raise WorkerError(f"{self.role}: a worker did not start: {error or type(error).__name__}") from error
        self.watch()

    def watch(self) -> None:
        """Look after the actors from now on, in this process. For a pool that was sent here; `ready` does so itself."""
        self._spawn(self._watch(), "watch")

    async def rest(self) -> None:
        """Look after them no longer: only a pool at rest can be sent to another process, and one of the two watches."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def call(
        self, method: str, *args: Any, affinity: str = "", timeout_s: float | None = None, **kwargs: Any
    ) -> Any:
        """Run `method` on the least-loaded actor; top-level object references arrive as values.

        Calls of one `affinity` go to one actor as long as it is not much busier than the others. Raises what the method
        raises; LostCallError when two actors in a row were lost with it; WorkerError when none is left.
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
        """Handles of the actors that are there, quarantined ones too. Raises WorkerError when all are lost."""
        self._require_any()
        return tuple(slot.actor for slot in self._slots if slot.alive)

    @property
    def num_lost(self) -> int:
        """Actors that stay dead."""
        return sum(slot.state is _State.LOST for slot in self._slots)

    async def ask(self, actors: Sequence[Any], method: str, *args: Any) -> list[Any]:
        """Run `method` on each of these actors. Raises, after all have ended, LostCallError if one is lost."""
        slots = [slot for slot in self._slots if slot.alive and slot.actor in actors]
        calls = (
            self._await(slot, slot.actor, method, getattr(slot.actor, method).remote(*args), self._timeout_s)
            for slot in slots
        )
        results = await asyncio.gather(*calls, return_exceptions=True)
        if len(slots) < len(actors):
            raise LostCallError(f"{self.role}: {len(actors) - len(slots)} workers were replaced before {method}")
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return results

    async def broadcast(self, method: str, *args: Any) -> list[Any]:
        """Run `method` on every actor that is there; as `ask` does."""
        return await self.ask(self.alive, method, *args)

    async def check(self, actors: Sequence[Any]) -> None:
        """Look at these actors now; whoever does not answer is replaced."""
        await asyncio.gather(*(self._look_at(slot) for slot in self._slots if slot.alive and slot.actor in actors))

    def replace(self, actor: Any, cause: str) -> None:
        """Kill an actor that is of no use and start another in its place, as far as the budget goes."""
        for slot in self._slots:
            self._fail(slot, actor, cause)

    def admit(self, actors: Sequence[Any]) -> None:
        """End the quarantine of those of `actors` that are in it."""
        for slot in self._slots:
            if slot.state is _State.QUARANTINED and slot.actor in actors:
                self._turn(slot, _State.SERVING)

    async def close(self, method: str | None = None, grace_s: float = 10.0) -> None:
        """Let every actor run its own `method` for at most `grace_s` seconds, then end it."""
        await self.rest()
        present = [slot.actor for slot in self._slots if slot.state is not _State.LOST]
        alive = [slot.actor for slot in self._slots if slot.alive]
        for slot in self._slots:
            slot.state = _State.LOST  # whoever dies from here on is not replaced
        self._slots = []
        if method is not None and alive:
            refs = [getattr(actor, method).remote() for actor in alive]
            await asyncio.wait([asyncio.ensure_future(_settle(ref)) for ref in refs], timeout=grace_s)
        for actor in present:
            ray.kill(actor)

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
            slot = await self._free_slot(affinity)
            made = getattr(slot.actor, method).options(num_returns=num_returns).remote(*args, **kwargs)
            refs = [made] if num_returns == 1 else made
            try:
                return await self._await(slot, slot.actor, method, refs[0], timeout_s or self._timeout_s), refs
            except LostCallError as error:
                lost = error
        self._require_any()
        raise LostCallError(f"{lost}; it was the second attempt at this call") from lost

    async def _free_slot(self, affinity: str) -> _Slot:
        while (slot := self._choose(affinity)) is None:
            self._require_any()
            await self._changed.wait()
        return slot

    def _choose(self, affinity: str) -> _Slot | None:
        """The least-loaded free actor, or the one to which `affinity` belongs (rendezvous hashing, bounded load)."""
        limit = self._max_in_flight
        free = [s for s in self._slots if s.state is _State.SERVING and (limit is None or s.in_flight < limit)]
        if not free:
            return None
        least = min(free, key=lambda slot: (slot.in_flight, slot.index))
        if not affinity:
            return least
        own = max(free, key=lambda slot: hashlib.blake2b(f"{affinity}/{slot.index}".encode()).digest())
        return own if own.in_flight <= least.in_flight * _AFFINITY_LOAD else least

    async def _await(self, slot: _Slot, actor: Any, method: str, ref: Any, timeout_s: float) -> Any:
        """The result of a call. An actor that is lost with it is replaced, and LostCallError raised."""
        slot.in_flight += 1
        try:
            return await asyncio.wait_for(ref, timeout_s)
        except RayTaskError as error:
            if not isinstance(error.cause, WorkerError | RayError):
                raise error.cause from error
            if isinstance(error.cause, RayError):
                lost = self._lost(slot, f"could not {method}, as what it was given is lost: {_last_line(error.cause)}")
            else:
                lost = self._lost(slot, f"was lost during {method}: {error.cause}")
                self._fail(slot, actor, str(lost))
        except TimeoutError:
            lost = self._lost(slot, f"was lost during {method}: no answer in {timeout_s:g} s ({self.role}.timeout_s)")
            self._fail(slot, actor, str(lost))
        except RayActorError as error:
            lost = self._lost(slot, f"was lost during {method}: it died: {_last_line(error)}")
            self._fail(slot, actor, str(lost))
        except RayError as error:
            lost = self._lost(slot, f"could not {method}, as what it was given is lost: {error}")
        finally:
            slot.in_flight -= 1
            self._notify()
        raise lost

    def _lost(self, slot: _Slot, how: str) -> LostCallError:
        self.lost_calls += 1
        return LostCallError(f"{self.role} worker {slot.index} {how}")

    def _fail(self, slot: _Slot, actor: Any, cause: str) -> None:
        """Replace the actor of a slot, once, however many of its calls say that it is lost."""
        if slot.actor is not actor or not slot.alive:
            return
        logger.warning("%s; replacing it", cause)
        ray.kill(actor)
        self._replace(slot, cause)

    def _replace(self, slot: _Slot, cause: str) -> None:
        slot.cause = cause
        pause_s = slot.budget.spend()
        if pause_s is None:
            self._turn(slot, _State.LOST)
            logger.warning("%s worker %d stays dead: its restarts are used up", self.role, slot.index)
        else:
            self._turn(slot, _State.RESTARTING)
            self._spawn(self._restart(slot, pause_s), f"restart_{slot.index}")

    def _turn(self, slot: _Slot, state: _State) -> None:
        slot.state = state
        if any(slot.state is _State.QUARANTINED for slot in self._slots):
            self.newcomer.set()
        else:
            self.newcomer.clear()
        self._notify()

    async def _restart(self, slot: _Slot, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        if not await self._has_place(slot):
            return
        async with self._restart_lock or nullcontext():
            slot.actor = self._start(slot.index)
            try:
                await asyncio.wait_for(getattr(slot.actor, self._heartbeat).remote(), _START_TIMEOUT_S)
            except (RayError, TimeoutError) as error:
                ray.kill(slot.actor)
                self._replace(slot, f"{self.role} worker {slot.index} did not start: {_last_line(error)}")
                return
        self.restarts += 1
        self._turn(slot, _State.QUARANTINED if self._quarantine else _State.SERVING)

    async def _has_place(self, slot: _Slot) -> bool:
        """Wait for a node with room. Where none comes the actor is lost, whatever its budget: it would wait again."""
        if self._place is None:
            return True
        ref = self._place(slot.index)
        try:
            await asyncio.wait_for(ref, self._fault.placement_timeout_s)
        except TimeoutError:
            ray.cancel(ref)
            slot.cause += (
                f"; no node had room for it in {self._fault.placement_timeout_s:g} s (fault.placement_timeout_s)"
            )
            logger.warning("%s worker %d stays dead: %s", self.role, slot.index, slot.cause)
            self._turn(slot, _State.LOST)
            return False
        except RayError:  # the start will tell
            logger.warning("%s worker %d: whether a node has room is not known", self.role, slot.index, exc_info=True)
        return True

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._fault.heartbeat_interval_s)
            idle_or_able = [
                slot for slot in self._slots if slot.alive and (self._answers_while_busy or not slot.in_flight)
            ]
            await asyncio.gather(*(self._look_at(slot) for slot in idle_or_able))

    async def _look_at(self, slot: _Slot) -> None:
        actor, heartbeat_timeout_s = slot.actor, self._fault.heartbeat_timeout_s
        try:
            await asyncio.wait_for(getattr(actor, self._heartbeat).remote(), heartbeat_timeout_s)
        except TimeoutError:
            if self._answers_while_busy or not slot.in_flight:
                self._fail(slot, actor, f"{self.role} worker {slot.index} was silent for {heartbeat_timeout_s:g} s")
        except RayError as error:
            cause = error.cause if isinstance(error, RayTaskError) else error
            self._fail(slot, actor, f"{self.role} worker {slot.index} is dead: {_last_line(cause)}")

    def _require_any(self) -> None:
        if self._slots and all(slot.state is _State.LOST for slot in self._slots):
            causes = "; ".join(sorted({slot.cause for slot in self._slots}))
            raise WorkerError(
                f"all {len(self._slots)} {self.role} workers are dead and their restarts used up or without a place "
                f"(fault.max_restarts={self._fault.max_restarts} in {self._fault.window_s:g} s). {causes}"
            )

    def _notify(self) -> None:
        """Wake all who wait for a free actor."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _spawn(self, work: Any, name: str) -> None:
        task = asyncio.create_task(work, name=f"{self.role}_{name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """A fault of the pool itself is nobody's to survive: everyone who waits hears of it."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s pool: %s failed", self.role, task.get_name(), exc_info=error)
            for slot in self._slots:
                slot.state, slot.cause = _State.LOST, f"{task.get_name()} failed: {error!r}"
            self._notify()


def _last_line(error: BaseException) -> str:
    """What a traceback or one of Ray's reports ends with."""
    return ([line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__])[-1]


async def _settle(ref: Any) -> None:
    """Wait for a reference and forget how it ended: the actor is about to be killed anyway."""
    try:
        await ref
    except (RayActorError, RayTaskError):
        return
