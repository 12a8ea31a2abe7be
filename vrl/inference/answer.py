"""The records of inference: a candidate, an answer. Standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A parsed completion."""

    answer: str  # as written; empty if the completion cannot be parsed or does not answer the question
    key: str  # the answer that it votes for, normalised by its type; empty: no vote
    text: str  # of the completion, special tokens kept
    confidence: float  # in (0, 1]; see vrl.inference.parse_candidate
    keyframes: frozenset[int] = frozenset()  # cited frames that exist
    frame_sensitive: float = 0.0  # s_fs, tau and rho of RLER: see vrl.reward.evidence
    transparency: float = 0.0
    repetition: float = 0.0
    temperature: float = 0.0
    view: str = "frames"  # name of the view that it was drawn from
    finish_reason: str = "stop"  # or "length"
    duration_s: float = 0.0  # of the clip that the model saw
    timestamps_s: tuple[float, ...] = ()  # of the frames that the model saw
    num_tokens: int = 0

    @property
    def evidence(self) -> float:
        """S = (s_fs + tau + (1 - rho) + c) / 4, in [0, 1]. Source: RLER's evidence score, from notes on the paper."""
        return (self.frame_sensitive + self.transparency + 1 - self.repetition + self.confidence) / 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The answer of a strategy to one question, and how it was found."""

    answer: str = ""  # empty: no completion could be parsed as an answer
    text: str = ""  # completion that gives the answer, special tokens kept
    finish_reason: str = ""  # of that completion: "stop" or "length"
    duration_s: float = 0.0  # of the clip that the model saw; 0 without one
    timestamps_s: tuple[float, ...] = ()  # of the frames that the model saw, which its citations number
    strategy: str = ""
    num_candidates: int = 0  # completions that took part in the vote; 1 if there is no vote
    num_calls: int = 0  # requests to an engine
    num_tokens: int = 0  # generated, over all calls
    latency_s: float = 0.0
    trace: Mapping[str, Any] = field(default_factory=dict)  # plain JSON: why this answer

    @property
    def stages_s(self) -> Mapping[str, float]:
        """Seconds per stage of the strategy, in order of their start; stages may overlap."""
        return self.trace.get("stages_s", {})
