"""The books of a run's media: what was decoded, what the cache had, and the bad files, which are not tried again.

Bad media stand in a JSON-lines file, one line each, as soon as they are found: the list outlives a kill and a resume,
and whoever has mended a file deletes its line. Does not decode (vrl.data.worker does), and does not judge how many bad
samples are too many (vrl.rollout.prefetch does).
"""

import json
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vrl.errors import MediaError
from vrl.types import Media, MediaWork, Prompt, Sample

Prepare = Callable[[Sample], Awaitable[tuple[Prompt, Any]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class BadMedia:
    """A clip or picture that could not be used."""

    path: str  # relative to data.root
    start_s: float
    end_s: float | None
    reason: str
    message: str
    sample_id: str  # the first that wanted it

    def spoils(self, media: Media) -> bool:
        """A bad cut spoils itself; every other fault is the file's, whatever part of it is wanted."""
        cut = (self.start_s, self.end_s)
        return media.path == self.path and (self.reason != "cut" or cut == (media.start_s, media.end_s))


class MediaTracker:
    """Counts and lists what `prepare` meets. One process writes the file.

    Example: `ledger = MediaTracker(run_dir / "bad_media.jsonl")`, then `prepare = ledger.watched(fleets.prepare)`.
    """

    def __init__(self, path: Path, *, work: MediaWork | None = None) -> None:
        """`path` may hold the media found bad before; a line torn by a kill is dropped. `work` was done before."""
        self.work = work or MediaWork()
        self._path = path
        self._bad: dict[str, list[BadMedia]] = {}
        known = _read(path)
        tmp = path.with_suffix(".tmp")
        tmp.write_text("".join(_line(bad) for bad in known))
        os.replace(tmp, path)
        for bad in known:
            self._bad.setdefault(bad.path, []).append(bad)

    @property
    def bad(self) -> list[BadMedia]:
        return [bad for found in self._bad.values() for bad in found]

    def watched(self, prepare: Prepare) -> Prepare:
        """`prepare`, but samples with media known as bad raise MediaError at once, and work and bad media are noted."""

        async def watching(sample: Sample) -> tuple[Prompt, Any]:
            for media in sample.media:
                if bad := self._find(media):
                    raise MediaError(f"{bad.message} (not tried again: listed in {self._path})", bad.reason, media)
            try:
                prompt, patches = await prepare(sample)
            except MediaError as error:
                self._note(sample, error)
                raise
            self.work += prompt.media_work
            return prompt, patches

        return watching

    def _find(self, media: Media) -> BadMedia | None:
        return next((bad for bad in self._bad.get(media.path, ()) if bad.spoils(media)), None)

    def _note(self, sample: Sample, error: MediaError) -> None:
        media = error.media
        if self._find(media):  # another sample wanted it at the same time
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
    """Share of the media of these prompts that the cache had; 0 where they have none."""
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
