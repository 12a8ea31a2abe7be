"""Replies of an endpoint that no judge should give, as bytes on a socket, and a server that gives them in turn."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

GIANT = 10**400
MIB = 2**20


@dataclass(frozen=True)
class Hostile:
    """A reply: `payload`, then `more` again and again until the client leaves."""

    payload: bytes
    more: bytes = b""


def http(body: bytes | str, status: str = "200 OK", **headers: str) -> Hostile:
    """A complete reply; underscores of header names are hyphens."""
    body = body.encode() if isinstance(body, str) else body
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    return Hostile(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body)


def said(content: Any) -> str:
    """A chat completion whose content is any value."""
    return json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": content}}]})


def _head(*lines: str) -> bytes:
    return "\r\n".join(("HTTP/1.1 200 OK", *lines, "", "")).encode()


CONTENTS: Mapping[str, Any] = {
    "content null": None,
    "content number": 7,
    "content true": True,
    "content list": [{"type": "text", "text": '{"score": 7}'}],
    "content object": {"score": 7},
    "content empty": "",
    "content blank": " \n",
    "content words": "As a language model, I feel that TRUE.",
    "content HTML": "<html><body>{not a judge}</body></html>",
    "content list of JSON": "[7]",
    "content null in JSON": "null",
    "content other field": '{"points": 7}',
    "content score as text": '{"score": "7"}',
    "content score as list": '{"score": [7]}',
    "content score as object": '{"score": {"score": 7}}',
    "content score true": '{"score": true}',
    "content score null": '{"score": null}',
    "content score NaN": '{"score": NaN}',
    "content score infinite": '{"score": Infinity}',
    "content score negative": '{"score": -1}',
    "content score above": '{"score": 10.5}',
    "content score of 400 digits": f'{{"score": {GIANT}}}',
    "content score of 5,000 digits": '{"score": ' + "9" * 5000 + "}",
    "content score of a huge exponent": '{"score": 1e999}',
    "content two objects": '{"score": 7} {"score": 8}',
    "content cut short": '{"score": 7',
    "content depth bomb": '{"score": ' * 5000 + "}" * 5000,
    "content half of a surrogate pair": '{"score": 7, "why": "\ud800"}',
    "content escaped half of a surrogate pair": '{"score": 7, "why": "\\ud800"}',
    "content NUL": '{"score": 7\x00}',
    "content of 100,000 characters": '{"score": 7, "why": "' + "x" * 100_000 + '"}',
    "content escape sequences": "\x1b]0;owned\x07\x1b[2J",
}

REPLIES: Mapping[str, Hostile] = {
    **{name: http(said(content)) for name, content in CONTENTS.items()},
    "HTML with status 200": http("<html><body>Sign in</body></html>", Content_Type="text/html"),
    "status 204": http("", "204 No Content", Content_Length=""),
    "status 206": http(said('{"score": 7}'), "206 Partial Content"),
    "status 301 elsewhere": http("", "301 Moved", Location="http://127.0.0.1:9/v1/chat/completions"),
    "status 307 to itself": http("", "307 Temporary", Location="/v1/chat/completions"),
    "status 400": http('{"error": {"message": "no"}}', "400 Bad"),
    "status 400 with an odd error": http('{"error": [["no"]]}', "400 Bad"),
    "status 404 without a body": http("", "404 Not Found"),
    "status 500 of 5 MB": http("x" * 5 * MIB, "500 Error"),
    "status 500 of control characters": http("\x1b[2J" * 100, "500 Error"),
    "status 999": http("", "999 What"),
    "empty body": http(""),
    "list": http("[]"),
    "null": http("null"),
    "number": http("7"),
    "text": http('"seven"'),
    "true": http("true"),
    "no choices": http("{}"),
    "choices empty": http('{"choices": []}'),
    "choices null": http('{"choices": null}'),
    "choices text": http('{"choices": "abc"}'),
    "choices object": http('{"choices": {"0": 1}}'),
    "choices number": http('{"choices": 7}'),
    "choices of null": http('{"choices": [null]}'),
    "choices of lists": http('{"choices": [[]]}'),
    "message null": http('{"choices": [{"message": null}]}'),
    "message text": http('{"choices": [{"message": "x"}]}'),
    "message missing": http('{"choices": [{}]}'),
    "body cut short": http(said('{"score": 7}'), Content_Length="5000"),
    "body depth bomb": http("[" * MIB),
    "body number of 900,000 digits": http("9" * 900_000),
    "body UTF-16": http(said('{"score": 7}').encode("utf-16")),
    "body not UTF-8": http(said('{"score": 7}').encode() + b"\xff"),
    "body with a byte order mark": http(said('{"score": 7}').encode("utf-8-sig")),
    "body event stream": http(f"data: {said(7)}\n\ndata: [DONE]\n\n", Content_Type="text/event-stream"),
    "body of 3 MB": http(said('{"score": 7}') + " " * 3 * MIB),
    "gzip bomb": http(gzip.compress(bytes(64 * MIB)), Content_Encoding="gzip"),
    "gzip of an answer": http(gzip.compress(said('{"score": 7}').encode()), Content_Encoding="gzip"),
    "gzip that is none": http("x", Content_Encoding="gzip"),
    "unknown compression": http("x", Content_Encoding="zstd, gzip, br"),
    "gzip as transfer encoding": http("x", Content_Length="", Transfer_Encoding="gzip, chunked"),
    "two lengths": Hostile(_head("Content-Length: 2", "Content-Length: 3") + b"[]"),
    "length negative": Hostile(_head("Content-Length: -2") + b"[]"),
    "length of words": Hostile(_head("Content-Length: all") + b"[]"),
    "chunks broken": Hostile(_head("Transfer-Encoding: chunked") + b"zz\r\n"),
    "headers of 1 MB": Hostile(_head("X: " + "x" * MIB)),
    "no HTTP": Hostile(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "no reply": Hostile(b""),
    "status line broken": Hostile(b"HTTP/1.1 two hundred\r\n\r\n"),
    "version of the future": Hostile(b"HTTP/9.9 200 OK\r\n\r\n"),
    "body without end": Hostile(_head("Content-Type: application/json"), more=b" " * 65536),
    "chunks without end": Hostile(_head("Transfer-Encoding: chunked"), more=b"1\r\n \r\n"),
}

SLOW: Mapping[str, Hostile] = {
    "headers without end": Hostile(b"HTTP/1.1 200 OK\r\n", more=b"X: y\r\n"),
    "body one byte at a time": Hostile(_head("Content-Type: application/json"), more=b" "),
    "information without end": Hostile(b"HTTP/1.1 102 Wait\r\n\r\n", more=b"HTTP/1.1 102 Wait\r\n\r\n"),
}


@contextmanager
def hostile_endpoint(replies: Sequence[Hostile], pause_s: float = 0.0) -> Iterator[tuple[str, list[bytes]]]:
    """Serve the replies in turn, one a connection, from the first again after the last; `pause_s` between pieces.

    Yields the address and what came in: head and body of each request.
    """
    seen: list[bytes] = []
    stop = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def talk(peer: socket.socket) -> None:
        with suppress(OSError), peer:
            peer.settimeout(10)
            request = _request(peer)
            if not request:
                return
            seen.append(request)
            reply = replies[(len(seen) - 1) % len(replies)]
            peer.sendall(reply.payload)
            while reply.more and not stop.is_set():
                peer.sendall(reply.more)
                time.sleep(pause_s)

    def accept() -> None:
        with suppress(OSError):  # the listener closes
            while True:
                peer, _ = listener.accept()
                threading.Thread(target=talk, args=(peer,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1", seen
    finally:
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _request(peer: socket.socket) -> bytes:
    read = b""
    while b"\r\n\r\n" not in read:
        part = peer.recv(65536)
        if not part:
            return b""
        read += part
    head, body = read.split(b"\r\n\r\n", 1)
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += peer.recv(65536)
    return head + b"\r\n\r\n" + body
