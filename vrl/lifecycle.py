"""What every run shares: its folder, its summary, and how a signal ends it.

Ctrl-C and SIGTERM ask a run to stop: it finishes the step under way, saves a checkpoint, frees everything and exits
with 130 or 143. A second signal cancels at once. Does not know what kind of run it is.
"""

import asyncio
import json
import os
import secrets
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from vrl.checkpoint import Checkpoint, find, require_own
from vrl.config import RunConfig
from vrl.config.load import as_yaml
from vrl.data.dataset import check_media, media_root, read_samples
from vrl.data.expand import expand, repeat
from vrl.errors import DataError
from vrl.reward import add_modules
from vrl.reward.rubric import build_rubric
from vrl.types import Sample


class Stop:
    """The wish to end. Until the run says how to stop gently (`when_asked`), a signal cancels it."""

    def __init__(self, main: "asyncio.Task[Any]") -> None:
        self.signum: int | None = None
        self.when_asked: Callable[[], None] | None = None
        self._main = main

    def listen(self) -> None:
        """Take over SIGINT and SIGTERM; again after ray.init, which installs a SIGTERM handler of its own."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, self._asked, signum)

    def _asked(self, signum: int) -> None:
        again = self.signum is not None
        self.signum = signum
        if self.when_asked is not None and not again:
            self.when_asked()
        else:
            self._main.cancel()


def run_to_end(main: Callable[[Stop], Coroutine[Any, Any, None]]) -> int:
    """Run `main` and return the exit code: 0, or 128 + the signal that ended it. Errors pass through, ungrouped."""

    async def outer() -> int:
        task = asyncio.current_task()
        assert task is not None
        stop = Stop(task)
        stop.listen()
        try:
            await main(stop)
        except asyncio.CancelledError:
            if stop.signum is None:
                raise
        return 0 if stop.signum is None else 128 + stop.signum

    try:
        return asyncio.run(outer())
    except BaseExceptionGroup as group:  # a TaskGroup's: the first cause is the one to read
        raise first_cause(group) from group


def first_cause(group: BaseExceptionGroup) -> BaseException:
    """The first real error of a nested exception group."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def guard_private_ray(ray_address: str) -> None:
    """Give a private Ray a random token that never touches the disk. Call before `import ray`, which reads these."""
    if not ray_address and "RAY_AUTH_MODE" not in os.environ:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


def open_run(config: RunConfig) -> Checkpoint | None:
    """Make the run folder, write the resolved config and find the checkpoint to resume from.

    Raises CheckpointError as `vrl.checkpoint.find` does.
    """
    checkpoints = config.run_dir / "checkpoints"
    found = find(checkpoints, config.resume)
    if found is not None:
        require_own(found.path)
    checkpoints.mkdir(parents=True, exist_ok=True)
    if config.resume == "never":
        (config.run_dir / "bad_media.jsonl").unlink(missing_ok=True)
    (config.run_dir / "config.yaml").write_text(as_yaml(config))
    return found


def write_summary(run_dir: Path, summary: dict[str, Any]) -> None:
    """Write summary.json all at once."""
    tmp = run_dir / "summary.json.tmp"
    tmp.write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n")
    os.replace(tmp, run_dir / "summary.json")


def open_data(config: RunConfig) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Training and validation samples, checked as far as files can be checked without decoding them.

    Raises DataError listing every row and media file at fault, and ConfigError for tasks without a rubric, or rewards
    that are not there.
    """
    train = repeat(_read(config.data.train, config), config.data.repeat)
    val = _read(config.data.val, config)[: config.val.samples] if config.data.val else ()
    problems = check_media((*train, *val), media_root(config.data))
    if problems:
        shown = problems[:20] + ([f"... and {len(problems) - 20} more"] if len(problems) > 20 else [])
        raise DataError("\n".join(shown), reason="media")
    add_modules(config.reward.modules)
    build_rubric(config.tasks, {sample.task for sample in (*train, *val)})
    return train, val


def _read(path: str, config: RunConfig) -> tuple[Sample, ...]:
    return expand(read_samples(Path(path), config.data.tasks), config.data.expand)
