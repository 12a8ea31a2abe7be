"""A private folder for the unix sockets of one engine's processes, removed once they are connected.

By default vLLM binds them in /tmp and leaves one file per engine. A connected socket needs no file, so the folder is
removed while the engine runs and nothing remains even after a kill. Only its owner can enter it. Closes no sockets.
"""

import os
from tempfile import TemporaryDirectory
from typing import Any

from vrl.network import socket_folder


class RpcDir:
    """The socket folder of the next engine that this process starts."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="vrl-", dir=socket_folder(), ignore_cleanup_errors=True)
        self._removed = False
        os.environ["VLLM_RPC_BASE_PATH"] = self._folder.name

    async def remove(self, llm: Any) -> None:
        """Remove the folder on the first call; an answer from the engine shows that all sockets are connected."""
        if not self._removed:
            await llm.is_paused()
            self._folder.cleanup()
            self._removed = True
