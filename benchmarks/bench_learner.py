"""The saving of the grouped forward: one group, ours against one row per completion and against a limit.

    python benchmarks/bench_learner.py [family=qwen2_5_vl] [repetitions=9] [threads=2] ...

Three ways over the same weights, prompt, clip and completions, alternating, the fastest of the repetitions (other load
only adds time; one thread by default, because two threads that wait for each other suffer most):
  grouped  vrl's policy: prompt and clip once, completions after it (vrl/learner)
  rows     one padded batch, one row per completion with the whole prompt, the clip through the tower for each; plain
           transformers with its causal SDPA, log-probs of completion positions only (logits_to_keep)
  limit    one plain row with the prompt and the clip, and a plain batch of the completions alone: no sharing to pay for

`speedup_cN` is rows / grouped at N tokens per completion, `limit_ratio_cN` is grouped / limit. Log-probs of grouped and
rows are compared before any timing. On a GPU the model has Qwen2-VL-7B's shape in bfloat16, and peak memory and MFU
(model FLOPs of the grouped tokens over the device's dense bf16 peak) are added; one of 80 GB needs
gradient_checkpointing=true for the rows.
"""

import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from record import emit
from shapes import NORMALISATION, Case, build, make_case
from torch import Tensor
from transformers import PreTrainedModel

from vrl.algo.packing import flatten
from vrl.algo.positions import completion_positions, prompt_positions
from vrl.learner.attention import GROUPED
from vrl.learner.model import GroupedPolicy
from vrl.types import MicroBatch

PEAK_FLOPS = {"A100": 312e12, "H100": 989e12, "H200": 989e12, "B200": 2250e12}  # dense bf16, vendors' data sheets
MAX_GAP = {torch.float32: 1e-4, torch.bfloat16: 0.5}  # nats between grouped and rows


@dataclass
class Settings:
    """Keys of the command line."""

    family: str = "qwen2_vl"
    group_size: int = 8
    visual_tokens: int = 512
    text_tokens: int = 40  # of the prompt, besides the clip
    completion_tokens: tuple[int, ...] = (64, 256)
    repetitions: int = 3
    threads: int = 1
    gradient_checkpointing: bool = False  # in all three ways


def main(arguments: list[str]) -> None:
    """Measure every completion length and print the record."""
    merged = OmegaConf.merge(OmegaConf.structured(Settings), OmegaConf.from_dotlist(arguments))
    settings: Any = OmegaConf.to_object(merged)
    torch.set_num_threads(settings.threads)
    on_gpu = torch.cuda.is_available()
    shape, device, dtype = ("7b", "cuda", torch.bfloat16) if on_gpu else ("small", "cpu", torch.float32)
    model = build(settings.family, shape, device=device, dtype=dtype)
    policy = GroupedPolicy(model, normalisation=NORMALISATION, temperature=1.0).to(device)
    if settings.gradient_checkpointing:
        policy.train().hf.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    metrics: dict[str, float] = {}
    for length in settings.completion_tokens:
        case = make_case(
            model.config,
            group_size=settings.group_size,
            visual_tokens=settings.visual_tokens,
            completion_tokens=length,
            text_tokens=settings.text_tokens,
        )
        found = {f"{name}_c{length}": value for name, value in measure(policy, case, settings.repetitions).items()}
        print("  ".join(f"{name} {value:.3g}" for name, value in found.items()), file=sys.stderr, flush=True)
        metrics |= found
    emit("learner", asdict(settings) | {"shape": shape, "parameters": model.num_parameters()}, metrics)


def measure(policy: GroupedPolicy, case: Case, repetitions: int) -> dict[str, float]:
    """Return the seconds of the three ways and their ratios. Raise SystemExit if grouped and rows disagree."""
    ways = {"grouped": Grouped(policy, case), "rows": Rows(policy, case), "limit": Limit(policy, case)}
    with torch.no_grad():
        found, wanted = (ways[name].logprobs() for name in ("grouped", "rows"))
    gap = float((found - wanted).abs().max())
    if not gap <= MAX_GAP[policy.hf.dtype]:
        raise SystemExit(f"log-probs: got a gap of {gap}, wanted at most {MAX_GAP[policy.hf.dtype]}")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    peaks: dict[str, float] = {}
    for repetition in range(repetitions + 1):  # the first warms up
        for name, way in ways.items():
            taken, peaks[f"{name}_peak_gib"] = time_once(policy.hf, way)
            seconds[name] += [taken] if repetition else []
    fastest = {f"{name}_s": min(times) for name, times in seconds.items()}
    metrics = {
        "speedup": fastest["rows_s"] / fastest["grouped_s"],
        "limit_ratio": fastest["grouped_s"] / fastest["limit_s"],
        **fastest,
        "logprob_gap": gap,
    }
    if policy.hf.device.type == "cuda":
        metrics |= peaks | {"grouped_mfu": model_flops(policy.hf, case) / fastest["grouped_s"] / peak_flops()}
    return metrics


def time_once(model: PreTrainedModel, way: "Grouped | Rows | Limit") -> tuple[float, float]:
    """Seconds of one forward and backward, and peak GPU memory in GiB (0 on a CPU)."""
    model.zero_grad(set_to_none=True)
    on_gpu = model.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    started = time.perf_counter()
    way.logprobs().sum().backward()
    if on_gpu:
        torch.cuda.synchronize()
    taken = time.perf_counter() - started
    return taken, torch.cuda.max_memory_allocated() / 2**30 if on_gpu else 0.0


class Grouped:
    """vrl's own forward of one group."""

    def __init__(self, policy: GroupedPolicy, case: Case) -> None:
        self._policy = policy
        self._row = flatten(MicroBatch(groups=(case.group,), group_indices=(0,)), policy.rule)
        self._patches = torch.from_numpy(case.patches)

    def logprobs(self) -> Tensor:
        """[G x C], completion after completion."""
        self._policy.hf.set_attn_implementation({"text_config": GROUPED})
        return self._policy(self._row, self._patches).logprobs_L


class Rows:
    """One batch of plain rows, each with the whole prompt and the clip."""

    def __init__(self, policy: GroupedPolicy, case: Case) -> None:
        self._model, self._group = policy.hf, case.group
        prompt_3P = prompt_positions(case.group.prompt_token_ids, case.group.vision, policy.rule)
        completion_3C = completion_positions(prompt_3P, len(case.group.completions[0]))
        group_size = len(case.group.completions)
        self._completions = to(self._model, np.stack(case.group.completions))
        prompt = to(self._model, case.group.prompt_token_ids)
        self._ids = torch.cat([prompt.expand(group_size, -1), self._completions], dim=1)
        positions = to(self._model, np.concatenate([prompt_3P, completion_3C], axis=1))
        self._inputs = clip_inputs(policy, case, group_size) | {
            "position_ids": positions[:, None].expand(-1, group_size, -1),
            "mm_token_type_ids": 2 * (self._ids == policy.rule.video_token_id),
        }

    def logprobs(self) -> Tensor:
        """[G x C], completion after completion."""
        self._model.set_attn_implementation({"text_config": "sdpa"})
        kept = self._completions.shape[1] + 1
        logits = self._model(input_ids=self._ids, logits_to_keep=kept, use_cache=False, **self._inputs).logits
        return select(logits[:, :-1], self._completions).flatten()


class Limit:
    """The prompt with its clip, and a batch of the completions alone: the work that remains if sharing is free."""

    def __init__(self, policy: GroupedPolicy, case: Case) -> None:
        self._model = policy.hf
        prompt_3P = prompt_positions(case.group.prompt_token_ids, case.group.vision, policy.rule)
        self._prompt = to(self._model, case.group.prompt_token_ids)[None]
        self._inputs = clip_inputs(policy, case, 1) | {
            "position_ids": to(self._model, prompt_3P)[:, None],
            "mm_token_type_ids": 2 * (self._prompt == policy.rule.video_token_id),
        }
        self._completions = to(self._model, np.stack(case.group.completions))
        positions = completion_positions(prompt_3P, self._completions.shape[1])
        self._positions = to(self._model, positions)[:, None].expand(-1, len(self._completions), -1)

    def logprobs(self) -> Tensor:
        """[1 + G x C]: gradients flow through the prompt's last token and all completions."""
        self._model.set_attn_implementation({"text_config": "sdpa"})
        prompt = self._model(input_ids=self._prompt, logits_to_keep=1, use_cache=False, **self._inputs).logits
        logits = self._model(input_ids=self._completions, position_ids=self._positions, use_cache=False).logits
        return torch.cat([select(prompt, self._prompt[:, -1:]).flatten(), select(logits, self._completions).flatten()])


def to(model: PreTrainedModel, array: np.ndarray) -> Tensor:
    """Return an array as a tensor on the model's device."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(model.device)


def clip_inputs(policy: GroupedPolicy, case: Case, copies: int) -> dict[str, Tensor]:
    """transformers' inputs for the clip, once per row: pixels normalised ahead of time, as a processor does."""
    channels = to(policy.hf, case.patches).unflatten(1, (3, -1)).float()
    pixels = (channels * policy.pixel_weight + policy.pixel_bias).flatten(1).to(policy.hf.dtype)
    grid = torch.tensor([case.group.vision[0].grid_thw], device=pixels.device)
    return {"pixel_values_videos": pixels.repeat(copies, 1), "video_grid_thw": grid.repeat(copies, 1)}


def select(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-probs of the targets, in float32."""
    logits = logits.float()
    return logits.gather(-1, targets[..., None])[..., 0] - torch.logsumexp(logits, dim=-1)


def model_flops(model: PreTrainedModel, case: Case) -> float:
    """6 per weight and token (arXiv 2001.08361, section 2.1); tower on patches, head on scored tokens; no attention."""
    sizes = {"layers": 0, "visual": 0}
    for name, parameter in model.named_parameters():
        part = "visual" if "visual" in name else "layers" if ".layers." in name else ""
        if part:
            sizes[part] += parameter.numel()
    scored = sum(len(completion) for completion in case.group.completions)
    return 6.0 * (
        sizes["layers"] * case.group.num_tokens
        + sizes["visual"] * case.group.num_patches
        + model.lm_head.weight.numel() * scored
    )


def peak_flops() -> float:
    """The device's dense bf16 peak; NaN if it is not in the table."""
    name = torch.cuda.get_device_name()
    return next((flops for known, flops in PEAK_FLOPS.items() if known in name), float("nan"))


if __name__ == "__main__":
    main(sys.argv[1:])
