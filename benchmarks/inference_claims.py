"""Measures the gains of election and back-fill on unseen toy clips: models of several seeds, one record.

    python benchmarks/inference_claims.py claim=election models=[runs/a,runs/b,runs/c] questions=toy/test_cited.parquet
    python benchmarks/inference_claims.py claim=backfill models=[...] questions=... encoder=toy-long/encoder

  election   against one greedy pass, and against majority vote over as many candidates as election drew on average
             (`majority`; of 3.2 it is 0.8 times the vote of three and 0.2 times that of four), and of election's own
             candidates (`own_majority`: what weights and referee add); wanted: better than all with at most 3.5
             candidates. Models: conf/toy/cited_sft.yaml
  backfill   against uniform frames under the same budget, on questions whose event is at most `max_event_s` long.
             Models: conf/toy/long_sft.yaml

An answer is correct if it votes for the same as the truth (vrl.inference.parse_candidate). Differences are of paired
questions, as fractions, with 95 % intervals by bootstrap over clips; a clip is drawn with the answers of all models.

`evidence_auc`, `confidence_auc`, `citations_auc`: of two candidates for one question, one right and one wrong, how
often the right one has more evidence, confidence, or cited frames in the true span, and the number of pairs; 0.5 is
chance, where weighting cannot help.

`answers` is a folder that keeps the answers of a model, so that they are not asked again.
"""

import asyncio
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from record import emit

from vrl.config import FrameConfig, ModelConfig, RewardConfig, RolloutConfig
from vrl.data.dataset import read_samples
from vrl.evaluation.interval import difference, draw_counts
from vrl.inference.answer import Answer, Candidate
from vrl.inference.answer_question import answer_question
from vrl.inference.config import (
    AnswerConfig,
    BackfillConfig,
    ElectionConfig,
    MajorityConfig,
    MediaConfig,
    StrategyConfig,
    data_config,
)
from vrl.inference.parse_candidate import vote_key
from vrl.inference.question import InferenceClient
from vrl.inference.strategies.majority import plurality
from vrl.lifecycle import guard_private_ray
from vrl.tasks.think_keyframes import in_spans
from vrl.types import Sample

RESAMPLES, LEVEL = 4000, 0.95
CONTEXT = 512
IN_FLIGHT = 48  # questions: an engine that prepares thousands of requests together answers no heartbeat
Run = dict[str, list[Answer]]  # one model's answers, by strategy


@dataclass
class Settings:
    """Keys of the command line."""

    claim: str = "election"  # or backfill
    models: list[str] = field(default_factory=list)
    questions: str = "toy/test_cited.parquet"
    answers: str = ""  # folder; empty: answers are not kept
    encoder: str = ""
    frames: int = 16  # the budget
    max_event_s: float = 1.5
    limit: int = 300  # questions
    max_tokens: int = 96
    election: ElectionConfig = field(default_factory=ElectionConfig)


def main(arguments: list[str]) -> None:
    """Ask every model, compare, print the table and the record."""
    merged = OmegaConf.merge(OmegaConf.structured(Settings), OmegaConf.from_dotlist(arguments))
    settings: Any = OmegaConf.to_object(merged)
    if not settings.models or settings.claim not in ("election", "backfill"):
        sys.exit(
            f"got models={settings.models}, claim={settings.claim!r}, wanted some models, and election or backfill"
        )
    guard_private_ray("")
    samples = choose(settings)
    runs = [kept(settings, number, samples) for number in range(len(settings.models))]
    metrics = compare(settings.claim, samples, runs)
    answers = [answer for run in runs for answer in run[settings.claim]]
    metrics |= of_election(samples, runs) if settings.claim == "election" else of_backfill(answers)
    for name, value in metrics.items():
        print(f"{name:28} {shown(value)}", file=sys.stderr)
    emit("inference_claims", {**asdict(settings), "asked": len(samples)}, metrics)


def choose(settings: Settings) -> tuple[Sample, ...]:
    """Return the file's questions that are answered with citations; for back-fill, visual ones about a short event."""
    path = Path(settings.questions)
    if settings.claim == "election":
        return read_samples(path, ["think_keyframes"])[: settings.limit]
    samples = (sample for sample in read_samples(path, ["vqa"]) if sample.spans)
    short = (s for s in samples if sum(b - a for a, b in s.spans) <= settings.max_event_s)
    return tuple(short)[: settings.limit]


def kept(settings: Settings, number: int, samples: Sequence[Sample]) -> Run:
    """Return the answers of one model, from the folder of answers or from the model."""
    path = Path(settings.answers) / f"{settings.claim}-{number}.json" if settings.answers else None
    if path is not None and path.is_file():
        found = json.loads(path.read_text())
        run = {name: [Answer(**answer) for answer in answers] for name, answers in found["answers"].items()}
        asked = [settings.models[number], [sample.sample_id for sample in samples]]
        if [found["model"], found["samples"]] != asked:
            sys.exit(f"{path}: got answers of {found['model']} or to other questions, wanted another folder")
        return run
    run = asyncio.run(ask_model(settings, settings.models[number], samples))
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        answers = {name: [asdict(answer) for answer in answers] for name, answers in run.items()}
        path.write_text(
            json.dumps(
                {"model": settings.models[number], "samples": [one.sample_id for one in samples], "answers": answers}
            )
        )
    return run


async def ask_model(settings: Settings, model: str, samples: Sequence[Sample]) -> Run:
    """Return the answers of the claimed strategy and of those it is compared with."""
    from vrl.inference.client import start_inference  # imports Ray, which is guarded by now

    count = settings.frames
    frames = FrameConfig(fps=2.0, min_frames=count, max_frames=count, min_pixels=3136, max_pixels=3136)
    rollout = RolloutConfig(max_tokens=settings.max_tokens, max_num_seqs=64, kv_cache_gib=0.25, threads=1)
    config = StrategyConfig(
        name=settings.claim,
        election=settings.election,
        backfill=BackfillConfig(encoder=settings.encoder, retrieval_fps=2.0, segment_frames=1, window_s=1.0),
    )
    policy = ModelConfig(path=model, dtype="float32", max_context_tokens=CONTEXT)
    data = data_config(MediaConfig(frames=frames), settings.questions)
    reward = RewardConfig(thinking_tokens=[0, 64])
    settled = AnswerConfig(model=policy, rollout=rollout, strategy=config, reward=reward)
    async with start_inference(settled, data) as client:
        found = {settings.claim: await ask_all(client, samples, config)}
        found["single"] = await ask_all(client, samples, replace(config, name="single"))
        if settings.claim == "election":
            drawn = math.ceil(np.mean([answer.num_candidates for answer in found["election"]]))
            vote = replace(config, name="majority", majority=MajorityConfig(candidates=drawn))
            found["majority"] = await ask_all(client, samples, vote)
    return found


async def ask_all(client: InferenceClient, samples: Sequence[Sample], config: StrategyConfig) -> list[Answer]:
    """Ask some at a time, in sample order; a question that cannot be asked ends the measurement."""
    free = asyncio.Semaphore(IN_FLIGHT)

    async def ask(sample: Sample) -> Answer:
        async with free:
            return await answer_question(sample, client, config)

    return list(await asyncio.gather(*map(ask, samples)))


def compare(claim: str, samples: Sequence[Sample], runs: Sequence[Run]) -> dict[str, Any]:
    """Accuracies, and what the claimed strategy gains over each other one."""
    names = [*runs[0], "own_majority"] if claim == "election" else list(runs[0])
    right = {name: np.concatenate([scored(samples, run, name) for run in runs]) for name in names}
    counts = draw_counts([sample.media[0].path for _ in runs for sample in samples], RESAMPLES, 0)
    everything = np.arange(len(runs) * len(samples))
    metrics: dict[str, Any] = {}
    for name, values in right.items():
        metrics[f"accuracy_{name}"] = float(values.mean())
        metrics[f"accuracy_{name}_by_model"] = values.reshape(len(runs), -1).mean(axis=1).tolist()
    for name in names:
        if name != claim:
            gain, _ = difference((right[name], everything), (right[claim], everything), counts, LEVEL)
            metrics[f"gain_over_{name}"] = [gain.value, gain.low, gain.high]
    return metrics


def scored(samples: Sequence[Sample], run: Run, name: str) -> np.ndarray:
    """Return the scores of a strategy's answers, float64 [N]; a majority's number of candidates is election's mean."""
    if name == "majority":
        count = np.mean([answer.num_candidates for answer in run["election"]])
        few, more = (graded(samples, voted(run["majority"], int(n))) for n in (count, np.ceil(count)))
        return few + (count % 1) * (more - few)
    return graded(samples, voted(run["election"]) if name == "own_majority" else [one.answer for one in run[name]])


def voted(answers: Sequence[Answer], count: int | None = None) -> list[str]:
    """Return the majority answer of the first `count` candidates to every question."""
    drawn = ([as_candidate(one) for one in answer.trace["candidates"][:count]] for answer in answers)
    return [plurality(candidates).winner.answer for candidates in drawn]


def as_candidate(one: Mapping[str, Any]) -> Candidate:
    """Return a candidate of a trace as a vote counts it."""
    return Candidate(answer=one["answer"], key=one["key"], text=one["text"], confidence=one["confidence"])


def graded(samples: Sequence[Sample], answers: Sequence[str]) -> np.ndarray:
    """Return 1 for every answer that votes for the truth, else 0: float64 [N]."""
    pairs = zip(samples, answers, strict=True)
    keys = [(vote_key(sample, answer), vote_key(sample, sample.answer)) for sample, answer in pairs]
    return np.array([float(bool(got) and got == truth) for got, truth in keys])


def of_backfill(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return how often frames were resampled."""
    return {"resampled_frac": float(np.mean([bool(answer.trace["moments_s"]) for answer in answers]))}


def of_election(samples: Sequence[Sample], runs: Sequence[Run]) -> dict[str, Any]:
    """Return the number of candidates, how well their weights separate right from wrong, and what the referee did."""
    pairs = [pair for run in runs for pair in zip(samples, run["election"], strict=True)]
    said = [
        (s, a, a.trace["referee"]["said"], a.trace["election"]["leader"] == vote_key(s, s.answer)) for s, a in pairs
    ]

    def refused(leader_is_right: bool) -> float | None:
        verdicts = [said == "no" for _, _, said, right in said_of if right == leader_is_right]
        return float(np.mean(verdicts)) if verdicts else None

    said_of = [one for one in said if one[2] in ("yes", "no")]
    turned = [(a.trace["after_referee"]["leader"] == vote_key(s, s.answer)) - right for s, a, _, right in said]
    return {
        "candidates": float(np.mean([answer.num_candidates for _, answer in pairs])),
        "evidence_auc": told_apart(pairs, lambda sample, answer, one: one["evidence"]),
        "confidence_auc": told_apart(pairs, lambda sample, answer, one: one["confidence"]),
        "citations_auc": told_apart(pairs, cited_share),
        "split_frac": float(np.mean([len({one["key"] for one in a.trace["candidates"]}) > 1 for _, a in pairs])),
        "referee_asked_frac": len(said_of) / len(said),
        "referee_refuses_right": refused(True),
        "referee_refuses_wrong": refused(False),
        "referee_corrected": turned.count(1),
        "referee_broke": turned.count(-1),
    }


def told_apart(
    pairs: Sequence[tuple[Sample, Answer]], score: Callable[[Sample, Answer, Mapping[str, Any]], float]
) -> list[float | None]:
    """Return the fraction of (right, wrong) candidate pairs per question that a score orders, ties half; and pairs."""
    wins: list[float] = []
    for sample, answer in pairs:
        truth = vote_key(sample, sample.answer)
        scores: dict[bool, list[float]] = {True: [], False: []}
        for one in answer.trace["candidates"]:
            if one["key"]:
                scores[one["key"] == truth].append(score(sample, answer, one))
        wins += [float(a > b) + 0.5 * (a == b) for a in scores[True] for b in scores[False]]
    return [float(np.mean(wins)) if wins else None, len(wins)]


def cited_share(sample: Sample, answer: Answer, one: Mapping[str, Any]) -> float:
    """Return the fraction of a candidate's cited frames inside the true span; crops show the same moments."""
    inside = [in_spans(sample, answer.timestamps_s[k - 1]) for k in one["keyframes"]]
    return float(np.mean(inside)) if inside else 0.0


def shown(value: Any) -> str:
    """Format numbers for the table."""
    numbers = value if isinstance(value, list) else [value]
    return "  ".join("-" if number is None else f"{number:.3f}" for number in numbers)


if __name__ == "__main__":
    main(sys.argv[1:])
