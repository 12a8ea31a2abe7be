"""The media of a run: counts of decodes and cache hits, and the list of bad files, which are not tried again.

Bad media are appended to a JSON-lines file as soon as they are found, so the list survives a kill and a resume; delete
the line of a file that has been repaired. Does not decode (vrl.data.worker does) or judge how many bad samples are too
many (vrl.rollout.prefetch does).
"""

import json
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vrl.errors import MediaError
from vrl.files import write_atomically
from vrl.types import Media, MediaWork, Prompt, Sample

Prepare = Callable[[Sample], Awaitable[tuple[Prompt, Any]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class BadMedia:
    """A clip or image that could not be used."""

    path: str  # relative to data.root
    start_s: float
    end_s: float | None
    reason: str
    message: str
    sample_id: str  # the first sample that needed it

    def spoils(self, media: Media) -> bool:
        """Return whether `media` is bad too: a bad cut affects itself only, every other fault the whole file."""
        cut = (self.start_s, self.end_s)
        return media.path == self.path and (self.reason != "cut" or cut == (media.start_s, media.end_s))


class MediaTracker:
    """Counts of media work and a list of bad media. Only one process may write the file."""

    def __init__(self, path: Path, *, work: MediaWork | None = None) -> None:
        """`path` may list media already found bad; a line torn by a kill is dropped. `work`: counts before a resume."""
        self.work = work or MediaWork()
        self._path = path
        self._bad: dict[str, list[BadMedia]] = {}
        known = _read(path)
        write_atomically(path, "".join(_line(bad) for bad in known))
        for bad in known:
            self._bad.setdefault(bad.path, []).append(bad)

    @property
    def bad(self) -> list[BadMedia]:
        return [bad for found in self._bad.values() for bad in found]

    def refuse_known_bad(self, sample: Sample) -> None:
        """Raise MediaError if one of the sample's media is listed as bad."""
        for media in sample.media:
            if bad := self._find(media):
                raise MediaError(f"{bad.message} (not tried again: listed in {self._path})", bad.reason, media)

    def _find(self, media: Media) -> BadMedia | None:
        return next((bad for bad in self._bad.get(media.path, ()) if bad.spoils(media)), None)

    def add_bad(self, sample: Sample, error: MediaError) -> None:
        """Add the medium that `error` names to the list and the file, with the sample that needed it."""
        media = error.media
        if self._find(media):  # another sample needed it at the same time
            return
        bad = BadMedia(
            path=media.path,
            start_s=media.start_s,
            end_s=media.end_s,
            reason=error.reason,
            message=error.message,
            sample_id=sample.sample_id,
        )
        self._bad.setdefault(bad.path, []).append(bad)
        with self._path.open("a") as stream:
            stream.write(_line(bad))
            stream.flush()
            os.fsync(stream.fileno())


def cache_hit_frac(prompts: Iterable[Prompt]) -> float:
    """Return the fraction of the media of these prompts that came from the cache; 0 if there are none."""
    work = sum((prompt.media_work for prompt in prompts), MediaWork())
    return work.cache_hits / max(1, work.cache_hits + work.decodes)


def _line(bad: BadMedia) -> str:
    return json.dumps(asdict(bad)) + "\n"


def _read(path: Path) -> list[BadMedia]:
    if not path.is_file():
        return []
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(BadMedia(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return found
