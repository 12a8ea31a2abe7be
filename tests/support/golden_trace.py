"""The learner's numbers on a tiny step, kept so that a refactor cannot change them unseen.

`PYTHONPATH=tests python -m support.golden_trace` rewrites golden_trace.json: do that only when numbers are meant to
change, and say why in the commit. Float32 on one thread; machines sum in other orders, hence TOLERANCE, and plain
gradient descent, because Adam turns the rounding of a gradient near 0 into a whole step.
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from support.learner_cases import Cases, image, make_cases, video

from vrl.algo.objective import objective, step_metrics, trained_tokens
from vrl.algo.packing import flatten, pack
from vrl.config import AlgoConfig, ModelConfig
from vrl.data.normalisation import normalisation
from vrl.learner.model import GroupedPolicy, load_hf_model
from vrl.toyworld.model import build_family
from vrl.types import MicroBatch

FILE = Path(__file__).with_suffix(".json")
TOLERANCE = 1e-4  # relative
UPDATES = 5
LEARNING_RATE = 0.01
SHAPES = (((video(2, 4, 4),), (6, 9, 2)), ((image(4, 4),), (8, 3)), ((), (4, 12)))
OBJECTIVES = {
    "clip": AlgoConfig(correction="token_truncate", clip_high=0.28, kl_coef=0.1, entropy_coef=0.01),
    "dual_clip": AlgoConfig(
        policy_loss="dual_clip", dual_clip=1.2, correction="token_mask", loss_aggregation="sequence_mean"
    ),
    "gspo": AlgoConfig(
        policy_loss="gspo",
        clip_low=0.1,
        clip_high=0.2,
        correction="sequence_mask",
        correction_low=0.2,
        correction_high=5.0,
        loss_aggregation="sequence_mean",
    ),
    "cispo": AlgoConfig(
        policy_loss="cispo", loss_aggregation="fixed_length", fixed_length=12, kl_coef=0.1, kl_estimator="k2"
    ),
    "reinforce": AlgoConfig(policy_loss="reinforce", correction="sequence_truncate", correction_high=1.5),
}


def trace(folder: Path) -> dict[str, list[dict[str, float]]]:
    """By objective: loss, gradient norm and the objective's metrics of every update, all from the same start."""
    build_family(folder, "qwen2_vl", sharp=True)
    return {name: _train(_policy(folder), config) for name, config in OBJECTIVES.items()}


def _policy(folder: Path) -> GroupedPolicy:
    hf = load_hf_model(ModelConfig(path=str(folder), dtype="float32"))
    return GroupedPolicy(hf, normalisation=normalisation(folder), temperature=0.9, entropy_gradient=True)


def _train(policy: GroupedPolicy, config: AlgoConfig) -> list[dict[str, float]]:
    """Updates on the same groups, two micro-batches each; the start is the old policy and the reference."""
    cases = make_cases(policy.hf.config, SHAPES)
    start = _logprobs(policy, cases)
    rng = np.random.default_rng(1)
    groups = [
        replace(group, old_logprobs=old, rollout_logprobs=tuple(_near(own, rng) for own in old))
        for group, old in zip(cases.groups, start, strict=True)
    ]
    batch = pack(groups, ranks=1, micro_batch_tokens=60)
    optimizer = torch.optim.SGD(policy.parameters(), lr=LEARNING_RATE)
    rows = []
    for _ in range(UPDATES):
        loss, sums = 0.0, {}
        for micro_batch in batch.micro_batches[0]:
            share, metrics = _objective(policy, cases, micro_batch, start, config, batch.counts)
            share.backward()
            loss += share.item()
            sums = {name: sums.get(name, 0.0) + value.item() for name, value in metrics.items()}
        norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0).item()
        optimizer.step()
        optimizer.zero_grad()
        rows.append({"loss": loss, "grad_norm": norm, **step_metrics(sums)})
    return rows


def _objective(policy, cases: Cases, micro_batch: MicroBatch, start, config: AlgoConfig, counts):
    row = flatten(micro_batch, policy.rule)
    scores = policy(row, _pixels(cases, micro_batch))
    reference = np.concatenate([own for i in micro_batch.group_indices for own in start[i]])
    ref = torch.from_numpy(reference) if config.kl_coef else None
    return objective(trained_tokens(row, scores.logprobs_L, scores.entropy_L, ref), config, counts)


def _logprobs(policy: GroupedPolicy, cases: Cases) -> list[tuple[np.ndarray, ...]]:
    found = []
    with torch.no_grad():
        for index, group in enumerate(cases.groups):
            micro_batch = MicroBatch(groups=(group,), group_indices=(index,))
            scores = policy(flatten(micro_batch, policy.rule), _pixels(cases, micro_batch))
            ends = np.cumsum([len(completion) for completion in group.completions])[:-1]
            found.append(tuple(np.split(scores.logprobs_L.numpy(), ends)))
    return found


def _near(logprobs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What an engine that rounds badly might have reported."""
    return (logprobs + rng.normal(0, 0.3, len(logprobs))).astype(np.float32)


def _pixels(cases: Cases, micro_batch: MicroBatch) -> torch.Tensor:
    patches = [cases.patches[i] for i in micro_batch.group_indices if len(cases.patches[i])]
    return torch.from_numpy(np.concatenate(patches) if patches else np.zeros((0, 1), np.uint8))


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        FILE.write_text(json.dumps(trace(Path(scratch)), indent=1) + "\n")
    print(f"wrote {FILE}")
