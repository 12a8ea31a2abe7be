"""Any endpoint of the OpenAI protocol: a vLLM server, a gateway, a vendor. The only importer of openai."""

import os
from dataclasses import replace

import openai

from vrl.config import JudgeConfig
from vrl.errors import ConfigError, JudgeError
from vrl.reward.judge.service import Request, make_request

_PASSING = (408, 409, 429)  # statuses below 500 that a later request may not get
_PROBE = [{"role": "user", "content": "Reply with the word ready."}]


async def require_accepted(config: JudgeConfig) -> None:
    """Ask the endpoint one question. Raise ConfigError with its words if it refuses the form of our requests.

    An endpoint that is down or busy passes: its answers are missing values until it is back.
    """
    endpoint = Endpoint(replace(config, retries=0))
    try:
        await endpoint(make_request(config, _PROBE))
    except JudgeError as error:
        cause = error.__cause__
        if isinstance(cause, openai.APIStatusError) and cause.status_code < 500 and cause.status_code not in _PASSING:
            raise ConfigError(
                f"reward.judge: {config.base_url} refuses a request for {config.model}: {error}; see "
                "reward.judge.request, reward.judge.model and reward.judge.api_key_env"
            ) from error
    finally:
        await endpoint.close()


class Endpoint:
    """A connection to the endpoint, with `retries` retries per request."""

    def __init__(self, config: JudgeConfig) -> None:
        """Create the client without connecting. Raises ConfigError if `api_key_env` names an unset variable."""
        self._secret = bool(config.api_key_env)
        key = os.environ.get(config.api_key_env) if self._secret else "none"
        if not key:
            raise ConfigError(f"reward.judge.api_key_env: got {config.api_key_env!r}, which is not set; export the key")
        # Always pass a key: otherwise the client would send OPENAI_API_KEY to another vendor's endpoint.
        self._client = openai.AsyncOpenAI(
            base_url=config.base_url,
            api_key=key,
            timeout=config.timeout_s / (config.retries + 1),
            max_retries=config.retries,
        )

    async def __call__(self, request: Request) -> str:
        """Return the text of the reply. Raises JudgeError."""
        try:
            response = await self._client.chat.completions.create(**request)
        except openai.OpenAIError as error:
            raise JudgeError(f"{type(error).__name__}: {self._without_key(str(error))}") from error
        return self._without_key((response.choices[0].message.content if response.choices else "") or "")

    def _without_key(self, said: str) -> str:
        """Return the text without the key: an endpoint may echo it, and replies are stored and quoted in errors."""
        return said.replace(self._client.api_key, "***") if self._secret else said

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()
