"""The server's one class: an OpenAI-compatible endpoint over a client. Knows HTTP, not who carries it.

    GET  /health                  200 while it serves, 503 from the loss of a fleet to the next answer; no token
    GET  /v1/models               the one model
    POST /v1/chat/completions     one question about one clip; `stream` sends status as it goes

At most `concurrency` questions are in flight and `queue` wait; further ones are refused immediately. A client that
disconnects frees its place, and its upload is deleted in every case.
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
from vrl.serve.errors import Refusal, as_body, refusal_of
from vrl.serve.request import ChatRequest, question, read_request
from vrl.serve.token import is_authorised

logger = logging.getLogger(__name__)
_CLOSED = 499  # status logged for a client that disconnected


class ChatApp:
    """Answers requests. Example: `response = await ChatApp(client, config, token, "toy")(request)`."""

    def __init__(self, client: InferenceClient, config: ServeConfig, token: str, model: str) -> None:
        self._client = client
        self._config = config
        self._token = token
        self._model = model
        self._running = asyncio.Semaphore(config.concurrency)
        self._inside = 0  # running or waiting
        self._broken = False  # the last question that got so far found all workers of a fleet dead for good

    async def __call__(self, request: Request) -> Response:
        """The response to any request; never raises but for cancellation."""
        try:
            return await self._route(request)
        except Refusal as refusal:
            headers = {"Retry-After": "1"} if refusal.status == 429 else None
            return JSONResponse(as_body(refusal), status_code=refusal.status, headers=headers)
        except ClientDisconnect:
            return Response(status_code=_CLOSED)

    async def _route(self, request: Request) -> Response:
        path, method = request.url.path, request.method
        if path == "/health":
            status, code = ("workers are dead", 503) if self._broken else ("ok", 200)
            return JSONResponse({"status": status, "questions": self._inside}, status_code=code)
        if not is_authorised(request.headers.get("authorization"), self._token):
            raise Refusal(401, "Authorization: wanted `Bearer <token>`; the token is in the server's token_file")
        if path == "/v1/models" and method == "GET":
            return JSONResponse({"object": "list", "data": [{"id": self._model, "object": "model", "owned_by": "vrl"}]})
        if path != "/v1/chat/completions":
            raise Refusal(404, f"got {path}, wanted /v1/chat/completions, /v1/models or /health")
        if method != "POST":
            raise Refusal(405, f"got {method}, wanted POST")
        asked = read_request(await self._body(request))
        name = f"chatcmpl-{uuid.uuid4().hex}"
        if asked.stream:
            return await self._stream(asked, name)
        return JSONResponse(self._completion(name, await self._answer(asked, name, lambda status: None)))

    async def _body(self, request: Request) -> bytes:
        """The body, read no further than the limit."""
        most = int(self._config.body_mib * 2**20)
        declared = request.headers.get("content-length", "0")
        refusal = Refusal(413, f"body: wanted at most body_mib={self._config.body_mib:g}")
        if declared.isdigit() and int(declared) > most:
            raise refusal
        pieces, total = [], 0
        async for piece in request.stream():
            total += len(piece)
            if total > most:
                raise refusal
            pieces.append(piece)
        return b"".join(pieces)

    async def _answer(self, asked: ChatRequest, name: str, notify: Notify) -> Answer:
        """Raises Refusal."""
        config = self._config
        strategy = replace(config.strategy, name=asked.strategy) if asked.strategy else config.strategy
        root = Path(config.media.root)
        try:
            async with asyncio.timeout(config.timeout_s), self._place():
                with clip_path(asked.url, root) as path:
                    sample = question(asked, sample_id=name, path=path, task=config.task)
                    answer = await answer_question(sample, self._client, strategy, notify)
                    self._broken = False
                    return answer
        except TimeoutError as error:
            raise Refusal(504, f"got no answer within timeout_s={config.timeout_s:g}") from error
        except VrlError as error:
            logger.warning("%s: %s", name, error)
            if isinstance(error, WorkerError) and not isinstance(error, LostCallError):  # that one is being replaced
                self._broken = True
            raise refusal_of(error) from error

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._inside >= self._config.concurrency + self._config.queue:
            raise Refusal(429, f"got {self._inside} questions under way or waiting already, try again later")
        self._inside += 1
        try:
            async with self._running:
                yield
        finally:
            self._inside -= 1

    async def _stream(self, asked: ChatRequest, name: str) -> Response:
        """Status lines as the strategy goes, then the answer; a failure before the first status is a plain refusal."""
        news: asyncio.Queue[str] = asyncio.Queue()
        answering = asyncio.create_task(self._answer(asked, name, news.put_nowait), name=name)
        try:
            first = await _next_status(news, answering)
        except BaseException:
            answering.cancel()
            raise
        return StreamingResponse(self._events(name, first, news, answering), media_type="text/event-stream")

    async def _events(
        self, name: str, status: str | None, news: "asyncio.Queue[str]", answering: "asyncio.Task[Answer]"
    ) -> AsyncIterator[str]:
        try:
            while status is not None:
                yield _event(self._chunk(name, {}, None, {"status": status}))
                status = await _next_status(news, answering)
            answer = answering.result()
            extra = _account(answer)
            yield _event(self._chunk(name, {"role": "assistant", "content": _content(answer)}, "stop", extra))
            yield "data: [DONE]\n\n"
        except Refusal as refusal:  # the status line is already sent: the protocol has an error event for this
            yield _event(as_body(refusal))
        finally:
            answering.cancel()

    def _completion(self, name: str, answer: Answer) -> dict[str, Any]:
        message = {"role": "assistant", "content": _content(answer)}
        choice = {"index": 0, "message": message, "finish_reason": answer.finish_reason}
        head = {"id": name, "object": "chat.completion", "created": int(time.time()), "model": self._model}
        return {**head, "choices": [choice], "vrl": _account(answer)}

    def _chunk(self, name: str, delta: dict[str, str], finish: str | None, extra: dict[str, Any]) -> dict[str, Any]:
        head = {"id": name, "object": "chat.completion.chunk", "created": int(time.time()), "model": self._model}
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "vrl": extra}


async def _next_status(news: "asyncio.Queue[str]", answering: "asyncio.Task[Answer]") -> str | None:
    """The next status, or None when the answer is there. Raises what answering raised."""
    getting = asyncio.ensure_future(news.get())
    await asyncio.wait((getting, answering), return_when=asyncio.FIRST_COMPLETED)
    if getting.done():
        return getting.result()
    getting.cancel()
    answering.result()
    return None


def _content(answer: Answer) -> str:
    """What was answered, in its own words; all that was said where it cannot be read as an answer."""
    return answer.answer or answer.text


def _account(answer: Answer) -> dict[str, Any]:
    omitted = ("timestamps_s", "text", "finish_reason")
    return {key: value for key, value in asdict(answer).items() if key not in omitted}


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"
