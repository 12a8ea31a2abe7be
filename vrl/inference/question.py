"""The path of one question to data workers and engines: prompts, completions, and what they cost.

`InferenceClient` reaches the actors; `QuestionContext` counts calls and tokens of one question, times its stages and
reports its status. Neither knows a strategy. Calls that share frames go to one engine, whose caches then hold the
encoded clip.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from vrl.config import RewardConfig
from vrl.inference.answer import Answer, Candidate
from vrl.inference.parse_candidate import read_candidate
from vrl.inference.retrieval import Hit
from vrl.types import Completion, Prompt, Sample, View

PLAIN = View()


class Fleet(Protocol):
    """What a client needs of any pool: a heartbeat that runs in one process at a time."""

    def start_heartbeat(self) -> None: ...

    async def stop_heartbeat(self) -> None: ...


class DataFleet(Fleet, Protocol):
    """What a client needs of the pool of data workers, and of those that retrieve."""

    async def call(self, method: str, *args: Any) -> Any: ...

    async def call_keeping(self, method: str, *args: Any) -> tuple[Any, Any]: ...


class EngineFleet(Fleet, Protocol):
    """What a client needs of the pool of engines."""

    async def call(self, method: str, *args: Any, affinity: str, **kwargs: Any) -> Any: ...

    async def broadcast(self, method: str) -> list[Any]: ...


class InferenceClient:
    """Prompts and completions on demand. Engines are asked for raw log-probabilities, so that confidences compare.

    Example: `prompts, patches = await client.show([sample], View())`, then
    `completions = await client.draw(prompts[0], patches, temperature=0.0)`.
    """

    def __init__(
        self,
        data: DataFleet,
        engines: EngineFleet,
        tokenizer: Any,
        rules: RewardConfig,
        retrieval: DataFleet | None = None,
    ) -> None:
        """`tokenizer`: the model's; `rules`: what the evidence scores' formulas leave open; `retrieval`: who finds
        frames by words (`vrl.inference.retrieval`); None without retrieval.
        """
        self._retrieval = retrieval
        self._data = data
        self._engines = engines
        self.tokenizer = tokenizer
        self.rules = rules

    async def rest(self) -> None:
        """Stop the heartbeats, so that the client can be sent to another process."""
        for fleet in (self._data, self._engines, self._retrieval):
            if fleet is not None:
                await fleet.stop_heartbeat()

    def watch(self) -> None:
        """Start the heartbeats in this process, on the running loop."""
        for fleet in (self._data, self._engines, self._retrieval):
            if fleet is not None:
                fleet.start_heartbeat()

    async def show(self, samples: Sequence[Sample], view: View) -> tuple[tuple[Prompt, ...], Any]:
        """Prompts of questions about the same media and a reference to their patches. Raises DataError."""
        return await self._data.call_keeping("prepare_views", tuple(samples), view)

    async def draw(self, prompt: Prompt, patches: Any, *, temperature: float, count: int = 1) -> tuple[Completion, ...]:
        """Completions of one prompt. Raises RolloutError."""
        (completions,) = await self._engines.call(
            "generate", (prompt,), patches, affinity=prompt.media_key, group_size=count, temperature=temperature
        )
        return completions

    async def vision_runs(self) -> int:
        """Clips and images that the engines encoded since the last call; the first call starts to count."""
        return sum(await self._engines.broadcast("vision_runs"))

    async def embed(self, sample: Sample) -> tuple[Any, Any] | None:
        """The sample's clip, ready to be searched; None without retrieval. Raises DataError."""
        return await self._retrieval.call_keeping("embed", sample) if self._retrieval is not None else None

    async def search(self, elements: Sequence[str], clip: tuple[Any, Any]) -> tuple[Hit, ...]:
        """Where in a clip that `embed` gave each element is most likely to be seen."""
        assert self._retrieval is not None, "only a client that embeds can search"
        starts_s, embeddings = clip
        return await self._retrieval.call("search", tuple(elements), starts_s, embeddings)


Notify = Callable[[str], None]
"""Gets the name of the current stage whenever it changes."""


class QuestionContext:
    """One question under way."""

    def __init__(self, sample: Sample, client: InferenceClient, notify: Notify) -> None:
        self.sample = sample
        self._client = client
        self._notify = notify
        self._started = time.monotonic()
        self._num_calls = 0
        self._num_tokens = 0
        self.stages_s: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times what is done inside, in seconds, under a name."""
        self._notify(name)
        started = time.monotonic()
        try:
            yield
        finally:
            self.stages_s[name] = round(self.stages_s.get(name, 0.0) + time.monotonic() - started, 4)

    async def show(self, samples: Sequence[Sample], view: View = PLAIN) -> tuple[tuple[Prompt, ...], Any]:
        """As `InferenceClient.show`."""
        return await self._client.show(samples, view)

    async def draw(
        self, prompt: Prompt, patches: Any, *, temperature: float, count: int = 1, view: str = "frames"
    ) -> tuple[Candidate, ...]:
        """`count` candidates from one prompt; `view` is the name that they carry."""
        self._num_calls += 1
        completions = await self._client.draw(prompt, patches, temperature=temperature, count=count)
        self._num_tokens += sum(len(completion.token_ids) for completion in completions)
        client = self._client
        return tuple(
            read_candidate(prompt, completion, client.tokenizer, client.rules, temperature=temperature, view=view)
            for completion in completions
        )

    async def embed(self) -> tuple[Any, Any] | None:
        """As `InferenceClient.embed`, of this question's clip."""
        with self.stage("embed"):
            return await self._client.embed(self.sample)

    async def search(self, elements: Sequence[str], clip: tuple[Any, Any]) -> tuple[Hit, ...]:
        """As `InferenceClient.search`."""
        return await self._client.search(elements, clip)

    def conclude(self, strategy: str, said: Candidate, *, num_candidates: int, trace: Mapping[str, Any]) -> Answer:
        """The answer that a candidate gives, with this question's account."""
        return Answer(
            answer=said.answer,
            text=said.text,
            finish_reason=said.finish_reason,
            duration_s=said.duration_s,
            timestamps_s=said.timestamps_s,
            strategy=strategy,
            num_candidates=num_candidates,
            num_calls=self._num_calls,
            num_tokens=self._num_tokens,
            latency_s=round(time.monotonic() - self._started, 4),
            trace={**trace, "confidence_source": "answer_logprobs", "stages_s": self.stages_s},
        )
