"""The receiving half of the gloo transport, inside a vLLM worker process; importing it registers the transport.

The sending half is vrl.weights.sender. Does not pause or resume engines: vrl.training.weight_sync does.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from vllm.distributed.weight_transfer.base import WeightTransferEngine, WeightTransferInitInfo, WeightTransferUpdateInfo
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from vrl.errors import WeightPushError
from vrl.weights.wire import PacketGroup, join_store, unpack


@dataclass
class GlooInitInfo(WeightTransferInitInfo):
    """Address of the learner's group, and the rank of this engine's first worker."""

    address: str
    port: int
    name: str  # of the group in the store
    world_size: int
    rank_offset: int
    timeout_s: float


@dataclass
class GlooUpdateInfo(WeightTransferUpdateInfo):
    """Empty: every packet has a header."""


class GlooTransferEngine(WeightTransferEngine[GlooInitInfo, GlooUpdateInfo]):
    """Receives weights over gloo and loads them together, once all packets have arrived undamaged."""

    init_info_cls = GlooInitInfo
    update_info_cls = GlooUpdateInfo

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._group: PacketGroup | None = None
        self._received: list[tuple[str, torch.Tensor]] = []

    def init_transfer_engine(self, init_info: GlooInitInfo) -> None:
        """Join the learner's group, leaving any earlier one."""
        rank = init_info.rank_offset + self.parallel_config.rank
        store = join_store(init_info.address, init_info.port, init_info.timeout_s)
        self._group = PacketGroup(
            store, init_info.name, rank=rank, world_size=init_info.world_size, timeout_s=init_info.timeout_s
        )

    def start_weight_update(self) -> None:
        """Discard what an earlier update received; the model does not change before `finish_weight_update`."""
        self._received = []

    def receive_weights(self, update_info: GlooUpdateInfo) -> None:
        """Receive all packets; the model does not change. Raises WeightPushError for a damaged or missing tensor."""
        if self._group is None:
            raise WeightPushError(
                "weight push: got an update before init_weight_transfer_engine, wanted the group first"
            )
        damaged: WeightPushError | None = None
        while (packet := self._group.receive()) is not None:  # also after damage, so that all ranks stay in step
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
        """Load the received tensors through vLLM's layerwise reload, which also repacks weights for CPUs."""
        model: Any = self.model
        initialize_layerwise_reload(model)
        model.load_weights(iter(self._received))
        finalize_layerwise_reload(model, self.model_config)
        self._received = []
        for module in model.modules():
            if hasattr(module, "cpu_linear") and module.weight.numel():
                # vLLM's reload skips a tied head: on a CPU it would keep computing with the packed old embedding.
                module.quant_method.process_weights_after_loading(module)

    def shutdown(self) -> None:
        self._group = None


def parameter_names(model: Any, names: Iterable[str]) -> dict[str, str]:
    """Map each Hugging Face tensor to its engine parameter, by the name mappers of the model and its parts."""
    parts = [(f"{prefix}." if prefix else "", module) for prefix, module in model.named_modules()]  # outer ones first
    mappers = [(head, part.hf_to_vllm_mapper) for head, part in parts if hasattr(part, "hf_to_vllm_mapper")]

    def mapped(name: str) -> str:
        for head, mapper in mappers:
            if name.startswith(head):
                name = head + (mapper.map_name(name.removeprefix(head)) or "")
        return name

    return {name: mapped(name) for name in names}


if "gloo" not in WeightTransferEngineFactory._registry:
    WeightTransferEngineFactory.register_engine("gloo", GlooTransferEngine)
