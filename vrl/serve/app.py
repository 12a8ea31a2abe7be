"""An OpenAI-compatible endpoint over an InferenceClient. Knows HTTP, not the server that runs it.

    GET  /health                  200, or 503 from the loss of all workers of a pool to the next answer; no token
    GET  /v1/models               the one model
    POST /v1/chat/completions     one question about one clip; `stream` sends the status of each stage

At most `concurrency` questions run and `queue` wait; further ones are refused immediately. A caller that disconnects
frees its place; its upload is always deleted.
"""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from vrl.errors import LostCallError, VrlError, WorkerError
from vrl.inference.answer import Answer
from vrl.inference.answer_question import answer_question
from vrl.inference.question import InferenceClient, Notify
from vrl.serve.clips import clip_path
from vrl.serve.config import ServeConfig
from vrl.serve.errors import HttpError, http_error
from vrl.serve.request import ChatRequest, parse_request
from vrl.serve.token import is_authorised

logger = logging.getLogger(__name__)
_CLOSED = 499  # status logged for a caller that disconnected


class ChatApp:
    """Answers requests. Example: `response = await ChatApp(client, config, token, "toy")(request)`."""

    def __init__(self, client: InferenceClient, config: ServeConfig, token: str, model: str) -> None:
        self._client = client
        self._config = config
        self._token = token
        self._model = model
        self._running = asyncio.Semaphore(config.concurrency)
        self._num_questions = 0  # running or waiting
        self._broken = False  # the last question found all workers of a pool lost

    async def __call__(self, request: Request) -> Response:
        """Return the response to any request; raise nothing but cancellation."""
        try:
            return await self._route(request)
        except HttpError as error:
            headers = {"Retry-After": "1"} if error.status == 429 else None
            return JSONResponse(error.body(), status_code=error.status, headers=headers)
        except ClientDisconnect:
            return Response(status_code=_CLOSED)

    async def _route(self, request: Request) -> Response:
        path, method = request.url.path, request.method
        if path == "/health":
            status, code = ("workers are dead", 503) if self._broken else ("ok", 200)
            return JSONResponse({"status": status, "questions": self._num_questions}, status_code=code)
        if not is_authorised(request.headers.get("authorization"), self._token):
            raise HttpError(401, "Authorization: wanted `Bearer <token>`; the token is in the server's token_file")
        if path == "/v1/models" and method == "GET":
            return JSONResponse({"object": "list", "data": [{"id": self._model, "object": "model", "owned_by": "vrl"}]})
        if path != "/v1/chat/completions":
            raise HttpError(404, f"got {path}, wanted /v1/chat/completions, /v1/models or /health")
        if method != "POST":
            raise HttpError(405, f"got {method}, wanted POST")
        chat = parse_request(await self._body(request))
        name = f"chatcmpl-{uuid.uuid4().hex}"
        if chat.stream:
            return await self._stream(chat, name)
        return JSONResponse(self._completion(name, await self._answer(chat, name, lambda status: None)))

    async def _body(self, request: Request) -> bytes:
        """Read the body, but no more than `body_mib`."""
        limit = int(self._config.body_mib * 2**20)
        declared = request.headers.get("content-length", "0")
        too_large = HttpError(413, f"body: wanted at most body_mib={self._config.body_mib:g}")
        if declared.isdigit() and int(declared) > limit:
            raise too_large
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise too_large
        return bytes(body)

    async def _answer(self, chat: ChatRequest, name: str, notify: Notify) -> Answer:
        """Return the answer. Raises HttpError."""
        config = self._config
        strategy = replace(config.strategy, name=chat.strategy) if chat.strategy else config.strategy
        try:
            async with asyncio.timeout(config.timeout_s), self._place():
                with clip_path(chat.url, Path(config.media.root)) as path:
                    sample = chat.to_sample(sample_id=name, path=path, task=config.task)
                    answer = await answer_question(sample, self._client, strategy, notify)
                    self._broken = False
                    return answer
        except TimeoutError as error:
            raise HttpError(504, f"got no answer within timeout_s={config.timeout_s:g}") from error
        except VrlError as error:
            logger.warning("%s: %s", name, error)
            if isinstance(error, WorkerError) and not isinstance(error, LostCallError):  # a lost worker is replaced
                self._broken = True
            raise http_error(error) from error

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._num_questions >= self._config.concurrency + self._config.queue:
            raise HttpError(429, f"got {self._num_questions} questions running or waiting already, try again later")
        self._num_questions += 1
        try:
            async with self._running:
                yield
        finally:
            self._num_questions -= 1

    async def _stream(self, chat: ChatRequest, name: str) -> Response:
        """Stream a status per stage, then the answer; a failure before the first status is a plain error response."""
        statuses: asyncio.Queue[str] = asyncio.Queue()
        answering = asyncio.create_task(self._answer(chat, name, statuses.put_nowait), name=name)
        try:
            first = await _next_status(statuses, answering)
        except BaseException:
            answering.cancel()
            raise
        return StreamingResponse(self._events(name, first, statuses, answering), media_type="text/event-stream")

    async def _events(
        self, name: str, status: str | None, statuses: "asyncio.Queue[str]", answering: "asyncio.Task[Answer]"
    ) -> AsyncIterator[str]:
        try:
            while status is not None:
                yield _event(self._chunk(name, {}, None, {"status": status}))
                status = await _next_status(statuses, answering)
            answer = answering.result()
            message = {"role": "assistant", "content": _content(answer)}
            yield _event(self._chunk(name, message, answer.finish_reason, _details(answer)))
            yield "data: [DONE]\n\n"
        except HttpError as error:  # the HTTP status is already sent; the protocol has an error event for this
            yield _event(error.body())
        finally:
            answering.cancel()

    def _completion(self, name: str, answer: Answer) -> dict[str, Any]:
        message = {"role": "assistant", "content": _content(answer)}
        choice = {"index": 0, "message": message, "finish_reason": answer.finish_reason}
        return self._object(name, "chat.completion", choice, _details(answer))

    def _chunk(self, name: str, delta: dict[str, str], finish: str | None, details: dict[str, Any]) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return self._object(name, "chat.completion.chunk", choice, details)

    def _object(self, name: str, kind: str, choice: dict[str, Any], details: dict[str, Any]) -> dict[str, Any]:
        head = {"id": name, "object": kind, "created": int(time.time()), "model": self._model}
        return {**head, "choices": [choice], "vrl": details}


async def _next_status(statuses: "asyncio.Queue[str]", answering: "asyncio.Task[Answer]") -> str | None:
    """Return the next status, or None once there is an answer. Raises what `answering` raised."""
    getting = asyncio.ensure_future(statuses.get())
    await asyncio.wait((getting, answering), return_when=asyncio.FIRST_COMPLETED)
    if getting.done():
        return getting.result()
    getting.cancel()
    answering.result()
    return None


def _content(answer: Answer) -> str:
    """Return the answer, or the whole completion if it cannot be parsed as one."""
    return answer.answer or answer.text


def _details(answer: Answer) -> dict[str, Any]:
    omitted = ("timestamps_s", "text", "finish_reason")
    return {key: value for key, value in asdict(answer).items() if key not in omitted}


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"
