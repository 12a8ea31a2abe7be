"""A judge with a language model: sends prompts and parses replies strictly.

Bounded: at most `concurrency` questions in flight, each with `timeout_s` for waiting and retries. As deterministic as
the model's engine: temperature 0, a fixed seed, replies cached on disk by content. The connection to the model is a
`Chat`, see vrl.reward.judge.endpoint and vrl.reward.judge.engines.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from vrl.config import JudgeConfig
from vrl.errors import JudgeError, excerpt
from vrl.reward.inputs import Claim
from vrl.reward.judge import prompts
from vrl.reward.judge.cache import ReplyCache
from vrl.types import Sample

T = TypeVar("T")
Request = dict[str, Any]  # as in the OpenAI protocol: model, messages, temperature, seed, max_tokens
_SEED = 0
_MAX_REPLY = 2**16  # characters


def make_request(config: JudgeConfig, messages: prompts.Messages) -> Request:
    """Return the request of a question, with the parameters of `reward.judge.request` in place of the defaults."""
    parameters = {"temperature": 0.0, "seed": _SEED, "max_tokens": config.max_tokens} | config.request
    given = {name: value for name, value in parameters.items() if value is not None}
    return {"model": config.model, "messages": messages, **given}


class Chat(Protocol):
    """A connection to the model."""

    async def __call__(self, request: Request) -> str:
        """Return the text of the reply. Raises JudgeError."""
        ...

    async def close(self) -> None:
        """Close the connection."""
        ...


class ServiceJudge:
    """A `Judge` that raises JudgeError if its model is unreachable, too slow, or replies in another form than asked."""

    def __init__(self, config: JudgeConfig, chat: Chat) -> None:
        self._config = config
        self._chat = chat
        self._slots = asyncio.Semaphore(config.concurrency)
        self._cache = ReplyCache(Path(config.cache_dir)) if config.cache_dir else None

    async def claims(self, thinking: str) -> tuple[Claim, ...]:
        """Return what the thinking claims to see, and when."""
        return await self._ask(prompts.ask_claims(thinking), prompts.read_claims)

    async def agrees(self, sample: Sample, thinking: str, answer: str) -> bool:
        """Return whether the thinking reaches the same conclusion as the answer."""
        return await self._ask(prompts.ask_agrees(sample, thinking, answer), prompts.read_agrees)

    async def conclusion(self, sample: Sample, thinking: str) -> str:
        """Return the last explicit conclusion of the thinking, as an answer."""
        return await self._ask(
            prompts.ask_conclusion(sample, thinking), lambda reply: prompts.read_conclusion(reply, sample)
        )

    async def visual(self, sample: Sample, thinking: str) -> float:
        """Return how much the thinking relies on visual evidence, in [0, 1]."""
        return await self._ask(prompts.ask_visual(thinking), prompts.read_visual)

    async def same(self, sample: Sample, answer: str) -> bool:
        """Return whether the answer means the same as the true one."""
        return await self._ask(prompts.ask_same(sample, answer), prompts.read_same)

    async def close(self) -> None:
        """Close the connection to the model."""
        await self._chat.close()

    async def _ask(self, messages: prompts.Messages, read: Callable[[str], T]) -> T:
        config = self._config
        request = make_request(config, messages)
        try:
            stored = self._cache.get(request) if self._cache is not None else None
            reply = stored if stored is not None else await self._send(request)
            answer = read(reply)
            if self._cache is not None and stored is None:
                self._cache.put(request, reply)
        except Exception as error:  # a stranger's reply may be anything
            cause = str(error) if isinstance(error, JudgeError) else f"{type(error).__name__}: {excerpt(error)}"
            raise JudgeError(f"{config.base_url} {config.model}: {cause}".strip()) from error
        return answer

    async def _send(self, request: Request) -> str:
        async with asyncio.timeout(self._config.timeout_s), self._slots:
            content = await self._chat(request)
        if not 0 < len(content) <= _MAX_REPLY:
            raise ValueError(f"got a reply of {len(content)} characters, wanted 1 to {_MAX_REPLY}")
        content.encode()  # half of a surrogate pair is no text
        return content
