"""The two plain strategies: one completion, and the answer that most of several completions give."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vrl.inference.answer import Answer, Candidate
from vrl.inference.config import StrategyConfig
from vrl.inference.question import QuestionContext


@dataclass(frozen=True, kw_only=True, slots=True)
class Plurality:
    """How a vote ended. No order of candidates changes it."""

    winner: Candidate  # the most confident of those who gave the winning answer
    votes: tuple[tuple[str, int], ...]  # (answer, voices), most first
    tied: tuple[str, ...]  # answers that shared the first place; empty: one was ahead


def plurality(candidates: Sequence[Candidate]) -> Plurality:
    """The answer with most voices. Who cannot be read has none.

    A tie goes to the answer whose voices are more confident on average, then to the one that sorts first (our
    definition). If none can be parsed, the most confident text wins, with an empty answer.
    """
    voices: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.key:
            voices.setdefault(candidate.key, []).append(candidate)
    if not voices:
        return Plurality(winner=most_confident(candidates), votes=(), tied=())
    ranked = sorted(voices, key=lambda key: (-len(voices[key]), -mean_confidence(voices[key]), key))
    first = [key for key in ranked if len(voices[key]) == len(voices[ranked[0]])]
    return Plurality(
        winner=most_confident(voices[ranked[0]]),
        votes=tuple((key, len(voices[key])) for key in ranked),
        tied=tuple(first) if len(first) > 1 else (),
    )


def most_confident(candidates: Sequence[Candidate]) -> Candidate:
    """The one of highest confidence; of equals the text that sorts first, so that order does not matter."""
    return min(candidates, key=lambda candidate: (-candidate.confidence, candidate.text))


def mean_confidence(candidates: Sequence[Candidate]) -> float:
    """Mean confidence; equal candidates in any order give equal bits."""
    return sum(sorted(candidate.confidence for candidate in candidates)) / len(candidates)


async def single(context: QuestionContext, config: StrategyConfig) -> Answer:
    """One completion of the unchanged question."""
    with context.stage("show"):
        (prompt,), patches = await context.show([context.sample])
    with context.stage("answer"):
        (said,) = await context.draw(prompt, patches, temperature=config.temperature)
    return context.conclude("single", said, num_candidates=1, trace={"confidence": round(said.confidence, 4)})


async def majority(context: QuestionContext, config: StrategyConfig) -> Answer:
    """`majority.candidates` completions of one prompt, sampled together; the answer that most of them give."""
    rule = config.majority
    with context.stage("show"):
        (prompt,), patches = await context.show([context.sample])
    with context.stage("answer"):
        candidates = await context.draw(prompt, patches, temperature=rule.temperature, count=rule.candidates)
    result = plurality(candidates)
    trace = {
        "candidates": [shown(candidate) for candidate in candidates],
        "votes": dict(result.votes),
        "tied": list(result.tied),
    }
    return context.conclude("majority", result.winner, num_candidates=len(candidates), trace=trace)


def shown(candidate: Candidate) -> dict[str, Any]:
    """A candidate in a trace."""
    return {
        "answer": candidate.answer,
        "key": candidate.key,
        "text": candidate.text,
        "keyframes": sorted(candidate.keyframes),
        "confidence": round(candidate.confidence, 4),
        "evidence": round(candidate.evidence, 4),
        "temperature": candidate.temperature,
        "view": candidate.view,
    }
