"""Replies on disk, keyed by the request: one small file each, written atomically. Safe across processes."""

import hashlib
import json
import os
import tempfile
from pathlib import Path


class ReplyCache:
    """A folder of replies. Example: `cache.put(request, reply)`, later `cache.get(request)`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, request: dict[str, object]) -> str | None:
        """Return the reply to exactly this request, or None if there is none or its file cannot be parsed."""
        try:
            stored = json.loads(self._path(request).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError, RecursionError):
            return None
        return stored["reply"] if isinstance(stored, dict) and isinstance(stored.get("reply"), str) else None

    def put(self, request: dict[str, object], reply: str) -> None:
        """Store a reply, with the request for human readers of the folder."""
        path = self._path(request)
        path.parent.mkdir(exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"request": request, "reply": reply}, file, ensure_ascii=False)
        os.replace(name, path)

    def _path(self, request: dict[str, object]) -> Path:
        key = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        return self._folder / key[:2] / f"{key}.json"
