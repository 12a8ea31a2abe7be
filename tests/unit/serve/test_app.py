"""The server's app over a scripted client, called in HTTP without a network: codes, limits, uploads, streams."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from support.inference_cases import client, completion

from vrl.config import ModelConfig
from vrl.errors import DataError, LostCallError, WorkerError
from vrl.inference.config import MediaConfig, StrategyConfig
from vrl.serve.app import ChatApp
from vrl.serve.config import UPLOADS, ServeConfig
from vrl.types import View

TOKEN = "secret"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
CHAT = "/v1/chat/completions"
VIEW = View()  # as configured


class Server:
    """An app over a client that answers ` red`; with `wait`, once `go` is set."""

    def __init__(
        self, root: Path, *, wait: bool = False, fail: Exception | None = None, finish: str = "stop", **config: Any
    ) -> None:
        (root / "a.mp4").write_bytes(b"a clip")
        self.root = root
        self.go, self.asked = asyncio.Event(), asyncio.Event()
        self.inference, self.data, self.engines = client(
            lambda sample, temperature, turn: completion(" red", finish=finish)
        )
        prepare = self.inference.prepare

        async def held(samples: Any, view: Any = VIEW) -> Any:
            self.asked.set()
            if fail is not None:
                raise fail
            if wait:
                await self.go.wait()
            return await prepare(samples, view)

        self.inference.prepare = held
        model, media = ModelConfig(path="m"), MediaConfig(root=str(root))
        settings = ServeConfig(model=model, media=media, **config)
        self.app = ChatApp(self.inference, settings, TOKEN, "toy")

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        response = await self.app(Request(scope, receive))
        await response(scope, receive, send)

    def caller(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.asgi), base_url="http://test", headers=HEADERS)


def body(url: str = "a.mp4", text: str = "What color?", **more: Any) -> dict[str, Any]:
    content = [{"type": "video_url", "video_url": {"url": url}}, {"type": "text", "text": text}]
    return {"messages": [{"role": "user", "content": content}], **more}


def talk(server: Server, chat: Callable[[httpx.AsyncClient], Awaitable[Any]]) -> Any:
    async def go() -> Any:
        async with server.caller() as caller:
            return await chat(caller)

    return asyncio.run(go())


def post(server: Server, content: Any, headers: dict[str, str] | None = None) -> httpx.Response:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return talk(server, lambda caller: caller.post(CHAT, content=raw, headers=headers or {}))


def test_a_question_is_answered_by_the_strategy_it_names(tmp_path: Path):
    server = Server(tmp_path)
    plain = post(server, body()).json()
    assert plain["choices"][0]["message"] == {"role": "assistant", "content": "red"}
    assert plain["choices"][0]["finish_reason"] == "stop" and plain["object"] == "chat.completion"
    assert plain["vrl"]["strategy"] == "single"
    voted = post(server, body(strategy="majority", options=["red", "blue"])).json()
    assert voted["vrl"]["strategy"] == "majority" and voted["vrl"]["num_candidates"] == 3
    sample = server.data.prepared[-1].samples[0]
    assert (sample.answer_type, sample.options, sample.media[0].path) == ("choice", ("red", "blue"), "a.mp4")


def test_models_and_health(tmp_path: Path):
    server = Server(tmp_path)
    assert talk(server, lambda caller: caller.get("/v1/models")).json()["data"][0]["id"] == "toy"
    health = talk(server, lambda caller: caller.get("/health", headers={"Authorization": ""}))
    assert health.json() == {"status": "ok", "questions": 0}


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
def test_without_the_token_nothing_is_served(tmp_path: Path, header: str):
    server = Server(tmp_path)
    response = post(server, body(), {"Authorization": header})
    assert response.status_code == 401 and response.json()["error"]["type"] == "invalid_request_error"
    assert server.data.prepared == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"\xff\xfe", "body"),
        (b"[1, 2]", "body"),
        ({}, "messages: Field required"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "hello"}]}, "messages.0.content"),
        ({"messages": body()["messages"] * 2}, "messages"),
        ({"messages": [{**body()["messages"][0], "role": "system"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": body()["messages"][0]["content"][:1]}]}, "wanted one video_url"),
        ({"messages": [{"role": "user", "content": body()["messages"][0]["content"][1:]}]}, "wanted one video_url"),
        (body(strategy="luck"), "strategy"),
        (body(task="dance"), "task: got 'dance'"),
        (body(temperature=0.5), "temperature: Extra inputs are not permitted"),
        (body(options=["a"] * 27), "options"),
        (body(answer_type="choice"), "options: got 0"),
        (body(text=""), "text"),
        (body(text="x" * 20_001), "text"),
        (body(url="data:text/plain;base64,aGk="), "video_url: got 'data:text/plain;base64'"),
        (body(url="data:video/mp4;base64,??"), "not base64"),
        (body(url="data:video/mp4;base64,"), "empty upload"),
    ],
)
def test_malformed_bodies_are_refused_with_the_key_at_fault(tmp_path: Path, content: Any, message: str):
    response = post(Server(tmp_path), content)
    assert response.status_code == 400
    assert message in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("../a.mp4", 403),
        ("/etc/passwd", 403),
        ("http://example.com/a.mp4", 403),
        ("file:///etc/passwd", 403),
        ("link/passwd", 403),
        ("a.mp4\0", 403),
        (f"{UPLOADS}/x", 403),
        ("gone.mp4", 404),
    ],
)
def test_paths_stay_under_the_root(tmp_path: Path, url: str, status: int):
    server = Server(tmp_path)
    (tmp_path / "link").symlink_to("/etc")
    (tmp_path / UPLOADS).mkdir()
    (tmp_path / UPLOADS / "x").write_bytes(b"somebody else's")
    response = post(server, body(url=url))
    assert response.status_code == status
    assert server.data.prepared == [] and "/etc/passwd" not in response.text.replace(url, "")


def test_an_upload_lives_as_long_as_its_request(tmp_path: Path):
    server = Server(tmp_path)
    seen = []
    prepare = server.inference.prepare

    async def look(samples: Any, view: Any = VIEW) -> Any:
        seen.append((tmp_path / samples[0].media[0].path).read_bytes())
        return await prepare(samples, view)

    server.inference.prepare = look
    url = "data:video/mp4;base64," + base64.b64encode(b"a new clip").decode()
    assert post(server, body(url=url)).status_code == 200
    assert seen == [b"a new clip"]
    assert list((tmp_path / UPLOADS).iterdir()) == []


def test_an_oversized_body_is_refused_with_or_without_its_size(tmp_path: Path):
    server = Server(tmp_path, body_mib=0.01)
    big = json.dumps(body(text="x" * 12_000)).encode()

    async def pieces():
        for start in range(0, len(big), 1000):
            yield big[start : start + 1000]

    assert post(server, big).status_code == 413
    assert talk(server, lambda caller: caller.post(CHAT, content=pieces())).status_code == 413
    assert post(server, body()).status_code == 200


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DataError("too long", reason="limit"), 413),
        (DataError("odd", reason="corrupt"), 400),
        (DataError("slow", reason="timeout"), 422),
        (WorkerError("engine 0 died at 10.0.0.1"), 503),
        (LostCallError("engine 0 died at 10.0.0.1"), 503),
    ],
)
def test_each_failure_has_its_own_status(tmp_path: Path, error: Exception, status: int):
    for stream in (False, True):
        response = post(Server(tmp_path, fail=error), body(stream=stream))
        assert response.status_code == 200 if stream else response.status_code == status
        assert str(status) in response.text and "10.0.0.1" not in response.text


def test_a_question_lost_with_a_worker_that_is_replaced_says_nothing_of_the_server(tmp_path: Path):
    server = Server(tmp_path, fail=LostCallError("engine 0 died, twice"))
    assert "ask again" in post(server, body()).text
    assert talk(server, lambda caller: caller.get("/health")).status_code == 200


def test_health_tells_of_dead_workers_until_the_next_answer(tmp_path: Path):
    server = Server(tmp_path, fail=WorkerError("all engines are dead"))
    assert post(server, body()).status_code == 503
    health = talk(server, lambda caller: caller.get("/health"))
    assert (health.status_code, health.json()["status"]) == (503, "workers are dead")
    server.app._client = Server(tmp_path).inference
    assert post(server, body()).status_code == 200
    assert talk(server, lambda caller: caller.get("/health")).status_code == 200


def test_a_stream_reports_its_stages_and_ends_with_the_answer(tmp_path: Path):
    response = post(Server(tmp_path, strategy=StrategyConfig(name="election")), body(stream=True, task="think"))
    events = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert [chunk["vrl"]["status"] for chunk in chunks[:2]] == ["prepare", "candidates"]
    assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert (
        chunks[-1]["vrl"]["trace"]["stop"] == "max_candidates"
    )  # ` red` is not a think-answer: no voter can be parsed


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_an_answer_cut_off_at_max_tokens_says_so(tmp_path: Path, finish: str):
    server = Server(tmp_path, finish=finish)
    assert post(server, body()).json()["choices"][0]["finish_reason"] == finish
    events = [line.removeprefix("data: ") for line in post(server, body(stream=True)).text.split("\n\n") if line]
    assert [json.loads(event)["choices"][0]["finish_reason"] for event in events[:-1]][-1] == finish


def test_questions_are_bounded_and_no_request_is_lost(tmp_path: Path):
    """Of 64 sent together 4 run, 28 wait and 32 are refused; the 32 are answered when the engine resumes."""

    async def chat(caller: httpx.AsyncClient) -> list[int]:
        asked = [asyncio.create_task(caller.post(CHAT, json=body())) for _ in range(64)]
        while sum(task.done() for task in asked) < 32:
            await asyncio.sleep(0.01)
        assert server.app._num_questions == 32
        server.go.set()
        return [(await task).status_code for task in asked]

    server = Server(tmp_path, wait=True, concurrency=4, queue=28)
    codes = talk(server, chat)
    assert sorted(codes) == [200] * 32 + [429] * 32
    assert server.app._num_questions == 0


def test_a_disconnect_frees_the_place_and_the_upload(tmp_path: Path):
    url = "data:video/mp4;base64," + base64.b64encode(b"a clip").decode()

    async def chat(caller: httpx.AsyncClient) -> None:
        for stream in (False, True):
            asked = asyncio.create_task(caller.post(CHAT, json=body(url=url, stream=stream)))
            await asyncio.wait_for(server.asked.wait(), 10)
            server.asked.clear()
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            async with asyncio.timeout(10):
                while server.app._num_questions:
                    await asyncio.sleep(0)
            assert list((tmp_path / UPLOADS).iterdir()) == []
        server.go.set()
        assert (await caller.post(CHAT, json=body())).status_code == 200

    server = Server(tmp_path, wait=True, concurrency=1)
    talk(server, chat)


def test_a_question_times_out(tmp_path: Path):
    server = Server(tmp_path, wait=True, timeout_s=0.1)
    assert post(server, body()).status_code == 504
    assert server.app._num_questions == 0


def test_other_paths_and_methods_are_refused(tmp_path: Path):
    server = Server(tmp_path)
    assert talk(server, lambda caller: caller.get("/v1/nothing")).status_code == 404
    assert talk(server, lambda caller: caller.get(CHAT)).status_code == 405
