"""The clip of a request: a path under the media root, or an upload that is stored there during its request."""

import base64
import binascii
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vrl.data.dataset import resolve_media
from vrl.errors import DataError
from vrl.ownership import make_private
from vrl.serve.config import UPLOADS
from vrl.serve.errors import HttpError, http_error

_DATA = "data:video/"


@contextmanager
def clip_path(url: str, root: Path) -> Iterator[str]:
    """Yield the path, relative to `root`, of the clip that a URL names; an upload is deleted on exit.

    `data:video/mp4;base64,...` is an upload; anything else is a path relative to the root. Raises HttpError: 400 for an
    upload that is not base64, 403 for a path outside the root or in the upload folder, 404 for a missing file.
    """
    if not url.startswith("data:"):
        _check_path(url, root)
        yield url
        return
    content = _content(url)
    make_private(root / UPLOADS)
    file = root / UPLOADS / uuid.uuid4().hex
    try:
        file.write_bytes(content)
        yield str(file.relative_to(root))
    finally:
        file.unlink(missing_ok=True)


def _check_path(path: str, root: Path) -> None:
    try:
        real = resolve_media(root, path)
    except DataError as error:
        status = http_error(error).status
        raise HttpError(status, f"video_url: got {path[:200]!r}, wanted a clip under media.root") from error
    if real.is_relative_to((root / UPLOADS).resolve()):
        raise HttpError(403, "video_url: an upload can be read only by the request that sent it")


def _content(url: str) -> bytes:
    header, comma, text = url.partition(",")
    if not (comma and header.startswith(_DATA) and header.endswith(";base64")):
        raise HttpError(400, f"video_url: got {header[:60]!r}, wanted data:video/<type>;base64,<content>")
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise HttpError(400, f"video_url: not base64: {error}") from error
    if not content:
        raise HttpError(400, "video_url: got an empty upload")
    return content
