"""Our code inside a vLLM worker process: the receiving half of the gloo transport, weight digests, the parity tap.

vLLM imports this module in every worker (worker_extension_cls) and mixes EngineExtension into its worker class;
importing it registers the transport and makes the worker exit with its engine. Methods are called by name through
AsyncLLM.collective_rpc and return plain values.
"""

import threading
from typing import Any

import torch
from tqdm import tqdm
from vllm.model_executor.layers.linear import ColumnParallelLinear, RowParallelLinear
from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
from vllm.model_executor.model_loader.reload.layerwise import get_layerwise_info

from vrl.rollout.parent_watchdog import watch_parent
from vrl.weights.receiver import parameter_names
from vrl.weights.wire import row_digest, shard_digest, value_digest

_ROWS = 1024  # of the identity matrix that reads packed weights back

watch_parent()
tqdm.set_lock(threading.RLock())  # tqdm's own lock is a named semaphore that would outlive a killed process


class EngineExtension:
    """A mixin of vLLM's worker class, which provides the attributes below."""

    model_runner: Any
    weight_transfer_engine: Any
    _weight_update_active: bool

    def vrl_abandon_update(self) -> None:
        """Abort a weight update that was started but never finished; otherwise vLLM refuses to start another."""
        self._weight_update_active = False
        self.weight_transfer_engine.reset_weight_update_target()

    def vrl_weight_digests(self) -> dict[str, int]:
        """Return digests of all parameters of the live model, read back from packed form if the engine uses it.

        A parameter whose plain and packed copies differ gets -1, which equals no digest.
        """
        model = self.model_runner.get_model()
        plain = {name: parameter for name, parameter in model.named_parameters() if parameter.numel()}
        owners = {name: model.get_submodule(name.rpartition(".")[0]) for name in plain}
        digests = {name: _digest(owners[name], parameter) for name, parameter in plain.items()}
        names = {id(parameter): name for name, parameter in plain.items()}  # a tied head is named after its embedding
        for prefix, module in model.named_modules():
            if hasattr(module, "cpu_linear"):
                name = names.get(id(module.weight), f"{prefix}.weight")
                packed = _digest(module, _packed_weight(module))
                digests[name] = packed if digests.get(name, packed) == packed else -1
        return digests

    def vrl_vision_runs(self) -> int:
        """Return the number of images and clips encoded since the last call; the first call starts the count."""
        if not hasattr(self, "_vrl_vision_runs"):
            self._vrl_vision_runs = _VisionRuns(self.model_runner.get_model())
        return self._vrl_vision_runs.take()

    def vrl_seed(self, seed: int) -> None:
        """Seed the random generators of all devices."""
        torch.manual_seed(seed)

    def vrl_start_tap(self) -> None:
        """Start recording the model's inputs until `vrl_read_tap`."""
        self._vrl_tap = _ParityTap(self.model_runner.get_model())

    def vrl_read_tap(self) -> tuple[list[list[int]], str]:
        """Stop recording. Return positions [3, P] of the last prompt and the row_digest of all pixels."""
        tap = self._vrl_tap
        tap.stop()
        return tap.positions, row_digest(torch.cat(tap.rows) if tap.rows else torch.zeros(0, 0))

    def vrl_parameter_names(self, names: list[str]) -> dict[str, str]:
        """Map each Hugging Face tensor to the engine parameter that holds it."""
        return parameter_names(self.model_runner.get_model(), names)


class _VisionRuns:
    """Counts the images and clips that go through a model's vision tower."""

    def __init__(self, model: Any) -> None:
        self._count = 0
        model.visual.register_forward_pre_hook(self._record, with_kwargs=True)

    def take(self) -> int:
        count, self._count = self._count, 0
        return count

    def _record(self, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._count += len(kwargs["grid_thw"] if "grid_thw" in kwargs else args[1])


class _ParityTap:
    """Records a model's inputs: the positions of the last prompt and the rows of its vision tower."""

    def __init__(self, model: Any) -> None:
        self.positions: list[list[int]] = []
        self.rows: list[torch.Tensor] = []
        self._compute_positions = model.get_mrope_input_positions
        model.get_mrope_input_positions = self._record_positions
        self._hook = model.visual.input_norm.register_forward_hook(self._record_pixels)
        self._model = model

    def stop(self) -> None:
        self._hook.remove()
        self._model.get_mrope_input_positions = self._compute_positions

    def _record_positions(self, *args: Any, **kwargs: Any) -> Any:
        result = self._compute_positions(*args, **kwargs)
        self.positions = result[0].tolist()
        return result

    def _record_pixels(self, _module: Any, _inputs: Any, output: torch.Tensor) -> None:
        self.rows.append(output.detach().float().cpu())


def _digest(module: Any, tensor: torch.Tensor) -> int:
    """Return the digest of a parameter of `module`; a shard is hashed at its place in the full tensor."""
    rank, world_size = getattr(module, "tp_rank", 0), getattr(module, "tp_size", 1)
    if world_size > 1 and isinstance(module, ColumnParallelLinear | VocabParallelEmbedding):
        return shard_digest(tensor, module.output_partition_sizes, rank, world_size)
    if world_size > 1 and isinstance(module, RowParallelLinear) and tensor.dim() == 2:  # its bias is whole
        return value_digest(tensor, column=rank * tensor.shape[1])
    return value_digest(tensor)


def _packed_weight(module: Any) -> torch.Tensor:
    """Read the weight [N, K] of a CPU linear layer by an identity input: exact, as each sum has one non-zero term."""
    weight = get_layerwise_info(module).restore_metadata[0]["weight"]
    columns = []
    for indices in torch.arange(weight.shape[1]).split(_ROWS):
        rows = torch.zeros(len(indices), weight.shape[1], dtype=weight.dtype).scatter_(1, indices[:, None], 1.0)
        columns.append(module.cpu_linear(rows, module.weight, None))
    return torch.cat(columns).t()
