"""The path of one question to data workers and engines: prompts, completions, and what they cost.

`InferenceClient` reaches the actors; `QuestionContext` counts the calls and tokens of one question, times its stages
and reports its status. Neither knows a strategy. Calls that share frames go to one engine, whose caches hold the
encoded clip.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from vrl.actors.interfaces import Pool
from vrl.config import RewardConfig
from vrl.inference.answer import Answer, Candidate
from vrl.inference.parse_candidate import parse_candidate
from vrl.inference.retrieval import Hit
from vrl.types import Completion, Prompt, Sample, View

_PLAIN = View()

Notify = Callable[[str], None]
"""Called with the name of the current stage whenever it changes."""


class InferenceClient:
    """Prompts and completions on demand. Engines return raw log-probabilities, so that confidences compare.

    Example: `prompts, patches = await client.prepare([sample])`, then
    `completions = await client.draw(prompts[0], patches, temperature=0.0)`.
    """

    def __init__(
        self, data: Pool, engines: Pool, tokenizer: Any, reward: RewardConfig, retrieval: Pool | None = None
    ) -> None:
        """`tokenizer`: the model's; `reward`: parameters of the evidence scores; `retrieval`: RetrievalWorkers."""
        self.tokenizer = tokenizer
        self.reward = reward
        self._data = data
        self._engines = engines
        self._retrieval = retrieval
        self._pools = [pool for pool in (data, engines, retrieval) if pool is not None]

    async def stop_heartbeats(self) -> None:
        """Stop the heartbeats, so that the client can be sent to another process."""
        for pool in self._pools:
            await pool.stop_heartbeat()

    def start_heartbeats(self) -> None:
        """Start the heartbeats in this process, on the running loop."""
        for pool in self._pools:
            pool.start_heartbeat()

    async def prepare(self, samples: Sequence[Sample], view: View = _PLAIN) -> tuple[tuple[Prompt, ...], Any]:
        """Return the prompts of questions about the same media, and a reference to their patches. Raises DataError."""
        return await self._data.call_keeping("prepare_views", tuple(samples), view)

    async def draw(self, prompt: Prompt, patches: Any, *, temperature: float, count: int = 1) -> tuple[Completion, ...]:
        """Return `count` completions of one prompt. Raises RolloutError."""
        (completions,) = await self._engines.call(
            "generate", (prompt,), patches, affinity=prompt.media_key, group_size=count, temperature=temperature
        )
        return completions

    async def vision_runs(self) -> int:
        """Return how many clips and images the engines encoded since the last call; the first call starts the count."""
        return sum(await self._engines.broadcast("vision_runs"))

    async def embed(self, sample: Sample) -> tuple[Any, Any] | None:
        """Return the embedded clip of a sample, as `search` takes it; None without retrieval. Raises DataError."""
        return await self._retrieval.call_keeping("embed", sample) if self._retrieval is not None else None

    async def search(self, elements: Sequence[str], clip: tuple[Any, Any]) -> tuple[Hit, ...]:
        """Return the segment of an embedded clip that looks most like each element."""
        assert self._retrieval is not None, "only a client that embeds can search"
        starts_s, embeddings = clip
        return await self._retrieval.call("search", tuple(elements), starts_s, embeddings)


class QuestionContext:
    """One question in progress."""

    def __init__(self, sample: Sample, client: InferenceClient, notify: Notify) -> None:
        self.sample = sample
        self.client = client
        self._notify = notify
        self._started = time.monotonic()
        self._num_calls = 0
        self._num_tokens = 0
        self.stages_s: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Announce a stage and add the seconds that its body takes to `stages_s[name]`."""
        self._notify(name)
        started = time.monotonic()
        try:
            yield
        finally:
            self.stages_s[name] = round(self.stages_s.get(name, 0.0) + time.monotonic() - started, 4)

    async def draw(
        self, prompt: Prompt, patches: Any, *, temperature: float, count: int = 1, view: str = "frames"
    ) -> tuple[Candidate, ...]:
        """Return `count` candidates from one prompt; `view` names it in their traces."""
        self._num_calls += 1
        client = self.client
        completions = await client.draw(prompt, patches, temperature=temperature, count=count)
        self._num_tokens += sum(len(completion.token_ids) for completion in completions)
        return tuple(
            parse_candidate(prompt, completion, client.tokenizer, client.reward, temperature=temperature, view=view)
            for completion in completions
        )

    async def embed(self) -> tuple[Any, Any] | None:
        """Call `InferenceClient.embed` on this question's clip, as a stage."""
        with self.stage("embed"):
            return await self.client.embed(self.sample)

    def conclude(self, strategy: str, candidate: Candidate, *, num_candidates: int, trace: Mapping[str, Any]) -> Answer:
        """Return the answer that a candidate gives, with the calls, tokens and times of this question."""
        return Answer(
            answer=candidate.answer,
            text=candidate.text,
            finish_reason=candidate.finish_reason,
            duration_s=candidate.duration_s,
            timestamps_s=candidate.timestamps_s,
            strategy=strategy,
            num_candidates=num_candidates,
            num_calls=self._num_calls,
            num_tokens=self._num_tokens,
            latency_s=round(time.monotonic() - self._started, 4),
            trace={**trace, "confidence_source": "answer_logprobs", "stages_s": self.stages_s},
        )
