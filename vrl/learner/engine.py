"""One rank of the optimizer: gradients, steps, checkpoints, full parameters; ZeRO 0-3. The only importer of DeepSpeed.

Every method that touches parameters or gradients is a collective: all ranks call it, in the same order. Does not know
objectives or groups. The caller creates and commits folders, because DeepSpeed's own save is not atomic. DeepSpeed is
imported late, because the driver imports this module too and that import takes seconds and prints messages.
"""

import json
import math
import os
import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, distributed, nn
from transformers import GenerationConfig, PreTrainedModel

from vrl import __version__
from vrl.algo.packing import PackedRow
from vrl.checkpoint import failpoint
from vrl.config import LearnerConfig
from vrl.errors import CheckpointError, LearnerError
from vrl.learner.lora import weights, without_adapters
from vrl.learner.model import GroupedPolicy, TokenScores
from vrl.learner.schedule import learning_rate
from vrl.network import set_gloo_interface
from vrl.ownership import copy_model
from vrl.weights.wire import value_digest

_COUNTS = {"steps", "skipped", "skipped_in_a_row"}  # of optimizer steps, as the learner stores them

_GENERATION = "generation_config.json"


def join_ranks(rank: int, world_size: int, master_address: str, master_port: int) -> None:
    """Join the learner's process group (gloo on CPUs, nccl on GPUs). Every rank calls it once, before anything else."""
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    import deepspeed

    # Otherwise its CPU backend compiles a shared-memory op, which requires a C++ compiler.
    deepspeed.ops.__compatible_ops__ = {}  # pyright: ignore[reportAttributeAccessIssue]
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_SIZE", "MASTER_ADDR", "MASTER_PORT")
    # Each rank is a process that sees one device, so its local rank is 0.
    os.environ.update(dict(zip(names, map(str, (rank, 0, world_size, 1, master_address, master_port)), strict=True)))
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    set_gloo_interface(master_address)
    deepspeed.init_distributed(
        dist_backend=backend, rank=rank, world_size=world_size, auto_mpi_discovery=False, verbose=False
    )


class Step(NamedTuple):
    """The result of an optimizer step."""

    lr: float
    grad_norm: float  # before clipping; not finite if the step was dropped
    applied: bool


class LearnerEngine:
    """A policy under DeepSpeed. Losses of all micro-batches and ranks add up; `step` applies their gradient."""

    def __init__(self, policy: GroupedPolicy, config: LearnerConfig, *, total_steps: int) -> None:
        self._config = config
        self._total_steps = total_steps
        self.steps = 0  # optimizer steps applied so far
        self.skipped = 0  # and those dropped, because a loss or gradient was not finite
        self._skipped_in_a_row = 0
        self._policy = policy
        if config.gradient_checkpointing:
            policy.hf.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
        if not trained:
            raise LearnerError("model.freeze: got a list that freezes every parameter, wanted at least one that trains")
        groups = parameter_groups(policy.hf, config.weight_decay)
        import deepspeed

        initialize: Any = deepspeed.initialize  # untyped: the return type depends on the ZeRO stage
        self._engine, *_ = initialize(
            model=policy,
            model_parameters=groups,
            config=_deepspeed_config(config, policy.hf.dtype),
            dist_init_required=False,
        )
        self._grad_norm = 0.0
        if _clips_gradients(config, policy.hf.dtype):
            self._engine.optimizer.register_step_pre_hook(lambda *_: self._clip(trained))

    def forward(self, row: PackedRow, patches: Tensor) -> TokenScores:
        """Score a packed row; see GroupedPolicy.forward. Dropout is active only with gradient."""
        self._policy.train(torch.is_grad_enabled())
        return self._engine(row, patches)

    def reference(self, row: PackedRow, patches: Tensor) -> TokenScores:
        """Score a row as before training, without gradient: with the adapters disabled.

        Call before the `forward` of the same row: under ZeRO-3 nothing may come between a forward and its backward.
        """
        with torch.no_grad(), without_adapters(self._policy.hf):
            return self.forward(row, patches)

    def backward(self, loss: Tensor) -> None:
        """Accumulate the gradient of a scalar: the share of this rank and micro-batch in the step's loss.

        A loss that is not finite yields gradients that are not finite, so that `step` drops them on every rank:
        raising here would leave the other ranks in a collective.
        """
        scale = torch.where(loss.detach().isfinite(), 1.0, torch.nan) * distributed.get_world_size()
        self._engine.backward(loss * scale)  # DeepSpeed averages over ranks; our losses add up

    def step(self) -> Step:
        """Apply the accumulated gradients, or drop them if their norm over all ranks is not finite.

        A dropped step changes neither weights nor optimizer state nor the step count. Raises LearnerError on every
        rank if `max_nonfinite_steps` in a row were dropped.
        """
        rate = learning_rate(self.steps, self._config, self._total_steps)
        for group in self._engine.optimizer.param_groups:
            group["lr"] = rate
        self._engine.step()
        norm = self._engine.get_global_grad_norm()
        grad_norm = self._grad_norm if norm is None else float(norm)
        applied = self._engine.was_step_applied() and math.isfinite(grad_norm)
        self._count(applied)
        return Step(lr=rate, grad_norm=grad_norm, applied=applied)

    def full_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every full parameter under its Hugging Face name, in a fixed order; tied ones once.

        A collective under ZeRO-3. A tensor is valid until the next one is requested: copy it to keep it.
        """
        for weight in weights(self._policy.hf):
            with self._gathered(weight.parts):
                yield weight.name, weight.merged()

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return names and full shapes of what `full_parameters` yields, in its order, without gathering."""
        found = weights(self._policy.hf)
        return {weight.name: tuple(getattr(weight.base, "ds_shape", weight.base.shape)) for weight in found}

    def offload(self) -> None:
        """Move optimizer state, float32 weights and gradients to the host and empty the GPU cache.

        The weights used in the forward pass stay on the GPU, to be pushed. With learner.offload the rest is on the
        host anyway. Idempotent.
        """
        if not self._config.offload:
            from deepspeed.runtime.zero.offload_config import OffloadStateTypeEnum as State

            moved = [State.optim_states, State.hp_params, State.lp_grads]
            self._engine.offload_states(include=moved, pin_memory=torch.cuda.is_available())
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def reload(self) -> None:
        """Move back to the GPU what `offload` moved, if anything."""
        if not self._config.offload:
            self._engine.reload_states()

    def save(self, folder: Path) -> None:
        """Write trained weights, optimizer state, step count and random state into an existing folder.

        Frozen weights are not saved, only their digest: they are at model.path.
        """
        self._engine.save_checkpoint(str(folder), tag="state", save_latest=False, exclude_frozen_parameters=True)
        failpoint("learner.state_written", self.steps)
        torch.save(_random_state(), folder / f"rng_{distributed.get_rank()}.pt")
        layout = self._layout()
        if distributed.get_rank() == 0:
            counts = {"steps": self.steps, "skipped": self.skipped, "skipped_in_a_row": self._skipped_in_a_row}
            (folder / "learner.json").write_text(json.dumps({"layout": layout, **counts}))
        distributed.barrier()

    def load(self, folder: Path) -> None:
        """Restore what `save` wrote.

        Raises CheckpointError if ranks, ZeRO stage, adapters or frozen weights differ, or for an incomplete folder.
        """
        found = _read_description(folder, self._layout())
        # Not strict: frozen weights are not saved. Their digest and the layout of adapters are compared above.
        path, _ = self._engine.load_checkpoint(
            str(folder), tag="state", load_module_strict=False, load_lr_scheduler_states=False
        )
        if path is None:
            raise CheckpointError(f"{folder}: got no DeepSpeed state in it, wanted {folder / 'state'}")
        _set_random_state(torch.load(folder / f"rng_{distributed.get_rank()}.pt", weights_only=True))
        self.steps, self.skipped = found["steps"], found["skipped"]
        self._skipped_in_a_row = found["skipped_in_a_row"]

    def export(self, folder: Path, source: Path) -> None:
        """Write a Hugging Face folder: the policy's weights (safetensors) and config, the processor's from `source`.

        The generation config is copied, not saved: transformers refuses to save some that it loads.
        """
        state = {}
        for name, tensor in self.full_parameters():
            if distributed.get_rank() == 0:
                state[name] = tensor.to("cpu", copy=True)
        try:
            if distributed.get_rank() == 0:
                folder.mkdir(parents=True, exist_ok=True)
                if (source / _GENERATION).is_file():
                    self._policy.hf.generation_config = GenerationConfig()
                self._policy.hf.save_pretrained(folder, state_dict=state)
                copy_model(source, folder, weights=False)
        finally:  # or the other ranks would wait here for a rank that failed
            distributed.barrier()

    def _layout(self) -> dict[str, Any]:
        """Return the settings that must be equal to restore a saved state. A collective under ZeRO-3."""
        lora = self._config.lora
        return {
            "learner.ranks": distributed.get_world_size(),
            "learner.zero_stage": self._config.zero_stage,
            "learner.lora": [lora.rank, lora.alpha, *sorted(lora.targets)] if lora.rank else [],
            "model.freeze and the frozen weights at model.path": self._frozen_digest,
        }

    @cached_property
    def _frozen_digest(self) -> str:
        """Digest of names and values of all frozen weights, which never change."""
        digest = blake2b(digest_size=16)
        for weight in weights(self._policy.hf):
            if not weight.base.requires_grad:
                with self._gathered([weight.base]):
                    digest.update(f"{weight.name} {value_digest(weight.base.detach())}".encode())
        return digest.hexdigest()

    def _gathered(self, parameters: list[torch.nn.Parameter]) -> AbstractContextManager[Any]:
        if self._config.zero_stage < 3:
            return nullcontext()
        import deepspeed

        return deepspeed.zero.GatheredParameters(parameters)

    def _clip(self, parameters: list[torch.nn.Parameter]) -> None:
        norm = torch.nn.utils.clip_grad_norm_(parameters, self._config.max_grad_norm)
        self._grad_norm = float(norm)
        if not math.isfinite(self._grad_norm):
            for parameter in parameters:
                parameter.grad = None  # the optimizer skips parameters without gradient

    def _count(self, applied: bool) -> None:
        self.steps += applied
        self.skipped += not applied
        self._skipped_in_a_row = 0 if applied else self._skipped_in_a_row + 1
        if self._skipped_in_a_row >= self._config.max_nonfinite_steps:
            raise LearnerError(
                f"loss or gradients after {self.steps} optimizer steps: got NaN or infinity "
                f"{self._skipped_in_a_row} times in a row, wanted finite numbers; these steps changed no weight; lower "
                "learner.lr or learner.max_grad_norm, or check the samples (the limit is learner.max_nonfinite_steps)"
            )


def _read_description(folder: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """Read the learner.json of a saved state. Raises CheckpointError if its layout differs from `wanted`."""
    file = folder / "learner.json"
    if not file.is_file():
        raise CheckpointError(f"{folder}: got no learner.json, wanted a folder written by LearnerEngine.save")
    found = json.loads(file.read_text())
    layout = found.get("layout", {})
    if layout.keys() != wanted.keys() or not found.keys() >= _COUNTS:
        raise CheckpointError(
            f"{folder}: got a learner state of another version of vrl, wanted this one's ({__version__}); start a new "
            "run from its weights (model.path=RUN)"
        )
    others = [f"{key}: got {layout[key]}, wanted {wanted[key]}" for key in wanted if layout[key] != wanted[key]]
    if others:
        raise CheckpointError(
            f"{folder}: {'; '.join(others)}: use the same values, or start a new run from the weights of a finished "
            "one (model.path=RUN)"
        )
    return found


def _random_state() -> dict[str, Any]:
    """Return the state of every random generator of this process."""
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, np.asarray(keys).tolist(), *rest),  # plain numbers, so that torch.load unpickles no arrays
        "torch": torch.get_rng_state(),
        "cuda": devices,
    }


def _set_random_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])


def parameter_groups(hf: PreTrainedModel, weight_decay: float) -> list[dict[str, Any]]:
    """Group parameters by weight decay: matrices decay, the others do not.

    Embeddings, and a head tied to them, do not decay as in OLMo 2 (arXiv 2501.00656, section 3.4.2). Biases and norms
    do not decay either, which is our choice (OLMo 2 decays them). Both matrices of an adapter decay.
    """
    embeddings = {id(module.weight) for module in hf.modules() if isinstance(module, nn.Embedding)}
    trained = [parameter for parameter in hf.parameters() if parameter.requires_grad]
    decays = {id(parameter): parameter.ndim >= 2 and id(parameter) not in embeddings for parameter in trained}
    groups = [
        {"params": [p for p in trained if decays[id(p)] is decayed], "weight_decay": weight_decay if decayed else 0.0}
        for decayed in (True, False)
    ]
    return [group for group in groups if group["params"]]


def _clips_gradients(config: LearnerConfig, dtype: torch.dtype) -> bool:
    """Return whether we clip instead of DeepSpeed, which reports no norm under plain float32 data parallelism."""
    return config.zero_stage == 0 and dtype == torch.float32


def _deepspeed_config(config: LearnerConfig, dtype: torch.dtype) -> dict[str, Any]:
    on_gpu = torch.cuda.is_available()
    zero: dict[str, Any] = {"stage": config.zero_stage, "overlap_comm": False}
    if config.offload:
        host = {"device": "cpu", "pin_memory": on_gpu}
        zero |= {"offload_optimizer": host} | ({"offload_param": host} if config.zero_stage == 3 else {})
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,  # step() is the boundary, after any number of backward passes
        "optimizer": {
            "type": "AdamW",
            "params": {
                "lr": config.lr,
                "betas": [config.beta1, config.beta2],
                "eps": config.eps,
                "torch_adam": not (config.offload and on_gpu),  # DeepSpeed's own, compiled, serves offloading only
            },
        },
        "zero_force_ds_cpu_optimizer": on_gpu,
        "gradient_clipping": 0.0 if _clips_gradients(config, dtype) else config.max_grad_norm,
        "zero_optimization": zero,
        "bf16": {"enabled": dtype == torch.bfloat16},
        "data_types": {"grad_accum_dtype": "fp32"},  # bfloat16 would lose the small gradients of some micro-batches
        "steps_per_print": 2**31,
    }
