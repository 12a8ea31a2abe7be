"""The clip of a request: a path under the media root, or an upload that lives there as long as its request."""

import base64
import binascii
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vrl.data.dataset import resolve_media
from vrl.errors import DataError
from vrl.serve.config import UPLOADS
from vrl.serve.errors import Refusal, refusal_of

_DATA = "data:video/"


@contextmanager
def clip_path(url: str, root: Path) -> Iterator[str]:
    """The path, relative to `root`, of the clip that a URL names; an upload is deleted on the way out.

    `data:video/mp4;base64,...` is an upload; anything else is a path relative to the root. Raises Refusal: 400 for an
    upload that is no base64, 403 for a path that leads out of the root or among the uploads, 404 for no file.
    """
    if not url.startswith("data:"):
        yield _named(url, root)
        return
    content = _content(url)
    (root / UPLOADS).mkdir(mode=0o700, exist_ok=True)
    file = root / UPLOADS / uuid.uuid4().hex
    try:
        file.write_bytes(content)
        yield str(file.relative_to(root))
    finally:
        file.unlink(missing_ok=True)


def _named(path: str, root: Path) -> str:
    try:
        real = resolve_media(root, path)
    except DataError as error:
        refusal = refusal_of(error)
        raise Refusal(refusal.status, f"video_url: got {path[:200]!r}, wanted a clip under media.root") from error
    if real.is_relative_to((root / UPLOADS).resolve()):
        raise Refusal(403, "video_url: uploads belong to the request that made them")
    return path


def _content(url: str) -> bytes:
    header, comma, text = url.partition(",")
    if not (comma and header.startswith(_DATA) and header.endswith(";base64")):
        raise Refusal(400, f"video_url: got {header[:60]!r}, wanted data:video/<type>;base64,<content>")
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(400, f"video_url: not base64: {error}") from error
    if not content:
        raise Refusal(400, "video_url: got an empty upload")
    return content
