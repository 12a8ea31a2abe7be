"""What runs inside a vLLM worker process: the receiving half of the gloo transport, weight digests and the parity tap.

vLLM imports this module in every worker (worker_extension_cls) and mixes EngineExtension into its worker class;
importing it registers the transport and ties the worker's life to its engine's. Methods are called by name through
AsyncLLM.collective_rpc and return plain values.
"""

import threading
from collections.abc import Iterator
from typing import Any

import torch
from tqdm import tqdm
from vllm.model_executor.model_loader.reload.layerwise import get_layerwise_info

from vrl.rollout.parent_watchdog import watch_parent
from vrl.weights.receiver import parameter_names
from vrl.weights.wire import row_digest, value_digest

_ROWS = 1024  # of the identity matrix that reads packed weights back


watch_parent()
tqdm.set_lock(threading.RLock())  # its own is a named semaphore in a process that was spawned: a kill would leave it


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
