"""Groups with random tokens and pixels for any family, and learner ranks in processes of their own."""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vrl.algo.packing import flatten, pack
from vrl.algo.positions import PositionRule, position_rule
from vrl.config import AlgoConfig, LearnerConfig, ModelConfig
from vrl.toyworld.model import FAMILIES
from vrl.types import MicroBatch, PackedBatch, StepCounts, TrainingGroup, VisionGrid

# A rank is a fork of a process that has done all imports, which saves seconds per rank.
_FRESH = multiprocessing.get_context("forkserver")
_FRESH.set_forkserver_preload(
    ["deepspeed", "vrl.learner.worker", *(f"transformers.models.{name}.modeling_{name}" for name in FAMILIES)]
)


@dataclass(frozen=True)
class Cases:
    """A step's groups and their patches."""

    groups: tuple[TrainingGroup, ...]
    patches: tuple[np.ndarray, ...]

    @property
    def micro_batch(self) -> MicroBatch:
        return MicroBatch(groups=self.groups, group_indices=tuple(range(len(self.groups))))


def video(t: int, h: int, w: int, seconds: float = 1.0) -> VisionGrid:
    return VisionGrid(kind="video", grid_thw=(t, h, w), seconds_per_grid=seconds)


def image(h: int, w: int) -> VisionGrid:
    return VisionGrid(kind="image", grid_thw=(1, h, w))


# Ragged, of three kinds, the last without pixels; 70 and 3 do not fit into one batch of segments.
MIXED = (
    ((video(4, 4, 6, 0.96),), (5, 9, 1)),
    ((image(4, 4), video(2, 4, 4, 0.5)), (70, 3)),
    ((), (4, 80)),
)


def make_cases(hf_config: Any, shapes: Any = MIXED, seed: int = 0) -> Cases:
    """Random groups; each shape is (grids in prompt order, completion lengths)."""
    rng = np.random.default_rng(seed)
    rule = position_rule(hf_config)
    vision = hf_config.vision_config
    patch_dim = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    groups = []
    for grids, lengths in shapes:
        words = iter(lambda: rng.integers(20, hf_config.text_config.vocab_size - 1, 1), None)
        groups.append(
            TrainingGroup(
                prompt_token_ids=np.concatenate(_prompt(grids, rule, words)),
                vision=tuple(grids),
                completions=tuple(np.concatenate([next(words) for _ in range(n)]) for n in lengths),
                loss_masks=tuple(rng.random(n) < 0.8 for n in lengths),
                advantages_G=rng.normal(size=len(lengths)).astype(np.float32),
                rollout_logprobs=tuple(rng.normal(-4, 1, n).astype(np.float32) for n in lengths),
            )
        )
    patches = tuple(rng.integers(0, 256, (group.num_patches, patch_dim)).astype(np.uint8) for group in groups)
    return Cases(groups=tuple(groups), patches=patches)


def _prompt(grids: Any, rule: PositionRule, words: Any) -> list[np.ndarray]:
    pieces = [next(words) for _ in range(5)]
    for grid in grids:
        t, h, w = grid.grid_thw
        token = rule.video_token_id if grid.kind == "video" else rule.image_token_id
        steps = t if rule.family == "qwen3_vl" and grid.kind == "video" else 1
        for _ in range(steps):
            pieces += [next(words), next(words), np.full(t * h * w // rule.spatial_merge_size**2 // steps, token)]
        pieces.append(next(words))
    return pieces


def run_ranks(target: Callable[..., Any], world_size: int, *args: Any, timeout_s: float = 240) -> list[Any]:
    """Run `target(rank, world_size, port, *args)` on every rank, each in a fresh process; returns their results.

    Raises the first failure, or TimeoutError, and kills the other ranks, which may wait for the failed one.
    """
    from vrl.learner.group import free_port

    _, port = free_port()
    deadline = time.monotonic() + timeout_s
    with _FRESH.Pool(world_size) as pool:
        ranks = [pool.apply_async(target, (rank, world_size, port, *args)) for rank in range(world_size)]
        while not all(rank.ready() for rank in ranks):
            for rank in ranks:
                if rank.ready():
                    rank.get()
            if time.monotonic() > deadline:
                raise TimeoutError(f"ranks: still running after {timeout_s} s")
            time.sleep(0.05)
        return [rank.get() for rank in ranks]


@dataclass(frozen=True)
class Setting:
    """A learner to build: a checkpoint, a ZeRO stage, frozen prefixes."""

    path: Path
    zero_stage: int
    freeze: tuple[str, ...] = ()


def score_and_differentiate(
    rank: int, world_size: int, port: int, settings: Sequence[Setting], layouts: Sequence[Sequence[int]] | None = None
) -> list[tuple[dict[int, np.ndarray], dict[str, np.ndarray]]]:
    """Return, for every setting, the rank's log-probs by group and the full gradient of the mean log-prob by parameter,
    as it reached the optimizer.

    `layouts[rank]` are the groups of the rank's one micro-batch; without it `pack` distributes them.
    """
    from transformers import AutoConfig

    from vrl.data.normalisation import normalisation
    from vrl.learner.engine import LearnerEngine, join_ranks
    from vrl.learner.model import GroupedPolicy, load_hf_model

    join_ranks(rank, world_size, "127.0.0.1", port)
    results = []
    for setting in settings:
        cases = make_cases(AutoConfig.from_pretrained(setting.path), MIXED * 2)
        batch = pack(cases.groups, ranks=world_size, micro_batch_tokens=150)
        micro_batches = batch.micro_batches[rank]
        if layouts is not None:
            chosen = tuple(layouts[rank])
            micro_batches = (MicroBatch(groups=tuple(cases.groups[i] for i in chosen), group_indices=chosen),)
        hf = load_hf_model(ModelConfig(path=str(setting.path), dtype="float32", freeze=list(setting.freeze)))
        policy = GroupedPolicy(hf, normalisation=normalisation(setting.path), temperature=1.0)
        learner = LearnerConfig(ranks=world_size, zero_stage=setting.zero_stage, beta1=0.0, max_grad_norm=1e9)
        engine = LearnerEngine(policy, learner, total_steps=1)
        logprobs: dict[int, np.ndarray] = {}
        for micro_batch in micro_batches:
            row = flatten(micro_batch, policy.rule)
            patches = [cases.patches[i] for i in micro_batch.group_indices if len(cases.patches[i])]
            pixels = np.concatenate(patches) if patches else np.zeros((0, 1), np.uint8)
            scores = engine.forward(row, torch.from_numpy(pixels)).logprobs_L
            engine.backward((scores * torch.from_numpy(row.loss_mask_L)).sum() / batch.counts.num_loss_tokens)
            ends = np.cumsum([sum(map(len, group.completions)) for group in micro_batch.groups])
            if len(ends):
                parts = np.split(scores.detach().numpy(), ends[:-1])
                logprobs |= dict(zip(micro_batch.group_indices, parts, strict=True))
        engine.step()
        trained = [(name, p) for name, p in policy.hf.named_parameters() if p.requires_grad]
        results.append((logprobs, {name: _first_moment(engine, p).numpy().copy() for name, p in trained}))
    return results


def _first_moment(engine: Any, parameter: torch.nn.Parameter) -> torch.Tensor:
    """Adam's first moment, unsharded; with beta1 = 0 it equals the gradient of the last step."""
    from deepspeed.utils import safe_get_full_optimizer_state

    optimizer = engine._engine.optimizer
    if parameter in optimizer.state:  # ZeRO 0, which DeepSpeed's accessor does not know
        return optimizer.state[parameter]["exp_avg"]
    if hasattr(optimizer, "_hp_optimizer_states_linked"):  # by the first group's step, when the others had no state
        optimizer._hp_optimizer_states_linked = False
        optimizer._lazy_init_hp_params_optimizer_state()
    found: Any = safe_get_full_optimizer_state(parameter, "exp_avg")
    return found


def train(
    rank: int, world_size: int, port: int, path: Path, learner: dict[str, Any], folder: Path, turns: bool = False
) -> tuple[list[dict[str, float]], list[float], bool, bool]:
    """Run two updates, a save and a load. Returns the rank's share of metrics by step, gradient norms, and whether the
    weights moved after the save and were restored by the load. `turns`: offload between the updates."""
    worker, batch, cases = make_worker(rank, world_size, port, path, learner)
    shares, norms = [], []
    for _ in range(2):
        if turns:
            worker.reload()
        found = [
            worker.forward_backward(micro_batch, batch.counts, *(cases.patches[i] for i in micro_batch.group_indices))
            for micro_batch in batch.micro_batches[rank]
        ]
        shares.append({name: sum(share[name] for share in found) for name in found[0]})
        norms.append(worker.optim_step().grad_norm)
        if turns:
            worker.offload()
            worker.offload()
    saved = worker.checksums()
    worker.save(folder)
    worker.export(folder / "hf")
    if turns:
        worker.reload()
    worker.forward_backward_sft(MicroBatch(groups=(), group_indices=()), StepCounts(num_loss_tokens=1, num_sequences=1))
    worker.optim_step()  # no gradient, but momentum
    moved = worker.checksums() != saved
    restored = worker.load(folder) == 2 and worker.checksums() == saved
    worker.close()
    return shares, norms, moved, restored


def interrupt(
    rank: int, world_size: int, port: int, path: Path, learner: dict[str, Any], folder: Path, dtype: str
) -> Any:
    """Return digests of the weights after two updates; save the state after the first."""
    worker, batch, cases = make_worker(rank, world_size, port, path, learner, dtype)
    _update(worker, batch, cases, rank)
    worker.save(folder)
    _update(worker, batch, cases, rank)
    return worker.checksums()


def resume(rank: int, world_size: int, port: int, path: Path, learner: dict[str, Any], folder: Path, dtype: str) -> Any:
    """Return the same from a learner that loads the saved state, and the digests of that state."""
    worker, batch, cases = make_worker(rank, world_size, port, path, learner, dtype)
    worker.load(folder)
    loaded = worker.checksums()
    _update(worker, batch, cases, rank)
    return worker.checksums(), loaded


def _update(worker: Any, batch: PackedBatch, cases: Cases, rank: int) -> None:
    for micro_batch in batch.micro_batches[rank]:
        worker.forward_backward(micro_batch, batch.counts, *(cases.patches[i] for i in micro_batch.group_indices))
    worker.optim_step()


def move_a_little(rank: int, world_size: int, port: int, path: Path, learner: dict[str, Any]) -> tuple[float, float]:
    """Return the largest change in one update of a bfloat16 norm weight's float32 master, and of the weight itself."""
    worker, batch, cases = make_worker(rank, world_size, port, path, learner, "bfloat16")
    from deepspeed.utils import safe_get_full_fp32_param

    name = "model.language_model.norm.weight"  # about 1: the next bfloat16 is 0.0078 away
    norm = dict(worker._policy.hf.named_parameters())[name]

    def look() -> tuple[torch.Tensor, torch.Tensor]:
        weight = next(tensor for found, tensor in worker._engine.full_parameters() if found == name)
        return safe_get_full_fp32_param(norm).clone(), weight.float().clone()

    before = look()
    _update(worker, batch, cases, rank)
    master, weight = (float((a - b).detach().abs().max()) for a, b in zip(look(), before, strict=True))
    worker.close()
    return master, weight


def accumulate(rank: int, world_size: int, port: int, path: Path, learner: dict[str, Any]) -> tuple[float, float]:
    """Return gradient norms of two updates in bfloat16: of one loss, and of that loss plus 32 times its 512th part."""
    worker, batch, cases = make_worker(rank, world_size, port, path, learner, "bfloat16")
    micro_batch = batch.micro_batches[rank][0]
    row = flatten(micro_batch, worker._policy.rule)
    pixels = np.concatenate([cases.patches[i] for i in micro_batch.group_indices if len(cases.patches[i])])
    norms = []
    for scales in ([1.0], [1.0] + 32 * [1 / 512]):
        for scale in scales:
            scores = worker._engine.forward(row, torch.from_numpy(pixels))
            worker._engine.backward(scale * scores.logprobs_L.mean())
        norms.append(worker.optim_step().grad_norm)
    worker.close()
    return norms[0], norms[1]


def make_worker(
    rank: int, world_size: int, port: int, path: Path, learner: dict[str, Any], dtype: str = "float32"
) -> tuple[Any, PackedBatch, Cases]:
    from transformers import AutoConfig

    from vrl.learner.worker import LearnerWorker

    settings: dict[str, Any] = {"lr": 1e-4} | learner
    cases = make_cases(AutoConfig.from_pretrained(path), MIXED * 2)
    batch = pack(cases.groups, ranks=world_size, micro_batch_tokens=learner["micro_batch_tokens"])
    worker = LearnerWorker(
        rank,
        world_size,
        "127.0.0.1",
        port,
        ModelConfig(path=str(path), dtype=dtype),
        LearnerConfig(ranks=world_size, **settings),
        AlgoConfig(kl_coef=0.1, loss_aggregation="sequence_mean"),
        temperature=0.7,
        total_steps=10,
        seed=0,
    )
    return worker, batch, cases
