"""A decode process that can be killed: a clip that hangs or crashes its decoder costs one sample, not the worker.

The parent side (`Decoder`) never loads a video library; the child runs this module and does. Pixels come back through
an anonymous memory file that vanishes with its two holders. One request at a time.
"""

import contextlib
import ctypes
import mmap
import os
import signal
import subprocess
import sys
from io import FileIO
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

import numpy as np

from vrl.config import FrameConfig
from vrl.errors import DataError
from vrl.types import Frames, Media

_START_TIMEOUT_S = 60.0  # imports of a fresh child on a busy machine
_PR_SET_PDEATHSIG = 1


class Decoder:
    """Reads media in a child process that is killed when it takes longer than `timeout_s`, and replaced.

    Example: `frames = Decoder(timeout_s=30).read(path, media, config)`.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._start()

    def read(self, path: Path, media: Media, config: FrameConfig) -> Frames:
        """The chosen frames (see vrl.data.video.read). Raises DataError, with reason timeout or crash as well."""
        if self._process.poll() is not None:  # died while idle: nobody's fault
            self._restart()
        try:
            self._connection.send((path, media, config))
            if not self._connection.poll(self._timeout_s):
                self._restart()
                raise DataError(
                    f"{path}: decoding took longer than data.decode_timeout_s={self._timeout_s:g}", reason="timeout"
                )
            reply = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            self._process.wait(5)
            status = self._process.returncode
            self._restart()
            raise DataError(f"{path}: the decoder died (exit status {status})", reason="crash") from error
        if isinstance(reply, DataError):
            raise reply
        shape, timestamps_s, duration_s = reply
        with mmap.mmap(self._memory.fileno(), int(np.prod(shape)), prot=mmap.PROT_READ) as view:
            pixels_THWC = np.frombuffer(view, dtype=np.uint8).reshape(shape).copy()
        return Frames(pixels_THWC=pixels_THWC, timestamps_s=timestamps_s, duration_s=duration_s)

    def close(self) -> None:
        """End the child. A second call does nothing."""
        self._process.kill()
        self._process.wait()
        self._connection.close()
        self._memory.close()

    def _restart(self) -> None:
        self.close()
        self._start()

    def _start(self) -> None:
        self._connection, theirs = Pipe()
        self._memory = FileIO(os.memfd_create("vrl-frames"))
        fds = (theirs.fileno(), self._memory.fileno())
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vrl.data.decoder", *map(str, fds), str(os.getpid())],
            pass_fds=fds,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        theirs.close()
        if not self._connection.poll(_START_TIMEOUT_S) or not _received(self._connection):
            self.close()
            raise DataError("the decode process did not start; see its error output above", reason="crash")


def _received(connection: Connection) -> bool:
    with contextlib.suppress(EOFError, ConnectionError):
        return connection.recv() == "ready"
    return False


def serve(connection: Connection, memory: int) -> None:
    """The child's loop: (path, media, config) in, (shape, timestamps_s, duration_s) or a DataError out."""
    from vrl.data import video  # here only: the parent side must not load FFmpeg

    connection.send("ready")
    with contextlib.suppress(EOFError, ConnectionError):  # the parent has gone
        while True:
            path, media, config = connection.recv()
            try:
                frames = video.read(path, media, config)
            except DataError as error:
                connection.send(error)
                continue
            pixels = frames.pixels_THWC
            os.ftruncate(memory, pixels.nbytes)
            with mmap.mmap(memory, pixels.nbytes) as view:
                np.copyto(np.frombuffer(view, dtype=np.uint8).reshape(pixels.shape), pixels)
            connection.send((pixels.shape, frames.timestamps_s, frames.duration_s))


def main() -> None:
    """`python -m vrl.data.decoder CONNECTION_FD MEMORY_FD PARENT_PID`."""
    connection_fd, memory, parent = map(int, sys.argv[1:])
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # even in the middle of a hung decode
    if os.getppid() != parent:  # it went before the line above
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    serve(Connection(connection_fd), memory)


if __name__ == "__main__":
    main()
