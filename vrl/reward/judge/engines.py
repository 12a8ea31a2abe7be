"""A judge model on the run's own engines: Ray actors (vrl.rollout.judge), called without a network address or a key.

Ray restarts an engine that dies, since its only state is the model; questions in flight fail.
"""

import asyncio
import itertools
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from vrl.errors import JudgeError, excerpt
from vrl.reward.judge.service import Request


class OwnEngines:
    """A connection that uses the engines in turn."""

    def __init__(self, engines: Sequence[Any]) -> None:
        self._turn = itertools.cycle(engines)

    async def __call__(self, request: Request) -> str:
        """Return the text of the reply. Raises JudgeError, also if the engine died."""
        try:
            return await next(self._turn).chat.remote(request)
        except RayError as error:
            cause = error.cause if isinstance(error, RayTaskError) else error  # without Ray's report around it
            raise JudgeError(f"{type(cause).__name__}: {excerpt(cause)}") from error

    async def close(self) -> None:
        """Do nothing: the run ends the actors."""


async def end(engines: Sequence[Any], grace_s: float = 10.0) -> None:
    """Give every engine `grace_s` seconds to stop its vLLM, then kill it."""
    if engines:
        goodbyes = [asyncio.ensure_future(_goodbye(engine)) for engine in engines]
        await asyncio.wait(goodbyes, timeout=grace_s)
    for engine in engines:
        ray.kill(engine)


async def _goodbye(engine: Any) -> None:
    with suppress(RayError):  # it already died
        await engine.shutdown.remote()
