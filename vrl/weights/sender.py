"""The learner's side of a weight push, and the check that the weights arrived.

A push is vLLM's own weight transfer: start, update, finish, driven by the sending rank through the engines' methods.
The transport is vLLM's `nccl` engine, its `ipc` engine if learner and engine share a GPU, or our `gloo` for CPUs,
whose receiving half is vrl.weights.receiver. Does not pause or resume engines: vrl.training.weight_sync does. Imports
vLLM for nccl and ipc only.
"""

import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch

from vrl.config import PushConfig
from vrl.errors import ConfigError, WeightPushError
from vrl.weights.wire import Digest, PacketGroup, add_digests, digest_of, open_store, pack


class ParameterSource(Protocol):
    """The learner's parameters. Both methods are called on all ranks together and use the same order."""

    def parameter_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return Hugging Face names and full shapes of what `full_parameters` yields, without gathering."""
        ...

    def full_parameters(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield full tensors one by one; a collective under ZeRO-3."""
        ...


def choose_backend(config: PushConfig, *, has_gpus: bool) -> str:
    """Return the transport of a run: the configured one, or for `auto` nccl with GPUs and gloo without.

    Raises ConfigError for nccl or ipc on a machine without GPUs.
    """
    if config.backend == "auto":
        return "nccl" if has_gpus else "gloo"
    if config.backend in ("nccl", "ipc") and not has_gpus:
        raise ConfigError(f"push.backend: got {config.backend!r} without a GPU, wanted auto or gloo")
    return config.backend


class WeightSender:
    """Sends the learner's weights to all engines. Built on every learner rank; rank 0 sends, all ranks gather."""

    def __init__(
        self,
        source: ParameterSource,
        engines: Sequence[Any],
        *,
        backend: str,
        rank: int,
        address: str,
        dtype: torch.dtype,
        config: PushConfig,
        workers_per_engine: int = 1,
    ) -> None:
        """Connect learner and engines, on all ranks; build a new sender after an engine is replaced.

        `engines` are Ray handles of RolloutEngine actors; `backend` is gloo, nccl or ipc; `address` is where the
        engines' nodes reach rank 0; `dtype` is that of the engines; weights are cast to it before sending. Raises
        WeightPushError if an engine does not join within `push.timeout_s`.
        """
        self._rank = rank
        self._verify = config.verify
        self._client = EngineClient(engines, timeout_s=config.timeout_s, workers_per_engine=workers_per_engine)
        self._outgoing = _Outgoing(source, dtype, digest=config.verify and rank == 0)
        if backend != "gloo":
            self._sender = _vllm_sender(backend, self._client, self._outgoing, rank, address)
        elif rank == 0:
            self._sender = GlooSender(self._client, self._outgoing, address, config.timeout_s)
        else:
            self._sender = _GatherOnly(self._outgoing)

    def send(self, policy_version: int) -> int:
        """Send all weights as `policy_version`; returns, on rank 0, the bytes sent to each engine worker.

        With `push.verify` every engine then compares its weights with digests of what was sent. Call on all ranks.
        Raises WeightPushError naming engine and parameter; whether the others have the new weights is then unknown.
        """
        self._client.policy_version = policy_version
        self._sender.send_weights()
        if self._rank == 0 and self._verify:
            self._client.call("verify_weights", policy_version, self._outgoing.digests)
        return self._outgoing.num_bytes

    def close(self) -> None:
        """Leave the group."""
        self._sender.shutdown()


class EngineClient:
    """All engines behind vLLM's VLLMWeightSyncClient interface, over Ray handles, with a time limit on every call."""

    def __init__(self, engines: Sequence[Any], *, timeout_s: float, workers_per_engine: int) -> None:
        self.policy_version = 0
        self.num_workers = len(engines) * workers_per_engine
        self._engines = tuple(engines)
        self._timeout_s = timeout_s
        self._workers_per_engine = workers_per_engine

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self.wait(self.begin_init(init_info))

    def start_weight_update(self) -> None:
        self.call("start_weight_update")

    def update_weights(self, update_info: Any) -> None:
        self.call("update_weights", update_info)

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        self.call("finish_weight_update", weight_version or str(self.policy_version))

    def begin_init(self, init_info: dict[str, Any]) -> list[Any]:
        """Ask every engine to join; the ranks of engine i's workers start at `rank_offset` + i x workers_per_engine."""
        offset = init_info.get("rank_offset")
        infos = [
            init_info if offset is None else init_info | {"rank_offset": offset + i * self._workers_per_engine}
            for i in range(len(self._engines))
        ]
        calls = zip(self._engines, infos, strict=True)
        return [engine.init_weight_transfer_engine.remote(info).future() for engine, info in calls]

    def begin(self, method: str, *args: Any) -> list[Any]:
        """Call `method` on every engine; returns futures, in engine order, for `check` and `wait`."""
        return [getattr(engine, method).remote(*args).future() for engine in self._engines]

    def check(self, futures: Sequence[Any]) -> None:
        """Raise the error of a call that has already failed, instead of waiting for a peer that will never join."""
        self._results({engine: future for engine, future in enumerate(futures) if future.done()})

    def wait(self, futures: Sequence[Any]) -> None:
        """Wait for calls. Raises the first failure as a WeightPushError that names the engine."""
        self._results(dict(enumerate(futures)))

    def _results(self, futures: Mapping[int, Any]) -> None:
        for engine, future in futures.items():
            try:
                future.result(self._timeout_s)
            except TimeoutError as error:
                raise WeightPushError(
                    f"weight push: got no answer from engine {engine} of {len(self._engines)} in {self._timeout_s:g} s "
                    "(push.timeout_s), wanted one",
                    engine,
                ) from error
            except Exception as error:  # raised by the engine and wrapped by Ray, or by Ray for a dead engine
                raise WeightPushError(str(getattr(error, "cause", error)), engine) from error

    def call(self, method: str, *args: Any) -> None:
        self.wait(self.begin(method, *args))


class GlooSender:
    """The sending half of the gloo transport."""

    def __init__(self, client: EngineClient, outgoing: "_Outgoing", address: str, timeout_s: float) -> None:
        self._client = client
        self._outgoing = outgoing
        store = open_store(address, timeout_s)
        world_size = 1 + client.num_workers
        name = secrets.token_hex(16)  # keys of the store that a stranger on the network cannot guess
        group = {"address": address, "port": store.port, "world_size": world_size, "timeout_s": timeout_s}
        joining = client.begin_init({**group, "name": name, "rank_offset": 1})
        self._group: PacketGroup | None = PacketGroup(store, name, rank=0, world_size=world_size, timeout_s=timeout_s)
        client.wait(joining)

    def send_weights(self) -> None:
        """Run one update: start, packets, finish. Engines change nothing before the last packet has arrived."""
        assert self._group is not None
        packets = pack(self._outgoing)
        try:
            self._client.start_weight_update()
            receiving = self._client.begin("update_weights", {})
            for packet in packets:
                self._client.check(receiving)
                self._group.send(packet)
            self._group.send(None)
            self._client.wait(receiving)
        finally:
            for _ in packets:  # the other ranks gather to the end and would wait for this one
                pass
        self._client.finish_weight_update()

    def shutdown(self) -> None:
        self._group = None


class _GatherOnly:
    """The sender of a rank other than 0: takes part in gathering and sends nothing."""

    def __init__(self, outgoing: "_Outgoing") -> None:
        self._outgoing = outgoing

    def send_weights(self) -> None:
        for _ in self._outgoing:
            pass

    def shutdown(self) -> None:
        return


class _Outgoing:
    """Yields the weights to send, cast to the engines' dtype, and keeps their size and digests."""

    def __init__(self, source: ParameterSource, dtype: torch.dtype, *, digest: bool) -> None:
        self.source = source
        self.dtype = dtype
        self.digests: dict[str, Digest] = {}
        self.num_bytes = 0
        self._digest = digest

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        self.digests, self.num_bytes = {}, 0
        for name, full in self.source.full_parameters():
            tensor = full.detach().to(self.dtype, copy=True)  # ZeRO-3 frees the full tensor with the next one
            if not tensor.isfinite().all():  # raised on all ranks together; engines load nothing before the last packet
                raise WeightPushError(
                    f"weight push: got NaN or infinity in {name}, wanted finite numbers; engines stay paused"
                )
            self.num_bytes += tensor.nbytes
            if self._digest:
                self.digests[name] = digest_of(tensor)
            yield name, tensor


def _vllm_sender(backend: str, client: EngineClient, outgoing: _Outgoing, rank: int, address: str) -> Any:
    """Return vLLM's own trainer engine for nccl or ipc, unchanged. Both need GPUs and have not been run yet."""
    from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource
    from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory
    from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerInitInfo
    from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

    class Source(WeightSource):
        """Adapts `outgoing` to vLLM's interface."""

        def metadata(self) -> list[ParamMeta]:
            shapes = outgoing.source.parameter_shapes()
            return [ParamMeta(name, outgoing.dtype, shape) for name, shape in shapes.items()]

        def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
            return iter(outgoing)

    if backend == "ipc":
        init = IPCTrainerInitInfo(rank=rank, packed=True)
    else:
        with socket.socket() as probe:  # to find a free port
            probe.bind(("", 0))
            port = probe.getsockname()[1]
        world_size = 1 + client.num_workers
        init = NCCLTrainerInitInfo(rank=rank, master_address=address, master_port=port, world_size=world_size)
    return WeightTransferTrainerFactory.trainer_init(init, client=client, source=Source())


def differences(
    expected: Mapping[str, Digest], engine_names: Mapping[str, str], held: Sequence[Mapping[str, int]]
) -> list[str]:
    """Return the engine parameters that differ from what the learner sent, in name order.

    `expected`: digest of each sent tensor, in the order sent; `engine_names`: sent name -> the engine parameter that
    holds it, possibly below others sent before it; `held`: digest of each engine parameter on every worker. Workers
    either all hold a full parameter or together hold its shards. A parameter that only one side has is a difference.
    """
    wanted: dict[str, Digest] = {}
    for name, digest in expected.items():
        wanted[engine_names[name]] = wanted.get(engine_names[name], Digest(0, 0)).above(digest)
    wrong = []
    for name in sorted({*wanted, *(name for worker in held for name in worker)}):
        parts = [worker[name] for worker in held if name in worker]
        full = wanted[name].value if name in wanted else None
        if not parts or full is None or (add_digests(parts) != full and any(part != full for part in parts)):
            wrong.append(name)
    return wrong
