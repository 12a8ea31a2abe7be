"""Fake pools for inference: prompts without pixels, completions from a script; and candidates made by hand."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from vrl.config import RewardConfig
from vrl.inference.answer import Candidate
from vrl.inference.question import InferenceClient
from vrl.toyworld.model import build_tokenizer
from vrl.types import Completion, Prompt, Sample, VersionSpan, View

FRAME_TIMES_S = tuple(k * 0.5 for k in range(16))  # of a clip of 8 s


@cache
def tokenizer() -> Any:
    return build_tokenizer()


def completion(text: str, logprob: float = -0.1, finish: str = "stop") -> Completion:
    """A completion of this text with equal log-probabilities."""
    ids = np.array(tokenizer()(text, add_special_tokens=False)["input_ids"], dtype=np.int64)
    return Completion(
        token_ids=ids,
        rollout_logprobs=np.full(len(ids), logprob, dtype=np.float32),
        text=text,
        finish_reason=finish,
        versions=(VersionSpan(start=0, end=len(ids), policy_version=0),),
    )


def candidate(key: str, confidence: float = 0.5, **fields: Any) -> Candidate:
    text = fields.pop("text", key)
    return Candidate(answer=key, key=key, text=text, confidence=confidence, **fields)


@dataclass
class PrepareCall:
    """One call for prompts."""

    samples: tuple[Sample, ...]
    view: View


class FakeData:
    """Returns prompts with the frames of the view, or 16 uniform ones; records its calls."""

    def __init__(self) -> None:
        self.prepared: list[PrepareCall] = []

    async def call_keeping(self, method: str, *args: Any) -> tuple[Any, Any]:
        assert method == "prepare_views"
        samples, view = args
        self.prepared.append(PrepareCall(samples, view))
        times_s = view.times_s or FRAME_TIMES_S
        key = f"{abs(hash((samples[0].media, view))):016x}"
        prompt = Prompt(sample=samples[0], token_ids=np.arange(3), timestamps_s=times_s, duration_s=8.0, media_key=key)
        return tuple(replace(prompt, sample=sample) for sample in samples), f"patches {key}"


@dataclass
class FakeEngines:
    """Returns script(sample, temperature, number of earlier completions of that sample)."""

    script: Callable[[Sample, float, int], Completion]
    calls: list[tuple[Sample, float, int]] = field(default_factory=list)
    homes: list[str] = field(default_factory=list)
    turns: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def call(self, method: str, *args: Any, affinity: str, **sampling: Any) -> Any:
        assert method == "generate"
        (prompt,), temperature, count = args[0], sampling["temperature"], sampling["group_size"]
        self.calls.append((prompt.sample, temperature, count))
        self.homes.append(affinity)
        done = []
        for _ in range(count):
            place = (prompt.sample.task, prompt.sample.question)
            done.append(self.script(prompt.sample, temperature, self.turns[place]))
            self.turns[place] += 1
        return (tuple(done),)


def client(
    script: Callable[[Sample, float, int], Completion] | Sequence[str],
) -> tuple[InferenceClient, FakeData, FakeEngines]:
    """A client whose engine follows the script: a function, or the texts of its completions in turn."""
    data = FakeData()
    if callable(script):
        engines = FakeEngines(script)
    else:
        engines = FakeEngines(lambda sample, temperature, turn: completion(script[turn]))
    pools: tuple[Any, Any] = (data, engines)  # the fakes have only the methods that a client calls
    return InferenceClient(*pools, tokenizer(), RewardConfig(thinking_tokens=[0, 20])), data, engines
