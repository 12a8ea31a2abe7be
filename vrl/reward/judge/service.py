"""A judge behind any endpoint that speaks the OpenAI protocol: a vLLM server, a gateway, a vendor.

Bounded: at most `concurrency` questions under way, each with `timeout_s` for waiting, retries and all. Deterministic as
far as the endpoint is: temperature 0, a fixed seed, replies kept on disk by content. The only door to openai.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import openai

from vrl.config import JudgeConfig
from vrl.errors import ConfigError, JudgeError
from vrl.reward.judge import prompts
from vrl.reward.judge.cache import ReplyCache
from vrl.reward.record import Claim
from vrl.types import Sample

T = TypeVar("T")
_SEED = 0


class ServiceJudge:
    """See `Judge`. Raises JudgeError for an endpoint that is down, too slow, or talks nonsense."""

    def __init__(self, config: JudgeConfig) -> None:
        """Raises ConfigError where `api_key_env` names a variable that is not set. Does not connect."""
        self._config = config
        key = os.environ.get(config.api_key_env) if config.api_key_env else "none"
        if not key:
            raise ConfigError(f"reward.judge.api_key_env: got {config.api_key_env!r}, which is not set; export the key")
        # The key is always given, so that the client never sends OPENAI_API_KEY to somebody else's endpoint.
        self._client = openai.AsyncOpenAI(
            base_url=config.base_url,
            api_key=key,
            timeout=config.timeout_s / (config.retries + 1),
            max_retries=config.retries,
        )
        self._slots = asyncio.Semaphore(config.concurrency)
        self._cache = ReplyCache(Path(config.cache_dir)) if config.cache_dir else None

    async def claims(self, thinking: str) -> tuple[Claim, ...]:
        """What the thinking says is to be seen at a time."""
        return await self._ask(prompts.ask_claims(thinking), prompts.read_claims)

    async def agrees(self, sample: Sample, thinking: str, answer: str) -> bool:
        """Does the thinking come to the same conclusion as the answer?"""
        return await self._ask(prompts.ask_agrees(sample, thinking, answer), prompts.read_agrees)

    async def conclusion(self, sample: Sample, thinking: str) -> str:
        """The thinking's last explicit conclusion as an answer."""
        return await self._ask(
            prompts.ask_conclusion(sample, thinking), lambda reply: prompts.read_conclusion(reply, sample)
        )

    async def visual(self, sample: Sample, thinking: str) -> float:
        """How much the thinking leans on visual evidence, in [0, 1]."""
        return await self._ask(prompts.ask_visual(thinking), prompts.read_visual)

    async def same(self, sample: Sample, answer: str) -> bool:
        """Does the answer say what the true one says?"""
        return await self._ask(prompts.ask_same(sample, answer), prompts.read_same)

    async def close(self) -> None:
        """End the connections."""
        await self._client.close()

    async def _ask(self, messages: prompts.Messages, read: Callable[[str], T]) -> T:
        config = self._config
        request: dict[str, Any] = {
            "model": config.model,
            "messages": messages,
            "temperature": 0.0,
            "seed": _SEED,
            "max_tokens": config.max_tokens,
        }
        stored = self._cache.get(request) if self._cache is not None else None
        try:
            reply = stored if stored is not None else await self._send(request)
            answer = read(reply)
        except (openai.OpenAIError, TimeoutError, ValueError) as error:
            said = str(error)
            if config.api_key_env:  # an endpoint may repeat what it was sent
                said = said.replace(self._client.api_key, "***")
            raise JudgeError(f"{config.base_url} {config.model}: {type(error).__name__}: {said}") from error
        if self._cache is not None and stored is None:
            self._cache.put(request, reply)
        return answer

    async def _send(self, request: dict[str, Any]) -> str:
        async with asyncio.timeout(self._config.timeout_s), self._slots:
            response = await self._client.chat.completions.create(**request)
        content = response.choices[0].message.content if response.choices else None
        if not content:
            raise ValueError("got an empty reply")
        return content
