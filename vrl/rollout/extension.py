"""What runs inside a vLLM worker process: the receiving half of the gloo transport, weight digests and the parity tap.

vLLM imports this module in every worker (worker_extension_cls) and mixes EngineExtension into its worker class;
importing it registers the transport and ties the worker's life to its engine's. Methods are called by name through
AsyncLLM.collective_rpc and return plain values.
"""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from tqdm import tqdm
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload
from vllm.model_executor.model_loader.reload.layerwise import get_layerwise_info

from vrl.errors import WeightPushError
from vrl.rollout.parent_watchdog import hold_lifeline
from vrl.weights.wire import PacketGroup, join_store, row_digest, unpack, value_digest

_ROWS = 1024  # of the identity matrix that reads packed weights back


@dataclass
class GlooInitInfo(WeightTransferInitInfo):
    """Where the learner waits, and which rank the first worker of this engine has."""

    address: str
    port: int
    world_size: int
    rank_offset: int
    timeout_s: float


@dataclass
class GlooUpdateInfo(WeightTransferUpdateInfo):
    """Empty: packets say what is in them."""


class GlooTransferEngine(WeightTransferEngine[GlooInitInfo, GlooUpdateInfo]):
    """Receives weights over gloo and loads them all at once, when every packet has arrived whole."""

    init_info_cls = GlooInitInfo
    update_info_cls = GlooUpdateInfo

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._group: PacketGroup | None = None
        self._received: list[tuple[str, torch.Tensor]] = []

    def init_transfer_engine(self, init_info: GlooInitInfo) -> None:
        """Join the learner's group, leaving an older one."""
        rank = init_info.rank_offset + self.parallel_config.rank
        store = join_store(init_info.address, init_info.port, init_info.timeout_s)
        self._group = PacketGroup(
            store, "weights", rank=rank, world_size=init_info.world_size, timeout_s=init_info.timeout_s
        )

    def start_weight_update(self) -> None:
        """Nothing yet: the model stays as it is until `finish_weight_update`."""
        self._received = []

    def receive_weights(self, update_info: GlooUpdateInfo) -> None:
        """Take a round's packets. Raises WeightPushError for a damaged or missing tensor; the model is untouched."""
        if self._group is None:
            raise WeightPushError(
                "weight push: got an update before init_weight_transfer_engine, wanted the group first"
            )
        damaged: WeightPushError | None = None
        while (packet := self._group.receive()) is not None:  # to the end even after damage: all ranks stay in step
            try:
                self._received += unpack(packet)
            except WeightPushError as error:
                damaged = damaged or error
        if damaged is not None:
            raise damaged
        names = set(parameter_names(self.model, [name for name, _ in self._received]).values())
        missing = sorted(dict(self.model.named_parameters()).keys() - names)
        if missing:
            raise WeightPushError(
                f"weight push: got {len(self._received)} tensors and none for {missing[0]} ({len(missing)} missing), "
                "wanted all parameters of the model"
            )

    def finish_weight_update(self) -> None:
        """Load what was received through vLLM's layerwise reload, which also repacks weights for CPUs."""
        model: Any = self.model
        initialize_layerwise_reload(model)
        model.load_weights(iter(self._received))
        finalize_layerwise_reload(model, self.model_config)
        self._received = []
        for module in model.modules():
            if hasattr(module, "cpu_linear") and module.weight.numel():
                # vLLM's reload passes a tied head by: on a CPU it would go on with a packed copy of the old embedding.
                module.quant_method.process_weights_after_loading(module)

    def shutdown(self) -> None:
        self._group = None


if "gloo" not in WeightTransferEngineFactory._registry:
    WeightTransferEngineFactory.register_engine("gloo", GlooTransferEngine)
hold_lifeline()
tqdm.set_lock(threading.RLock())  # its own is a named semaphore in a process that was spawned: a kill would leave it


def parameter_names(model: Any, names: Iterable[str]) -> dict[str, str]:
    """The engine parameter that each Hugging Face tensor is loaded into, by the name mappers of model and parts."""
    parts = [(f"{prefix}." if prefix else "", module) for prefix, module in model.named_modules()]  # outer ones first
    mappers = [(head, part.hf_to_vllm_mapper) for head, part in parts if hasattr(part, "hf_to_vllm_mapper")]

    def mapped(name: str) -> str:
        for head, mapper in mappers:
            if name.startswith(head):
                name = head + (mapper.map_name(name.removeprefix(head)) or "")
        return name

    return {name: mapped(name) for name in names}


class EngineExtension:
    """Mixed into the worker class; `model_runner` is the worker's."""

    model_runner: Any
    weight_transfer_engine: Any
    _weight_update_active: bool

    def vrl_abandon_update(self) -> None:
        """End a weight update that was started and will not be finished: vLLM would refuse to start another."""
        self._weight_update_active = False
        self.weight_transfer_engine.reset_weight_update_target()

    def vrl_weight_digests(self) -> dict[str, int]:
        """Digest of every parameter of the live model, read back from packed form where the engine computes with it.

        A parameter of which plain and packed copy differ gets -1, which no digest equals.
        """
        model = self.model_runner.get_model()
        plain = {name: parameter for name, parameter in model.named_parameters() if parameter.numel()}
        digests = {name: value_digest(parameter) for name, parameter in plain.items()}
        names = {id(parameter): name for name, parameter in plain.items()}  # a tied head has its embedding's
        for prefix, module in model.named_modules():
            if hasattr(module, "cpu_linear"):
                name, packed = names.get(id(module.weight), f"{prefix}.weight"), value_digest(_packed_weight(module))
                digests[name] = packed if digests.get(name, packed) == packed else -1
        return digests

    def vrl_vision_runs(self) -> int:
        """Clips and pictures that went through the vision tower since the last call; the first call starts to count."""
        if not hasattr(self, "_vrl_vision_runs"):
            self._vrl_vision_runs = _VisionRuns(self.model_runner.get_model())
        return self._vrl_vision_runs.take()

    def vrl_seed(self, seed: int) -> None:
        """Draw from this seed on."""
        torch.manual_seed(seed)  # of all devices

    def vrl_watch(self) -> None:
        """Watch the model until `vrl_watched`."""
        self._vrl_watch = _Watch(self.model_runner.get_model())

    def vrl_watched(self) -> tuple[list[list[int]], str]:
        """Positions [3, P] of the last prompt and the row_digest of the pixels since `vrl_watch`."""
        watch = self._vrl_watch
        watch.stop()
        return watch.positions, row_digest(torch.cat(watch.rows) if watch.rows else torch.zeros(0, 0))

    def vrl_parameter_names(self, names: list[str]) -> dict[str, str]:
        """Which engine parameter holds each Hugging Face tensor."""
        return parameter_names(self.model_runner.get_model(), names)


class _VisionRuns:
    """Counts what a model's vision tower is given."""

    def __init__(self, model: Any) -> None:
        self._count = 0
        model.visual.register_forward_pre_hook(self._seen, with_kwargs=True)

    def take(self) -> int:
        count, self._count = self._count, 0
        return count

    def _seen(self, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._count += len(kwargs["grid_thw"] if "grid_thw" in kwargs else args[1])


class _Watch:
    """Remembers what passes through a model: the positions of the last prompt, the rows its vision tower got."""

    def __init__(self, model: Any) -> None:
        self.positions: list[list[int]] = []
        self.rows: list[torch.Tensor] = []
        self._compute_positions = model.get_mrope_input_positions
        model.get_mrope_input_positions = self._positions
        self._hook = model.visual.input_norm.register_forward_hook(self._pixels)
        self._model = model

    def stop(self) -> None:
        self._hook.remove()
        self._model.get_mrope_input_positions = self._compute_positions

    def _positions(self, *args: Any, **kwargs: Any) -> Any:
        result = self._compute_positions(*args, **kwargs)
        self.positions = result[0].tolist()
        return result

    def _pixels(self, _module: Any, _inputs: Any, output: torch.Tensor) -> None:
        self.rows.append(output.detach().float().cpu())


def _packed_weight(module: Any) -> torch.Tensor:
    """The weight [N, K] of a CPU linear layer, by an identity: exact, as each sum has one non-zero term."""
    weight = get_layerwise_info(module).restore_metadata[0]["weight"]
    num_inputs, dtype = weight.shape[1], weight.dtype
    return torch.cat([module.cpu_linear(rows, module.weight, None) for rows in _identity(num_inputs, dtype)]).t()


def _identity(size: int, dtype: torch.dtype) -> Iterator[torch.Tensor]:
    for start in range(0, size, _ROWS):
        rows = torch.arange(start, min(start + _ROWS, size))
        yield torch.zeros(len(rows), size, dtype=dtype).scatter_(1, rows[:, None], 1.0)
