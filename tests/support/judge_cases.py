"""A judge's endpoint over real HTTP: one that answers as a good model would, and the ways in which one goes wrong."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@contextmanager
def endpoint(answer: Callable[[dict[str, Any]], tuple[int, str]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server of the OpenAI protocol; `answer` maps a request to a status and the reply's text."""
    seen: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append({**request, "path": self.path, "key": self.headers["Authorization"]})
            status, text = answer(request)
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            body = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
            payload = json.dumps(body if status == 200 else {"error": {"message": text}}).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)
            except ConnectionError:  # the client has given up
                pass

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def honest(request: dict[str, Any]) -> tuple[int, str]:
    """Answers as a good model would."""
    text = request["messages"][1]["content"]
    if '"claims"' in text:
        return 200, '{"claims": {"00:01-00:03": "there is a blue ball"}}'
    if '"agrees"' in text:
        return 200, '{"agrees": true}'
    if '"same"' in text:
        return 200, '{"same": false}'
    return 200, '{"conclusion": "blue"}' if '"conclusion"' in text else '{"score": 7}'


def down(request: dict[str, Any]) -> tuple[int, str]:
    return 503, "out of order"


def slow(request: dict[str, Any]) -> tuple[int, str]:
    time.sleep(1.0)
    return honest(request)


def nonsense(request: dict[str, Any]) -> tuple[int, str]:
    return 200, "As a language model, I feel that TRUE."
