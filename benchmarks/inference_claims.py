"""Do election and back-fill pay, on the toy world's test clips, with models that were trained for them?

    python benchmarks/inference_claims.py claim=election models=[runs/a,runs/b,runs/c] questions=toy/test.parquet
    python benchmarks/inference_claims.py claim=backfill models=[...] encoder=toy/encoder frames=4 max_event_s=2

  election   against one greedy pass, and against majority vote with as many candidates as election drew on average,
             rounded up; wanted: better than both with at most 3.5 candidates. The models must cite frames (cold start:
             conf/toy_thinking_sft.yaml), a model for each training seed
  backfill   against uniform frames under the same budget, on questions whose event is at most `max_event_s` long; the
             models must know vqa, grounding and key_elements, the encoder is that of `vrl toy --encoder`

An answer is right where it votes for the same as the truth (vrl.inference.reading). Differences are of paired
questions, with 95 % intervals by bootstrap over clips, questions of all models together. One JSON record.
"""

import asyncio
import math
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from record import emit

from vrl.config import FrameConfig, ModelConfig, RewardConfig, RolloutConfig
from vrl.data.dataset import read_samples
from vrl.evaluation.interval import difference, draw_counts
from vrl.inference.answer import answer_question
from vrl.inference.config import BackfillConfig, MajorityConfig, MediaConfig, StrategyConfig, data_config
from vrl.inference.inquiry import Desk
from vrl.inference.reading import vote_key
from vrl.inference.record import Answer
from vrl.run import guard_private_ray
from vrl.types import Sample

RESAMPLES, LEVEL = 2000, 0.95
CONTEXT = 512


@dataclass
class Settings:
    """Keys of the command line."""

    claim: str = "election"  # or backfill
    models: list[str] = field(default_factory=list)
    questions: str = "toy/test.parquet"
    encoder: str = ""
    frames: int = 16  # the budget
    max_event_s: float = 2.0
    limit: int = 200  # questions
    max_tokens: int = 96


def main(arguments: list[str]) -> None:
    """Ask every model, compare, print the record."""
    merged = OmegaConf.merge(OmegaConf.structured(Settings), OmegaConf.from_dotlist(arguments))
    settings: Any = OmegaConf.to_object(merged)
    if not settings.models or settings.claim not in ("election", "backfill"):
        sys.exit(
            f"got models={settings.models}, claim={settings.claim!r}, wanted some models, and election or backfill"
        )
    guard_private_ray("")
    samples = choose(settings)
    runs = [asyncio.run(ask_model(settings, model, samples)) for model in settings.models]
    right = {name: np.concatenate([graded(samples, run[name]) for run in runs]) for name in runs[0]}
    clips = [f"{i} {sample.media[0].path}" for i in range(len(runs)) for sample in samples]
    counts, everything = draw_counts(clips, RESAMPLES, 0), np.arange(len(clips))
    metrics: dict[str, Any] = {f"accuracy_{name}": float(values.mean()) for name, values in right.items()}
    for name in right:
        if name != settings.claim:
            gain, _ = difference((right[name], everything), (right[settings.claim], everything), counts, LEVEL)
            metrics[f"gain_over_{name}"] = [gain.value, gain.low, gain.high]
    told = [answer for run in runs for answer in run[settings.claim]]
    metrics["candidates"] = float(np.mean([answer.num_candidates for answer in told]))
    metrics["resampled_frac"] = float(np.mean([bool(answer.trace.get("moments_s")) for answer in told]))
    emit("inference_claims", {**vars(settings), "asked": len(samples)}, metrics)


def choose(settings: Settings) -> tuple[Sample, ...]:
    """Visual questions of the file; for back-fill those about a short event."""
    samples = read_samples(Path(settings.questions), ["vqa"])
    if settings.claim == "backfill":
        samples = tuple(s for s in samples if s.spans and sum(b - a for a, b in s.spans) <= settings.max_event_s)
    return samples[: settings.limit]


def graded(samples: tuple[Sample, ...], answers: list[Answer]) -> np.ndarray:
    """1 where an answer votes for the truth, else 0: float64 [N]."""
    pairs = zip(samples, answers, strict=True)
    keys = [(vote_key(sample, answer.answer), vote_key(sample, sample.answer)) for sample, answer in pairs]
    return np.array([float(bool(got) and got == truth) for got, truth in keys])


async def ask_model(settings: Settings, model: str, samples: tuple[Sample, ...]) -> dict[str, list[Answer]]:
    """The answers of the claimed strategy and of those it is compared with."""
    from vrl.inference.desk import open_desk

    count = settings.frames
    frames = FrameConfig(fps=2.0, min_frames=count, max_frames=count, min_pixels=3136, max_pixels=3136)
    data = data_config(MediaConfig(frames=frames), settings.questions)
    rollout = RolloutConfig(max_tokens=settings.max_tokens, max_num_seqs=64, kv_cache_gib=0.25)
    retrieval = BackfillConfig(encoder=settings.encoder, retrieval_fps=2.0, segment_frames=1, window_s=1.0)
    config = StrategyConfig(name=settings.claim, backfill=retrieval)
    rules = RewardConfig(thinking_tokens=[0, 64])
    policy = ModelConfig(path=model, dtype="float32", max_context_tokens=CONTEXT)
    if settings.claim == "election":
        samples = tuple(replace(sample, task="think_keyframes") for sample in samples)
    async with open_desk(policy, data, rollout, config, rules=rules) as desk:
        found = {settings.claim: await ask_all(desk, samples, config)}
        found["single"] = await ask_all(desk, samples, replace(config, name="single"))
        if settings.claim == "election":
            drawn = math.ceil(np.mean([answer.num_candidates for answer in found["election"]]))
            vote = replace(config, name="majority", majority=MajorityConfig(candidates=drawn))
            found["majority"] = await ask_all(desk, samples, vote)
    return found


async def ask_all(desk: Desk, samples: tuple[Sample, ...], config: StrategyConfig) -> list[Answer]:
    """All at once; a question that cannot be asked ends the measurement."""
    return list(await asyncio.gather(*(answer_question(sample, desk, config) for sample in samples)))


if __name__ == "__main__":
    main(sys.argv[1:])
