"""`vrl serve`: an InferenceClient behind Ray Serve, until a signal ends it."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import cloudpickle, serve

from vrl.inference.client import start_inference
from vrl.inference.config import data_config
from vrl.lifecycle import Stop
from vrl.serve.app import ChatApp
from vrl.serve.config import ServeConfig
from vrl.serve.token import read_token

_SLACK = 64  # requests beyond the queue that reach the app, which answers them with 429


async def serve_questions(config: ServeConfig, stop: Stop) -> None:
    """Start engines and server, print the URL, serve until SIGINT or SIGTERM.

    Raises ConfigError or CheckpointError before any actor starts, also for a token file that others can read.
    """
    token = read_token(Path(config.token_file))
    root = Path(config.media.root).resolve()
    config = replace(config, media=replace(config.media, root=str(root)))
    data = data_config(config.media, str(root / "questions"))  # no such file: samples come from requests
    with_retrieval = replace(config, strategy=replace(config.strategy, name="backfill"))  # any request may name it
    async with start_inference(with_retrieval, data) as client:
        await client.stop_heartbeats()  # the replica runs them
        deployment: Any = serve.deployment(
            _Replica,
            num_replicas=1,
            max_ongoing_requests=config.concurrency + config.queue + _SLACK,
            ray_actor_options={"num_cpus": 0},
            graceful_shutdown_timeout_s=5,
        )
        try:
            await asyncio.to_thread(_start, deployment, client, config, token)
            stop.listen()
            print(f"http://{config.host}:{config.port}/v1  token in {config.token_file}", file=sys.stderr, flush=True)
            await asyncio.Event().wait()
        finally:
            serve.shutdown()


class _Replica(ChatApp):
    """The app in the serving process. It gets its InferenceClient as bytes: Serve repickles arguments."""

    def __init__(self, packed: bytes, config: ServeConfig, token: str, model: str) -> None:
        client = cloudpickle.loads(packed)
        super().__init__(client, config, token, model)
        client.start_heartbeats()


def _start(deployment: Any, client: Any, config: ServeConfig, token: str) -> None:
    serve.start(http_options={"host": config.host, "port": config.port})
    packed = cloudpickle.dumps(client)  # pyright: ignore[reportPrivateImportUsage]
    serve.run(deployment.bind(packed, config, token, Path(config.model.path).name), name="vrl", route_prefix="/")
