"""Fleets of equal Ray actors: least-loaded dispatch, bounded waiting, errors unwrapped to what the actor raised.

Knows nothing of what the actors do. Does not start actors (placement) nor decide what a failure means (the runner).
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from vrl.causes import raised_by
from vrl.errors import WorkerError


class ActorPool:
    """Equal actors behind one door.

    Example: `pool = ActorPool("reward", actors, timeout_s=60)`, then
    `rewards = await pool.call("score", prompt, completions)` runs on the actor with the fewest calls under way.
    """

    def __init__(self, role: str, actors: Sequence[Any], *, timeout_s: float) -> None:
        """Calls raise WorkerError, naming role, index and cause, when an actor dies or is silent for `timeout_s`."""
        self.role = role
        self.actors = list(actors)
        self._timeout_s = timeout_s
        self._in_flight = [0] * len(self.actors)

    def __len__(self) -> int:
        return len(self.actors)

    async def ready(self, timeout_s: float) -> None:
        """Wait until every actor is constructed. Raises what a constructor raised, or WorkerError."""
        waits = (self._await(i, "__init__", a.__ray_ready__.remote(), timeout_s) for i, a in enumerate(self.actors))
        await asyncio.gather(*waits)

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Run `method` on the least-loaded actor. Top-level object references arrive as values."""
        return await self._run(self._least_loaded(), method, args, kwargs)

    async def call_at(self, index: int, method: str, *args: Any, **kwargs: Any) -> Any:
        """Run `method` on the actor `index % len(self)`, whose caches may hold what the call needs."""
        return await self._run(index % len(self.actors), method, args, kwargs)

    async def call_keeping(self, method: str, *args: Any) -> tuple[Any, Any]:
        """Run a method that returns two values on the least-loaded actor; the second stays in the object store.

        Returns the first value and a reference to the second, so that pixels never pass through the driver.
        """
        index = self._least_loaded()
        value_ref, kept_ref = getattr(self.actors[index], method).options(num_returns=2).remote(*args)
        return await self._await(index, method, value_ref), kept_ref

    async def broadcast(self, method: str, *args: Any, **kwargs: Any) -> list[Any]:
        """Run `method` on every actor; results in actor order."""
        return list(await asyncio.gather(*(self._run(i, method, args, kwargs) for i in range(len(self.actors)))))

    async def close(self, method: str | None = None, grace_s: float = 10.0) -> None:
        """Let every actor run its own `method` for at most `grace_s` seconds, then end it."""
        if method is not None and self.actors:
            refs = [getattr(actor, method).remote() for actor in self.actors]
            await asyncio.wait([asyncio.ensure_future(_settle(ref)) for ref in refs], timeout=grace_s)
        for actor in self.actors:
            ray.kill(actor)
        self.actors = []

    def _least_loaded(self) -> int:
        return min(range(len(self.actors)), key=lambda i: (self._in_flight[i], i))

    async def _run(self, index: int, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return await self._await(index, method, getattr(self.actors[index], method).remote(*args, **kwargs))

    async def _await(self, index: int, method: str, ref: Any, timeout_s: float | None = None) -> Any:
        self._in_flight[index] += 1
        timeout_s = timeout_s or self._timeout_s
        try:
            return await asyncio.wait_for(ref, timeout_s)
        except (TimeoutError, GetTimeoutError) as error:
            raise WorkerError(
                f"{self.role} worker {index}: got no answer to {method} in {timeout_s:g} s, wanted one; "
                f"raise {self.role}.timeout_s or look at the worker's log"
            ) from error
        except (RayTaskError, RayActorError) as error:
            if (raised := raised_by(error)) is not None:
                raise raised from error
            raise WorkerError(f"{self.role} worker {index} died during {method}: {error}") from error
        finally:
            self._in_flight[index] -= 1


async def _settle(ref: Any) -> None:
    """Wait for a reference and forget how it ended: the actor is about to be killed anyway."""
    try:
        await ref
    except (RayActorError, RayTaskError):
        return
