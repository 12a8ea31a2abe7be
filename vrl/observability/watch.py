"""How one process of a run is watched: an endpoint for Prometheus, a target file that names it, a file of spans.

An actor finds its part in the environment (`VRL_WATCH`, put there when it is placed), so one that is started again
takes the place of the old one by itself: same target file, new port. A door to prometheus_client, for its server.
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
from vrl.network import own_address
from vrl.observability.series import close_series, open_series
from vrl.observability.spans import close_spans, open_spans

_ENV = "VRL_WATCH"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_TARGETS = ".targets"  # beside the runs: a file a process, since Prometheus looks for files in one folder only


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """What one process shows, and as whom."""

    run_dir: str  # absolute
    role: str
    rank: int
    spans: bool
    host: str = ""  # to serve on; empty: no endpoint
    port: int = 0  # 0: any that is free


def watch_of(run_dir: Path, log: LogConfig, role: str, rank: int) -> Watch:
    """What `log` asks of a process: the driver serves on log.prometheus_port, everyone else on a free port."""
    on = log.prometheus_port > 0
    return Watch(
        run_dir=str(run_dir.resolve()),
        role=role,
        rank=rank,
        spans=log.spans,
        host=log.prometheus_host if on else "",
        port=log.prometheus_port if role == "driver" else 0,
    )


def environment(watch: Watch) -> dict[str, str]:
    """The variables by which `watch_actor` knows its part."""
    return {_ENV: json.dumps(asdict(watch))}


def watch_actor() -> bool:
    """Open what the environment asks for, nothing outside a run. Returns whether this process serves metrics."""
    return _ENV in os.environ and bool(Window(Watch(**json.loads(os.environ[_ENV]))).address)


def clear_targets(run_dir: Path) -> None:
    """Remove the targets of the run at `run_dir` that has ended, or was killed before."""
    for path in (run_dir.parent / _TARGETS).glob(f"{run_dir.name}@*.json"):
        path.unlink()


class Window:
    """An open watch on this process; one at a time."""

    def __init__(self, watch: Watch, *collectors: Collector) -> None:
        """Serve the role's series, `collectors` and, in an engine, vLLM's own; write spans.

        Raises ConfigError where the port is taken or the host is not this machine's.
        """
        self.address = ""
        self._server = None
        if watch.spans:
            open_spans(Path(watch.run_dir), watch.role, watch.rank)
        if watch.host:
            registry = open_series(watch.role)
            for collector in (*collectors, *([_Vllm()] if watch.role == "rollout" else [])):
                registry.register(collector)
            shown = "127.0.0.1" if watch.host in _LOOPBACK else own_address()
            bound = watch.host if watch.role == "driver" else shown  # an actor may live on another node
            try:
                self._server = prometheus_client.start_http_server(watch.port, bound, registry=registry)
            except OSError as error:
                raise ConfigError(
                    f"log.prometheus_port: got {bound}:{watch.port}, which cannot be served on ({error}); wanted a "
                    "free port and an address of this machine"
                ) from error
            self.address = f"{shown}:{self._server[0].server_port}"
            _publish(watch, self.address)

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
    """What vLLM counts in this process, in its own registry, as vllm_ and not vllm:.

    Prometheus 2 gets colons as underscores from the client library and Prometheus 3 does not; so both see one name.
    """

    def collect(self) -> Iterable[Family]:
        for family in prometheus_client.REGISTRY.collect():
            if family.name.startswith("vllm:"):
                renamed = Family(family.name.replace(":", "_"), family.documentation, family.type)
                renamed.samples = [one._replace(name=one.name.replace(":", "_")) for one in family.samples]
                yield renamed


def _publish(watch: Watch, address: str) -> None:
    """Name this endpoint for Prometheus' file-based discovery, all at once."""
    run_dir = Path(watch.run_dir)
    labels = {"run": run_dir.name, "role": watch.role, "rank": str(watch.rank)}
    path = run_dir.parent / _TARGETS / f"{run_dir.name}@{watch.role}-{watch.rank}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_suffix(".tmp")
    tmp.write_text(json.dumps([{"targets": [address], "labels": labels}]) + "\n")
    os.replace(tmp, path)
