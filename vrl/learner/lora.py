"""Low-rank adapters on the language model; the only importer of peft. W x + alpha / rank B A x (arXiv 2106.09685).

Adds adapters, disables them for the reference pass, and yields every weight under its Hugging Face name with its
adapter merged, so that engines, checksums and exports see plain full weights. Does not gather, train or store.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from vrl.config import LoraConfig
from vrl.errors import ConfigError

_NAME = "default"  # peft's name for a single adapter
_TEXT = "model.language_model."


@dataclass(frozen=True, kw_only=True, slots=True)
class Weight:
    """One weight of the policy and its adapter, if any."""

    name: str  # Hugging Face's
    base: nn.Parameter  # [out, in] if there is an adapter
    adapter: tuple[nn.Parameter, nn.Parameter] | None = None  # A [rank, in], B [out, rank]
    scale: float = 0.0  # alpha / rank

    @property
    def parts(self) -> list[nn.Parameter]:
        """All parameters that `merged` reads; under ZeRO-3 they must be gathered."""
        return [self.base, *(self.adapter or ())]

    def merged(self) -> Tensor:
        """Return the weight with its adapter merged, computed in float32 and rounded once; the base without one."""
        if self.adapter is None:
            return self.base.detach()
        down, up = (part.detach().float() for part in self.adapter)
        return torch.addmm(self.base.detach().float(), up, down, alpha=self.scale).to(self.base.dtype)


def add_adapters(hf: PreTrainedModel, config: LoraConfig) -> None:
    """Freeze the model and add trainable adapters to its trainable linears that are named in `targets`.

    An adapter starts at zero. Raises ConfigError for a target that is missing from the language model or frozen.
    """
    from peft import LoraConfig as PeftConfig
    from peft import inject_adapter_in_model

    linears = {
        name: name.rsplit(".", 1)[-1]
        for name, module in hf.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(_TEXT) and module.weight.requires_grad
    }
    for target in config.targets:
        if target not in linears.values():
            raise ConfigError(
                f"learner.lora.targets: got {target!r}, wanted linears of the language model that model.freeze leaves: "
                f"{', '.join(sorted(set(linears.values()))) or 'none'}"
            )
    chosen = PeftConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # pyright: ignore[reportArgumentType]  (a float works too)
        lora_dropout=config.dropout,
        target_modules=[name for name, kind in linears.items() if kind in config.targets],
    )
    hf.requires_grad_(False)
    inject_adapter_in_model(chosen, hf)


def weights(hf: PreTrainedModel) -> Iterator[Weight]:
    """Yield every weight in the model's order, tied ones once, with or without adapters."""
    adapted = {f"{name}.base_layer.weight": module for name, module in _adapted(hf)}
    for name, parameter in hf.named_parameters():
        if (module := adapted.get(name)) is not None:
            adapter = (module.lora_A[_NAME].weight, module.lora_B[_NAME].weight)
            yield Weight(name=_plain(name), base=parameter, adapter=adapter, scale=module.scaling[_NAME])
        elif ".lora_" not in name:
            yield Weight(name=_plain(name), base=parameter)


@contextmanager
def without_adapters(hf: PreTrainedModel) -> Iterator[None]:
    """Score as before training. Adapters are scaled by 0, so that under ZeRO-3 ranks gather the same parameters."""
    scales = [module.scaling for _, module in _adapted(hf)]
    kept = [scale[_NAME] for scale in scales]
    try:
        for scale in scales:
            scale[_NAME] = 0.0
        yield
    finally:
        for scale, value in zip(scales, kept, strict=True):
            scale[_NAME] = value


def _adapted(hf: PreTrainedModel) -> Iterator[tuple[str, Any]]:
    return ((name, module) for name, module in hf.named_modules() if hasattr(module, "lora_A"))


def _plain(name: str) -> str:
    return name.replace(".base_layer.", ".")
