"""Where the processes of one engine meet: unix sockets in a folder of their own, gone as soon as they have met.

vLLM would bind them in /tmp and leave one file there for every engine. A connected socket needs no file: the folder
goes while the engine lives, so nothing is left whoever kills it later. Its owner alone can enter it. Does not close
the sockets.
"""

import os
from tempfile import TemporaryDirectory
from typing import Any


class RpcDir:
    """The folder of the next engine that this process starts."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="vrl-", ignore_cleanup_errors=True)
        self._met = False
        os.environ["VLLM_RPC_BASE_PATH"] = self._folder.name

    async def leave(self, llm: Any) -> None:
        """Remove the folder, the first time: once an answer has come all ways are open."""
        if not self._met:
            await llm.is_paused()
            self._folder.cleanup()
            self._met = True
