"""The parity gate: a live engine and the learner must agree on every tensor of a prompt, or no run starts.

For every case it compares, in the order in which a fault would spread: token ids, grids and raw patches with the
engine's own rendering of the same decoded frames; pixels and rotary positions of the live model with the learner's; and
log-probs of the tokens that the engine sampled. All but log-probs must be equal. Starts no actor; does not train.
Axes: G completions of a case, C tokens of a completion, P prompt tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

import numpy as np
import torch

from vrl.actors.interfaces import Scorer, Workers
from vrl.algo.packing import flatten, pack
from vrl.algo.positions import prompt_positions
from vrl.config import ModelConfig
from vrl.data.normalisation import normalisation
from vrl.errors import ParityError
from vrl.rollout.inputs import Observation, Rendering
from vrl.types import MicroBatch, PackedBatch, Prompt, RawPrompt, TrainingGroup
from vrl.weights.wire import row_digest

GROUP_SIZE = 4  # completions per case
MEAN_GAP = 1e-5  # nats, float32
MAX_GAP = 1e-5  # nats, float32; ROUNDING_FACTOR times the learner's own rounding error if that is larger
ROUNDING_FACTOR = 3.0
BFLOAT16_MAX_GAP = 0.15  # nats: our bound; the mean may be a fifth of it


class LocalLearner:
    """The learner's model in this process, without an optimizer."""

    def __init__(self, model: ModelConfig, temperature: float) -> None:
        from vrl.learner.worker import build_policy  # loads DeepSpeed, which a run's driver does not need

        self._policy = build_policy(model, temperature).eval()
        if torch.cuda.is_available():
            self._policy.to("cuda")

    def score(self, group: TrainingGroup, patches: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the log-probs float32 [C] of each completion of a group."""
        row = flatten(MicroBatch(groups=(group,), group_indices=(0,)), self._policy.rule)
        with torch.no_grad():
            logprobs_L = self._policy(row, torch.tensor(patches)).logprobs_L.cpu().numpy()
        return tuple(np.split(logprobs_L, np.cumsum(row.completion_lengths)[:-1]))

    async def logprobs(self, batch: PackedBatch, patches: Sequence[np.ndarray]) -> list[tuple[np.ndarray, ...]]:
        """Return what LearnerGroup.logprobs returns, for a batch of one rank."""
        placed = [
            (index, group)
            for micro_batch in batch.micro_batches[0]
            for index, group in zip(micro_batch.group_indices, micro_batch.groups, strict=True)
        ]
        return [self.score(group, patches[index]) for index, group in sorted(placed, key=lambda pair: pair[0])]


@dataclass(frozen=True, kw_only=True, slots=True)
class GateCase:
    """One prompt, as prepared by the data path and as raw input that the engine renders."""

    name: str
    prompt: Prompt
    patches: np.ndarray  # uint8 [num_patches, patch_dim]
    raw: RawPrompt


@dataclass(frozen=True, kw_only=True, slots=True)
class CaseResult:
    """How far engine and learner agree on one case."""

    name: str
    differs: str  # name of the first tensor that differs; empty: none
    detail: str  # got and wanted
    num_tokens: int  # completion tokens compared
    mean_gap: float  # nats
    max_gap: float
    limit: float  # of max_gap


@dataclass(frozen=True, kw_only=True, slots=True)
class ParityReport:
    """The verdict over all cases. `str(report)` is a table."""

    model_path: str
    dtype: str
    results: tuple[CaseResult, ...]

    @property
    def passed(self) -> bool:
        return not any(result.differs for result in self.results)

    def require(self) -> None:
        """Raise ParityError, naming case and tensor, unless all cases passed."""
        for result in self.results:
            if result.differs:
                raise ParityError(
                    f"{self.model_path}: engine and learner disagree on {result.differs} of case {result.name!r}: "
                    f"{result.detail}"
                )

    def __str__(self) -> str:
        width = max(len(result.name) for result in self.results)
        lines = [f"parity of {self.model_path} in {self.dtype}, engine against learner"]
        for r in self.results:
            verdict = f"DIFFERS in {r.differs}: {r.detail}" if r.differs else "ok"
            gaps = f"{r.num_tokens:4d} tokens  gap mean {r.mean_gap:.1e} max {r.max_gap:.1e} (limit {r.limit:.1e})"
            lines.append(f"  {r.name:{width}}  {gaps}  {verdict}")
        worst = max(result.max_gap for result in self.results)
        failed = sum(bool(result.differs) for result in self.results)
        lines.append(f"  {len(self.results)} cases, {failed} failed, worst log-prob gap {worst:.1e}")
        return "\n".join(lines)


async def run_gate(
    cases: Sequence[GateCase],
    engines: Workers,
    learner: Scorer,
    *,
    model: ModelConfig,
    temperature: float,
    ranks: int = 1,
    max_gap: float = 0.0,
) -> ParityReport:
    """Compare engine and learner, which must both hold the weights at `model.path`, on all cases.

    `max_gap`: nats; 0: the bound of the dtype, in float32 a mean below 1e-5 and a maximum below the larger of 1e-5 and
    three times the learner's own distance from float64 (our definition: the part that rounding explains).
    """
    seen = [await _observe(case, engines, model) for case in cases]
    groups = [_group(case.prompt, observed) for case, (_, observed) in zip(cases, seen, strict=True)]
    batch = pack(groups, ranks=ranks, micro_batch_tokens=model.max_context_tokens)
    patches = [case.patches for case in cases]
    scored = await learner.logprobs(batch, patches)
    gaps = [
        np.abs(np.concatenate(ours) - np.concatenate(group.rollout_logprobs))
        for ours, group in zip(scored, groups, strict=True)
    ]
    limits = _limits(gaps, groups, patches, model, temperature, max_gap)
    results = [
        _result(case, differs, gap_C, limit, model)
        for case, (differs, _), gap_C, limit in zip(cases, seen, gaps, limits, strict=True)
    ]
    return ParityReport(model_path=model.path, dtype=model.dtype, results=tuple(results))


async def _observe(case: GateCase, engines: Workers, model: ModelConfig) -> tuple[tuple[str, str], Observation]:
    """Return (name, detail) of the first unequal tensor before the log-probs, and what was observed in the engine."""
    rendering: Rendering = await engines.call("render", case.raw)
    prompt = replace(case.prompt, media_key=uuid4().hex)  # in no cache: a cached clip would bypass the vision tower
    observed: Observation = await engines.call("observe", prompt, case.patches, GROUP_SIZE)
    rule = await engines.call("rule")
    ours = {
        "token ids": (case.prompt.token_ids, rendering.token_ids),
        "grids": ([g.grid_thw for g in case.prompt.vision], [g.grid_thw for g in rendering.vision]),
        "patches": (case.patches, rendering.patches),
        "pixels": (row_digest(learner_pixels(case.patches, model)), observed.pixel_rows),
        "positions": (prompt_positions(case.prompt.token_ids, case.prompt.vision, rule), observed.positions_3P),
    }
    for name, (learner, theirs) in ours.items():
        if not np.array_equal(np.asarray(learner), np.asarray(theirs)):
            return (name, _difference(np.asarray(learner), np.asarray(theirs))), observed
    return ("", ""), observed


def learner_pixels(patches: np.ndarray, model: ModelConfig) -> torch.Tensor:
    """Return the input of the learner's vision tower, [num_patches, patch_dim], normalised as in the learner."""
    if not len(patches):
        return torch.zeros(0, 0)
    weight, bias = (torch.from_numpy(values)[:, None] for values in normalisation(model.path))
    channels = torch.tensor(patches).unflatten(1, (len(weight), -1)).float()
    return (channels * weight + bias).flatten(1).to(getattr(torch, model.dtype))


def _difference(learner: np.ndarray, engine: np.ndarray) -> str:
    if learner.shape != engine.shape:
        return f"the learner has shape {learner.shape}, the engine {engine.shape}"
    where = np.argwhere(learner != engine)
    if learner.ndim == 0:
        return f"the learner has {learner}, the engine {engine}"
    first = tuple(where[0].tolist())
    return (
        f"{len(where)} of {learner.size} elements, first at {first}: the learner has {learner[first]}, the engine "
        f"{engine[first]}"
    )


def _group(prompt: Prompt, observed: Observation) -> TrainingGroup:
    completions = observed.completions
    return TrainingGroup(
        prompt_token_ids=prompt.token_ids,
        vision=prompt.vision,
        completions=tuple(completion.token_ids for completion in completions),
        loss_masks=tuple(np.ones(len(completion.token_ids), dtype=bool) for completion in completions),
        advantages_G=np.zeros(len(completions), dtype=np.float32),
        rollout_logprobs=tuple(completion.rollout_logprobs for completion in completions),
    )


def _limits(
    gaps: Sequence[np.ndarray],
    groups: Sequence[TrainingGroup],
    patches: Sequence[np.ndarray],
    model: ModelConfig,
    temperature: float,
    max_gap: float,
) -> list[float]:
    """Return the bound of each case's largest gap. Scores in float64 only if a gap in float32 exceeds 1e-5."""
    if max_gap:
        return [max_gap] * len(gaps)
    if model.dtype != "float32":
        return [BFLOAT16_MAX_GAP] * len(gaps)
    if max(gap_C.max() for gap_C in gaps) < MAX_GAP:
        return [MAX_GAP] * len(gaps)
    return [max(MAX_GAP, ROUNDING_FACTOR * error) for error in rounding_errors(groups, patches, model, temperature)]


def rounding_errors(
    groups: Sequence[TrainingGroup], patches: Sequence[np.ndarray], model: ModelConfig, temperature: float
) -> list[float]:
    """Return, for each group, the largest difference in nats between the learner in float32 and in float64."""
    scored = []
    for dtype in ("float32", "float64"):
        learner = LocalLearner(replace(model, dtype=dtype), temperature)
        scored.append(
            [np.concatenate(learner.score(group, pixels)) for group, pixels in zip(groups, patches, strict=True)]
        )
    return [float(np.abs(single - double).max()) for single, double in zip(*scored, strict=True)]


def _result(
    case: GateCase, differs: tuple[str, str], gap_C: np.ndarray, limit: float, model: ModelConfig
) -> CaseResult:
    name, detail = differs
    mean_limit = MEAN_GAP if model.dtype == "float32" else limit / 5
    mean_gap, max_gap = float(gap_C.mean()), float(gap_C.max())
    if not name and not (mean_gap < mean_limit and max_gap < limit):
        name = "log-probs"
        detail = f"gap mean {mean_gap:.1e}, max {max_gap:.1e} nats, wanted below {mean_limit:.1e} and {limit:.1e}"
    return CaseResult(
        name=case.name,
        differs=name,
        detail=detail,
        num_tokens=len(gap_C),
        mean_gap=mean_gap,
        max_gap=max_gap,
        limit=limit,
    )
