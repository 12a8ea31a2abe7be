"""Any endpoint of the OpenAI protocol: a vLLM server, a gateway, a vendor. The only importer of httpx.

The endpoint is a stranger. It gets the request and the configured key, and nothing that an OpenAI client would find in
the environment. Its cookies and redirects are ignored, and its reply is read uncompressed and up to a bound; anything
but a chat completion raises JudgeError.
"""

import asyncio
import json
import os
import re
from dataclasses import replace
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from vrl.config import JudgeConfig
from vrl.errors import ConfigError, JudgeError, excerpt
from vrl.reward.judge.service import Request, make_request

_PASSING = (408, 409, 429)  # statuses below 500 that a later request may not get
_PROBE = [{"role": "user", "content": "Reply with the word ready."}]
_MAX_BYTES = 2**20  # of a reply
_MAX_ERROR_BYTES = 2**14  # of a reply that is not one
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.5, 60.0  # before a retry
_SECONDS = re.compile(r"\d{1,4}")


class _StatusError(JudgeError):
    """A reply with another status than 200."""

    def __init__(self, message: str, status: int, pause_s: float) -> None:
        super().__init__(message)
        self.status = status
        self.pause_s = pause_s  # that the endpoint asks for; 0: none

    @property
    def passing(self) -> bool:
        return self.status in _PASSING or self.status >= 500


class _LostError(JudgeError):
    """No connection, a broken one, or no reply in time."""

    passing, pause_s = True, 0.0


async def require_accepted(config: JudgeConfig) -> None:
    """Ask the endpoint one question. Raise ConfigError with its words if it refuses the form of our requests.

    An endpoint that is down or busy passes: its answers are missing values until it is back.
    """
    endpoint = Endpoint(replace(config, retries=0))
    try:
        await endpoint(make_request(config, _PROBE))
    except _StatusError as error:
        if not error.passing:
            raise ConfigError(
                f"reward.judge: {config.base_url} refuses a request for {config.model}: {error}; see "
                "reward.judge.request, reward.judge.model and reward.judge.api_key_env"
            ) from error
    except JudgeError:
        return
    finally:
        await endpoint.close()


class Endpoint:
    """A connection to the endpoint, with `retries` retries per request."""

    def __init__(self, config: JudgeConfig) -> None:
        """Create the client without connecting.

        Raises ConfigError if `api_key_env` names a variable that is unset or no key, or if the address is malformed.
        """
        self._key = _key(config.api_key_env)
        self._url = _url(config.base_url)
        self._retries = config.retries
        self._timeout_s = config.timeout_s / (config.retries + 1)
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "Content-Type": "application/json"}
        self._client = httpx.AsyncClient(
            headers={**headers, "Authorization": f"Bearer {self._key or 'none'}"},
            timeout=self._timeout_s,
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            limits=httpx.Limits(max_connections=None),  # the service bounds the questions in flight
        )

    async def __call__(self, request: Request) -> str:
        """Return the text of the reply. Raises JudgeError."""
        body = json.dumps(request).encode()
        for attempt in range(self._retries + 1):
            try:
                return await self._send(body)
            except (_StatusError, _LostError) as error:
                if attempt == self._retries or not error.passing:
                    raise
                pause_s = max(error.pause_s, _FIRST_PAUSE_S * 2**attempt)
            await asyncio.sleep(min(pause_s, _MAX_PAUSE_S))
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _send(self, body: bytes) -> str:
        try:
            # The client's own limit is per read: a reply that never ends would never meet it.
            async with asyncio.timeout(self._timeout_s), self._client.stream("POST", self._url, content=body) as reply:
                if reply.status_code != 200:
                    raise await self._status_error(reply)
                if reply.headers.get("content-encoding", "identity") != "identity":
                    raise JudgeError("got a compressed reply, wanted none: the request says Accept-Encoding: identity")
                read = await _read(reply, _MAX_BYTES + 1)
        except JudgeError:
            raise
        except TimeoutError as error:
            raise _LostError(f"got no whole reply in {self._timeout_s:g} s") from error
        except httpx.TransportError as error:
            failure = _LostError(f"Connection failed: {type(error).__name__}: {self._quoted(str(error))}")
            raise failure from (None if self._key else error)  # it may quote what the endpoint sent, the key included
        except Exception as error:  # what a stranger sends may break a client anywhere
            failure = JudgeError(f"{type(error).__name__}: {self._quoted(str(error))}")
            raise failure from (None if self._key else error)
        if len(read) > _MAX_BYTES:
            raise JudgeError(f"got a reply of more than {_MAX_BYTES} bytes")
        return self._content(read)

    async def _status_error(self, reply: httpx.Response) -> _StatusError:
        text = (await _read(reply, _MAX_ERROR_BYTES)).decode("utf-8", "replace")
        try:
            said = json.loads(text)["error"]["message"]
        except (ValueError, LookupError, TypeError, RecursionError):
            said = text
        asked = reply.headers.get("retry-after", "")
        pause_s = float(asked) if _SECONDS.fullmatch(asked) else 0.0
        return _StatusError(f"status {reply.status_code}: {self._quoted(str(said))}", reply.status_code, pause_s)

    def _content(self, read: bytes) -> str:
        """Return the content of a chat completion. Raises JudgeError if it is none."""
        try:
            content = json.loads(read.decode())["choices"][0]["message"]["content"]
            if not isinstance(content, str):
                raise TypeError(f"content is {type(content).__name__}")
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            quoted = self._quoted(read[:_MAX_ERROR_BYTES].decode("utf-8", "replace"))
            raise JudgeError(f"got '{quoted}', wanted a chat completion with a text: {type(error).__name__}") from error
        return self._without_key(content)

    def _without_key(self, said: str) -> str:
        """Return the text without the key: an endpoint may echo it, and replies are stored and quoted in errors."""
        return said.replace(self._key, "***") if self._key else said

    def _quoted(self, said: str) -> str:
        return excerpt(self._without_key(said))


async def _read(reply: httpx.Response, most: int) -> bytes:
    """Return the first `most` bytes of a reply, as they were sent."""
    read = bytearray()
    async for part in reply.aiter_raw():
        read += part[: most - len(read)]
        if len(read) == most:
            break
    return bytes(read)


def _key(name: str) -> str:
    """Return the key that the environment variable holds; empty if none is configured. Raises ConfigError."""
    key = os.environ.get(name, "").strip() if name else ""
    if name and not key:
        raise ConfigError(f"reward.judge.api_key_env: got {name!r}, which is not set; export the key")
    if not re.fullmatch(r"[!-~]*", key):
        raise ConfigError(f"reward.judge.api_key_env: {name} holds a character that no key has; export the key alone")
    return key


def _url(base_url: str) -> httpx.URL:
    """Return the address of chat completions. Raises ConfigError, without repeating the address."""
    try:
        url = httpx.URL(f"{base_url.rstrip('/')}/chat/completions")
    except (httpx.InvalidURL, ValueError):
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError("reward.judge.base_url: wanted an address such as http://localhost:8000/v1")
    return url
