"""Learner ranks with losses and gradients that are not finite, in processes of their own (see run_ranks)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from support.learner_cases import make_worker

from vrl.algo.packing import flatten
from vrl.errors import LearnerError
from vrl.types import PackedBatch

# Faults on the last rank: name and scalar of the log-probs, in addition to a step's proper gradients.
FAULTS = {
    "both": lambda logprobs: logprobs.sum() * torch.nan,
    "loss": lambda logprobs: logprobs.sum() * 1e-6 + torch.inf,  # its gradient is finite
    "gradient": lambda logprobs: (logprobs.sum() * 0.0).sqrt(),  # 0, but the slope of the root there is infinite
}


def skip(
    rank: int, world_size: int, port: int, path: Path, learner: dict[str, Any], dtype: str, folder: Path
) -> dict[str, Any]:
    """Run good, to be dropped and good steps; the same without the dropped one; three faults in a row.

    Returns what the test compares: digests of weights and optimizer state, updates, the last error.
    """
    worker, batch, cases = make_worker(rank, world_size, port, path, learner, dtype)

    def good() -> Any:
        for micro_batch in batch.micro_batches[rank]:
            patches = (cases.patches[i] for i in micro_batch.group_indices)
            worker.forward_backward(micro_batch, batch.counts, *patches)
        return worker.optim_step()

    def bad(fault: str) -> Any:
        _poison(worker, batch, cases.patches, rank, FAULTS[fault] if rank == world_size - 1 else None)
        return good()

    def state(name: str) -> list[torch.Tensor]:
        (folder / name).mkdir(exist_ok=True)
        worker.save(folder / name)
        return optimizer_tensors(folder / name / "state", rank)

    found: dict[str, Any] = {"first": good(), "before": worker.checksums()}
    moments = state("before")
    found["dropped"] = bad("both")
    found["after"] = worker.checksums()
    found["same_moments"] = _equal(moments, state("after"))
    found["second"] = good()
    found["with_fault"] = worker.checksums()
    worker.load(folder / "before")
    found["second_again"] = good()
    found["without_fault"] = worker.checksums()
    moments = state("before")
    found["row"] = [bad("loss").applied, bad("gradient").applied]
    try:
        bad("both")
    except LearnerError as error:
        found["error"] = str(error)
    found["end"] = worker.checksums()
    found["same_moments"] &= _equal(moments, state("after"))
    worker.close()
    return found


def optimizer_tensors(folder: Path, rank: int) -> list[torch.Tensor]:
    """All tensors of this rank's optimizer state in a DeepSpeed folder, step counts included."""
    partitioned = sorted(folder.glob(f"*pp_rank_{rank}_mp_rank_00_optim_states.pt"))
    (file,) = partitioned or [folder / "mp_rank_00_model_states.pt"]  # ZeRO 0 keeps it with the weights
    found = []

    def walk(item: Any) -> None:
        if isinstance(item, torch.Tensor):
            found.append(item)
        elif isinstance(item, dict | list | tuple):
            for child in item.values() if isinstance(item, dict) else item:
                walk(child)

    stored = torch.load(file, weights_only=False)
    walk(stored["optimizer"] if "optimizer" in stored else stored["optimizer_state_dict"])
    return found


def _poison(worker: Any, batch: PackedBatch, patches: Any, rank: int, fault: Any) -> None:
    """Run one more micro-batch; without a fault it adds nothing, but all ranks must take part."""
    micro_batch = batch.micro_batches[rank][0]
    row = flatten(micro_batch, worker._policy.rule)
    pixels = torch.from_numpy(np.concatenate([patches[i] for i in micro_batch.group_indices if len(patches[i])]))
    logprobs = worker._engine.forward(row, pixels).logprobs_L
    worker._engine.backward(fault(logprobs) if fault is not None else logprobs.sum() * 0.0)


def _equal(one: list[torch.Tensor], two: list[torch.Tensor]) -> bool:
    return bool(one) and len(one) == len(two) and all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
