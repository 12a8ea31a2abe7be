"""A decode process that can be killed: a clip that hangs, exhausts memory or crashes costs only its own sample.

The parent side (`DecodeProcess`) never loads a video library; the child runs this module and does. The kernel bounds
the child's memory and CPU time, the parent its wall time. Pixels come back in an anonymous memory file that the parent
maps; it is freed with the array. One request at a time.
"""

import contextlib
import ctypes
import math
import mmap
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection, Pipe
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path
from typing import Any

import numpy as np

from vrl.config import DataConfig, MediaLimitsConfig
from vrl.data.decode.limits import MediaInfo
from vrl.data.decode.subtitles import Cue
from vrl.errors import DataError
from vrl.types import Frames, Media

_START_TIMEOUT_S = 60.0  # imports of a fresh child on a busy machine
_PR_SET_PDEATHSIG = 1


class DecodeProcess:
    """A child process that reads media; it is killed and replaced when it exceeds the limits in `data`.

    Example: `frames = DecodeProcess(data).read(path, media)`.
    """

    def __init__(self, data: DataConfig) -> None:
        self._frames, self._limits, self._timeout_s = data.frames, data.limits, data.decode_timeout_s
        self._start()

    def read(self, path: Path, media: Media, moments_s: Sequence[float] = (), cues: Sequence[Cue] = ()) -> Frames:
        """Return the chosen frames, or those at `moments_s` (see vrl.data.decode.video.read), with overlays and `cues`.

        Raises DataError as that function does, and also with reason timeout or crash.
        """
        request = ("read", path, media, self._frames, self._limits, moments_s, cues)
        pixels_THWC, timestamps_s, duration_s = self._ask(path, request)
        return Frames(pixels_THWC=pixels_THWC, timestamps_s=timestamps_s, duration_s=duration_s)

    def check(self, path: Path, media: Media) -> MediaInfo:
        """Decode a whole file (see vrl.data.decode.video.check). Raises DataError as `read` does."""
        return self._ask(path, ("check", path, media, self._frames, self._limits, (), ()))

    def _ask(self, path: Path, request: tuple[Any, ...]) -> Any:
        """Return the child's reply. Raises the DataError that it replied with, or one that says how it died."""
        if self._process.poll() is not None:  # it died while idle, so this file is not the cause
            self._restart()
        try:
            self._connection.send(request)
            self._wait(path)
            reply = self._connection.recv()
            if isinstance(reply, tuple):  # a read: the memory file with the pixels follows
                self._wait(path)
                shape, timestamps_s, duration_s = reply
                return _receive(self._connection, shape), timestamps_s, duration_s
        except (EOFError, ConnectionError) as error:
            self._process.wait(5)
            status = self._process.returncode
            self._restart()
            raise self._cause_of_death(path, status) from error
        if isinstance(reply, DataError):
            raise reply
        return reply

    def _wait(self, path: Path) -> None:
        """Wait for the child to send something. Replaces it and raises DataError (timeout) if it takes too long."""
        if not self._connection.poll(self._timeout_s):
            self._restart()
            raise DataError(
                f"{path}: decoding took longer than data.decode_timeout_s={self._timeout_s:g}", reason="timeout"
            )

    def close(self) -> None:
        """End the child. A second call does nothing."""
        self._process.kill()
        self._process.wait()
        self._connection.close()

    def _cause_of_death(self, path: Path, status: int) -> DataError:
        if status == -signal.SIGXCPU:
            return DataError(f"{path}: decoding used more than data.limits.cpu_s={self._limits.cpu_s:g}", "timeout")
        if status == -signal.SIGABRT:  # C++ aborts when an allocation fails
            limit = f"data.limits.memory_gib={self._limits.memory_gib:g}"
            return DataError(f"{path}: the decoder aborted; {limit} may be too small", reason="memory")
        return DataError(f"{path}: the decoder died (exit status {status})", reason="crash")

    def _restart(self) -> None:
        self.close()
        self._start()

    def _start(self) -> None:
        self._connection, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vrl.data.decode.process", str(theirs.fileno()), str(os.getpid())],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        theirs.close()
        if not self._connection.poll(_START_TIMEOUT_S) or not _is_ready(self._connection):
            self.close()
            raise DataError("the decode process did not start; see its error output above", reason="crash")


def _is_ready(connection: Connection) -> bool:
    with contextlib.suppress(EOFError, ConnectionError):
        return connection.recv() == "ready"
    return False


def _send(connection: Connection, frames: Frames) -> None:
    """Transfer ownership of a memfd with the pixels to the parent. Loops because one write moves at most 2 GiB."""
    memory = os.memfd_create("vrl-frames")
    try:
        view, done = np.ascontiguousarray(frames.pixels_THWC).data.cast("B"), 0
        while done < len(view):
            done += os.write(memory, view[done:])
        connection.send((frames.pixels_THWC.shape, frames.timestamps_s, frames.duration_s))
        send_handle(connection, memory, None)
    finally:
        os.close(memory)


def _receive(connection: Connection, shape: tuple[int, ...]) -> np.ndarray:
    """Map the pixels that `_send` sent, without a copy; the memory is freed with the array."""
    memory = recv_handle(connection)
    try:
        return np.frombuffer(mmap.mmap(memory, math.prod(shape)), dtype=np.uint8).reshape(shape)
    finally:
        os.close(memory)


def serve(connection: Connection) -> None:
    """Answer requests until the parent closes the connection.

    A request is (read | check, path, media, frames, limits, moments_s, cues). A reply is pixels with
    their times, a MediaInfo, or a DataError.
    """
    from vrl.data.decode import video  # not at the top: the parent side must not load FFmpeg
    from vrl.data.decode.overlay import burn

    start_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()  # address space in use
    connection.send("ready")
    with contextlib.suppress(EOFError, ConnectionError):  # the parent died
        while True:
            action, path, media, config, limits, moments_s, cues = connection.recv()
            _bound(limits, start_bytes)
            try:
                if action == "check":
                    connection.send(video.check(path, media, limits))
                    continue
                frames = burn(video.read(path, media, config, limits, moments_s), cues, media, config.overlay)
            except DataError as error:
                connection.send(error)
                continue
            _send(connection, frames)


def _bound(limits: MediaLimitsConfig, start_bytes: int) -> None:
    """Set kernel limits for the next decode: allocations beyond the first fail, SIGXCPU kills beyond the second."""
    most_bytes = start_bytes + int(limits.memory_gib * 2**30)
    used = resource.getrusage(resource.RUSAGE_SELF)
    most_cpu_s = math.ceil(used.ru_utime + used.ru_stime + limits.cpu_s)
    for kind, soft in ((resource.RLIMIT_AS, most_bytes), (resource.RLIMIT_CPU, most_cpu_s)):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def main() -> None:
    """Run `python -m vrl.data.decode.process CONNECTION_FD PARENT_PID`."""
    connection_fd, parent = map(int, sys.argv[1:])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # even in the middle of a hung decode
    if os.getppid() != parent:  # the parent died before prctl took effect
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no core dumps of decoders that abort
    serve(Connection(connection_fd))


if __name__ == "__main__":
    main()
