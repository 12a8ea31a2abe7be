"""The cost of answers: `single` against raw vLLM at saturation, each strategy against `single`, and encoder runs.

    python benchmarks/bench_inference.py [model=FOLDER] [clips=32] [max_tokens=256] [repetitions=3] ...

  single_vs_raw_vllm     tokens per second of `single`, all questions together, from questions to answers (prompts, Ray,
                         log-probs, records), over those of a plain AsyncLLM with the same engine settings. Neither
                         decodes: `single` finds its clips in `media.cache`, vLLM gets decoded frames. Each runs
                         alone; medians of the repetitions. The shorter the answers, the more the fixed cost per
                         question weighs; 256 tokens are a short chain of thought
  first_pass_vs_raw_vllm the same for the first pass, which decodes all clips on these cores and has a cold engine
  encoder_runs_per_clip  of the four strategies: clips that went through the vision tower, over (clip, frame set) pairs
                         that were shown; 1 where every call that shares frames shares their encoding
  cost_majority ...      wall seconds of a strategy over those of `single`, all questions together, alternating

Without `model` it uses an untrained one: `election` then draws as many candidates as allowed, its worst case, and
back-fill falls back to its first frames where nothing can be parsed; `candidates_election` is the number drawn.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from record import emit

from vrl.config import CacheConfig, FrameConfig, ModelConfig, RolloutConfig
from vrl.data.dataset import read_samples
from vrl.data.decode.process import DecodeProcess
from vrl.inference.answer import Answer
from vrl.inference.answer_question import answer_question
from vrl.inference.config import AnswerConfig, MediaConfig, StrategyConfig, data_config
from vrl.inference.question import InferenceClient
from vrl.lifecycle import guard_private_ray
from vrl.tasks import TASKS
from vrl.tasks.task import Clip
from vrl.toyworld.make import make_toy
from vrl.types import Sample

STRATEGIES = ("single", "majority", "election", "backfill")


@dataclass
class Settings:
    """Keys of the command line."""

    model: str = ""  # folder; empty: an untrained toy model
    clips: int = 32
    max_tokens: int = 256
    repetitions: int = 3
    max_num_seqs: int = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """The settings that both engines get."""

    model: ModelConfig
    media: MediaConfig
    rollout: RolloutConfig
    samples: tuple[Sample, ...]
    questions: str


class PreparedPairs:
    """The (clip, view) pairs that a client prepares from now on."""

    def __init__(self, client: InferenceClient) -> None:
        self.pairs: set[Any] = set()
        prepare = client.prepare

        async def remembering(samples: Any, *view: Any) -> Any:
            self.pairs.add((samples[0].media, *view))
            return await prepare(samples, *view)

        client.prepare = remembering  # type: ignore[method-assign]


def main(arguments: list[str]) -> None:
    """Run both engines and print the record."""
    merged = OmegaConf.merge(OmegaConf.structured(Settings), OmegaConf.from_dotlist(arguments))
    settings: Any = OmegaConf.to_object(merged)
    guard_private_ray("")
    with tempfile.TemporaryDirectory(prefix="vrl-bench-") as folder:
        make_toy(Path(folder), clips=settings.clips, difficulty=0, seed=0, workers=1)
        parts = prepare(settings, Path(folder))
        metrics = asyncio.run(measure_client(parts, settings.repetitions))
        raw = asyncio.run(measure_raw(parts, settings.repetitions))
    ratios = {f"{name}_vs_raw_vllm": metrics[f"tokens_per_s_{name}"] / raw for name in ("single", "first_pass")}
    metrics = {**ratios, **metrics, "tokens_per_s_raw": raw}
    print("  ".join(f"{name} {value:.3g}" for name, value in metrics.items()), file=sys.stderr)
    emit("inference", {**vars(settings), "questions": len(parts.samples)}, metrics)


def prepare(settings: Settings, world: Path) -> Parts:
    """Return visual questions about every clip."""
    frames = FrameConfig(fps=2.0, min_frames=16, max_frames=16, min_pixels=3136, max_pixels=3136)
    questions = world / "train.parquet"
    return Parts(
        model=ModelConfig(path=settings.model or str(world / "model"), dtype="float32", max_context_tokens=512),
        media=MediaConfig(root=str(world), frames=frames, cache=CacheConfig(dir=str(world / "cache"))),
        rollout=RolloutConfig(
            max_tokens=settings.max_tokens, max_num_seqs=settings.max_num_seqs, kv_cache_gib=0.5, threads=1
        ),
        samples=read_samples(questions, ["vqa"]),
        questions=str(questions),
    )


async def measure_client(parts: Parts, repetitions: int) -> dict[str, float]:
    """Run every strategy over all questions, alternating."""
    from vrl.inference.client import start_inference

    data = data_config(parts.media, parts.questions)
    seconds: dict[str, list[float]] = {name: [] for name in STRATEGIES}
    rates, candidates, runs, pairs = [], [], 0, 0
    async with start_inference(AnswerConfig(model=parts.model, rollout=parts.rollout), data) as client:
        prepared = PreparedPairs(client)
        await client.vision_runs()
        answers, took_s = await ask_all(client, parts.samples, "single")
        first_pass = tokens_per_s(answers, took_s)
        for turn in range(repetitions):
            for name in STRATEGIES:
                answers, took_s = await ask_all(client, unseen(parts.samples, f"{name} {turn}"), name)
                seconds[name].append(took_s)
                if name == "single":
                    rates.append(tokens_per_s(answers, took_s))
                if name == "election":
                    candidates.append(sum(answer.num_candidates for answer in answers) / len(answers))
        runs, pairs = await client.vision_runs(), len(prepared.pairs)
    single = statistics.median(seconds["single"])
    costs = {f"cost_{name}": statistics.median(seconds[name]) / single for name in STRATEGIES[1:]}
    return {
        "encoder_runs_per_clip": runs / pairs,
        **costs,
        "candidates_election": statistics.fmean(candidates),
        "tokens_per_s_single": statistics.median(rates),
        "tokens_per_s_first_pass": first_pass,
    }


async def ask_all(client: InferenceClient, samples: tuple[Sample, ...], name: str) -> tuple[list[Answer], float]:
    """Ask all questions together; return the answers and the seconds."""
    started = time.perf_counter()
    answers = await asyncio.gather(*(answer_question(s, client, StrategyConfig(name=name)) for s in samples))
    return answers, time.perf_counter() - started


def tokens_per_s(answers: Sequence[Answer], took_s: float) -> float:
    """Return sampled tokens per second."""
    return sum(answer.num_tokens for answer in answers) / took_s


def unseen(samples: tuple[Sample, ...], name: str) -> tuple[Sample, ...]:
    """Return the same questions with a name in front, so that no prefix cache holds their text after the clip."""
    return tuple(replace(sample, question=f"{name} {sample.question}") for sample in samples)


async def measure_raw(parts: Parts, repetitions: int) -> float:
    """Return tokens per second of vLLM alone: its own processor, frames decoded before the clock starts."""
    from transformers import AutoTokenizer
    from vllm import AsyncEngineArgs, SamplingParams
    from vllm.sampling_params import RequestOutputKind
    from vllm.v1.engine.async_llm import AsyncLLM

    from vrl.data.prompt import clock_metadata

    decoder = DecodeProcess(data_config(parts.media, parts.questions))
    frames = {s.media[0]: decoder.read(Path(parts.media.root) / s.media[0].path, s.media[0]) for s in parts.samples}
    decoder.close()
    tokenizer: Any = AutoTokenizer.from_pretrained(parts.model.path)
    engine = AsyncLLM.from_engine_args(
        AsyncEngineArgs(
            model=parts.model.path,
            dtype="float32",
            max_model_len=parts.model.max_context_tokens,
            max_num_seqs=parts.rollout.max_num_seqs,
            max_num_batched_tokens=8192,
            enforce_eager=True,
            kv_cache_memory_bytes=int(parts.rollout.kv_cache_gib * 2**30),
            block_size=32,
            skip_mm_profiling=True,
            disable_log_stats=True,
        )
    )
    params = SamplingParams(
        temperature=0.0, max_tokens=parts.rollout.max_tokens, output_kind=RequestOutputKind.FINAL_ONLY
    )

    async def ask(number: int, sample: Sample) -> int:
        clip = frames[sample.media[0]]
        task = TASKS[sample.task]
        text = task.instruction(sample, Clip(duration_s=clip.duration_s, timestamps_s=tuple(clip.timestamps_s)))
        content = [{"type": "video"}, {"type": "text", "text": text}]
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        video = (clip.pixels_THWC, {**clock_metadata(clip), "do_sample_frames": False})
        request: Any = {
            "prompt": prompt + task.prefix,
            "multi_modal_data": {"video": [video]},
            "mm_processor_kwargs": {"do_sample_frames": False},
        }
        total = 0
        async for output in engine.generate(request, params, f"{number}-{time.perf_counter_ns()}"):
            total = len(output.outputs[0].token_ids)
        return total

    rates = []
    await asyncio.gather(*(ask(i, sample) for i, sample in enumerate(parts.samples[:8])))
    for turn in range(repetitions):
        samples = unseen(parts.samples, f"raw {turn}")
        started = time.perf_counter()
        tokens = sum(await asyncio.gather(*(ask(i, sample) for i, sample in enumerate(samples))))
        rates.append(tokens / (time.perf_counter() - started))
    engine.shutdown()
    return statistics.median(rates)


if __name__ == "__main__":
    main(sys.argv[1:])
