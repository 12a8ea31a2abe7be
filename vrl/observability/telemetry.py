"""The telemetry of one process: an endpoint for Prometheus, the target file that announces it, and a file of spans.

An actor reads its settings from the environment variable `VRL_TELEMETRY`, which is set when the actor is placed. A
restarted actor therefore replaces its predecessor: same target file, new port. A door to prometheus_client, for its
server.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import prometheus_client
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from vrl.config import LogConfig
from vrl.errors import ConfigError
from vrl.files import write_atomically
from vrl.network import own_address
from vrl.observability.series import close_series, open_series
from vrl.observability.spans import close_spans, open_spans

_ENV = "VRL_TELEMETRY"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_TARGETS = ".targets"  # next to the runs, one file per process: Prometheus looks for files in one folder only


@dataclass(frozen=True, kw_only=True, slots=True)
class TelemetryConfig:
    """What one process exports, and under which labels."""

    run_dir: str  # absolute
    role: str
    rank: int
    spans: bool
    host: str = ""  # to serve on; empty disables the endpoint
    port: int = 0  # 0 takes any free port


def telemetry_config(run_dir: Path, log: LogConfig, role: str, rank: int) -> TelemetryConfig:
    """Return the settings for one process: the driver serves on log.prometheus_port, an actor on any free port."""
    on = log.prometheus_port > 0
    return TelemetryConfig(
        run_dir=str(run_dir.resolve()),
        role=role,
        rank=rank,
        spans=log.spans,
        host=log.prometheus_host if on else "",
        port=log.prometheus_port if role == "driver" else 0,
    )


def telemetry_env(config: TelemetryConfig) -> dict[str, str]:
    """Return the environment variables that `start_telemetry` reads."""
    return {_ENV: json.dumps(asdict(config))}


def start_telemetry() -> bool:
    """Start telemetry as set in the environment; do nothing outside a run. Return whether metrics are served."""
    return _ENV in os.environ and bool(Telemetry(TelemetryConfig(**json.loads(os.environ[_ENV]))).address)


def clear_targets(run_dir: Path) -> None:
    """Remove the target files of a run that has ended or was killed."""
    for path in (run_dir.parent / _TARGETS).glob(f"{run_dir.name}@*.json"):
        path.unlink()


class Telemetry:
    """The open endpoint and span file of this process; at most one at a time."""

    def __init__(self, config: TelemetryConfig, *collectors: Collector) -> None:
        """Serve the role's series, `collectors` and, in an engine, vLLM's own metrics; write spans.

        Raise ConfigError if the port is taken or the host is not an address of this machine.
        """
        self.address = ""
        self._server = None
        if config.spans:
            open_spans(Path(config.run_dir), config.role, config.rank)
        if config.host:
            registry = open_series(config.role)
            for collector in (*collectors, *([_Vllm()] if config.role == "rollout" else [])):
                registry.register(collector)
            announced = "127.0.0.1" if config.host in _LOOPBACK else own_address()
            bound = config.host if config.role == "driver" else announced  # an actor may live on another node
            try:
                self._server = prometheus_client.start_http_server(config.port, bound, registry=registry)
            except OSError as error:
                raise ConfigError(
                    f"log.prometheus_port: got {bound}:{config.port}, which cannot be bound ({error}); wanted a "
                    "free port and an address of this machine"
                ) from error
            self.address = f"{announced}:{self._server[0].server_port}"
            _publish(config, self.address)

    def close(self) -> None:
        """Stop serving, counting and writing."""
        close_spans()
        close_series()
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()


class _Vllm(Collector):
    """vLLM's metrics of this process, from its own registry, renamed from vllm: to vllm_.

    The client library replaces colons for Prometheus 2 but not for Prometheus 3; renaming gives both the same name.
    """

    def collect(self) -> Iterable[Family]:
        for family in prometheus_client.REGISTRY.collect():
            if family.name.startswith("vllm:"):
                renamed = Family(family.name.replace(":", "_"), family.documentation, family.type)
                renamed.samples = [one._replace(name=one.name.replace(":", "_")) for one in family.samples]
                yield renamed


def _publish(config: TelemetryConfig, address: str) -> None:
    """Announce this endpoint to Prometheus' file-based discovery, atomically."""
    run_dir = Path(config.run_dir)
    labels = {"run": run_dir.name, "role": config.role, "rank": str(config.rank)}
    path = run_dir.parent / _TARGETS / f"{run_dir.name}@{config.role}-{config.rank}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps([{"targets": [address], "labels": labels}]) + "\n")
