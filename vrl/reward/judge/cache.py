"""Replies on disk, by the content of the question: a small file each, written all at once. Safe for many processes."""

import hashlib
import json
import os
import tempfile
from pathlib import Path


class ReplyCache:
    """A folder of replies. Example: `cache.put(request, reply)`, later `cache.get(request)`; None for a stranger."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, request: dict[str, object]) -> str | None:
        """The reply to this very request; a file that cannot be read counts as none."""
        try:
            stored = json.loads(self._path(request).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return stored["reply"] if isinstance(stored, dict) and isinstance(stored.get("reply"), str) else None

    def put(self, request: dict[str, object], reply: str) -> None:
        """Keep a reply, and the request beside it for whoever looks into the folder."""
        path = self._path(request)
        path.parent.mkdir(exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"request": request, "reply": reply}, file, ensure_ascii=False)
        os.replace(name, path)

    def _path(self, request: dict[str, object]) -> Path:
        key = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        return self._folder / key[:2] / f"{key}.json"
