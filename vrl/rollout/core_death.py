"""Ends calls to vLLM's core process when it dies: vLLM leaves calls other than a request's pending forever."""

import asyncio
import os
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


class CoreDiedError(Exception):
    """The core process exited while a call was under way."""


class CoreDeath:
    """Watches the core processes of one engine. Example: `await CoreDeath(llm).or_result(llm.reset_prefix_cache())`."""

    def __init__(self, llm: Any) -> None:
        manager = llm.engine_core.resources.engine_manager
        # Duplicates, because vLLM closes its own while the loop still watches them.
        self._sentinels = [os.dup(process.sentinel) for process in manager.processes]
        self._died: asyncio.Future[None] | None = None  # made by the first call, on the loop that runs the engine

    async def or_result(self, call: Awaitable[T]) -> T:
        """Await a call of the engine. Raise CoreDiedError as soon as a core process exits."""
        task = asyncio.ensure_future(call)
        try:
            await asyncio.wait((task, self._death()), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise CoreDiedError
        finally:
            task.cancel()

    def _death(self) -> "asyncio.Future[None]":
        if self._died is None:
            loop = asyncio.get_running_loop()
            self._died = loop.create_future()
            for sentinel in self._sentinels:
                loop.add_reader(sentinel, self._resolve, sentinel)
        return self._died

    def _resolve(self, sentinel: int) -> None:
        asyncio.get_running_loop().remove_reader(sentinel)
        os.close(sentinel)
        if self._died is not None and not self._died.done():
            self._died.set_result(None)
