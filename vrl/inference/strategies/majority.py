"""The two plain strategies: one completion, and the answer that most of several completions give."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vrl.inference.answer import Answer, Candidate
from vrl.inference.config import StrategyConfig
from vrl.inference.question import QuestionContext


@dataclass(frozen=True, kw_only=True, slots=True)
class Plurality:
    """The result of a vote. It does not depend on the order of candidates."""

    winner: Candidate  # the most confident of those that give the winning answer
    votes: tuple[tuple[str, int], ...]  # (answer, number of votes), most first
    tied: tuple[str, ...]  # answers that share the first place; empty if one leads


def plurality(candidates: Sequence[Candidate]) -> Plurality:
    """Return the answer with most votes. Unparseable candidates get no vote.

    A tie goes to the answer with the higher mean confidence, then to the one that sorts first (our definition). If no
    candidate can be parsed, the most confident text wins, with an empty answer.
    """
    votes: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.key:
            votes.setdefault(candidate.key, []).append(candidate)
    if not votes:
        return Plurality(winner=most_confident(candidates), votes=(), tied=())
    ranked = sorted(votes, key=lambda key: (-len(votes[key]), -mean_confidence(votes[key]), key))
    first = [key for key in ranked if len(votes[key]) == len(votes[ranked[0]])]
    return Plurality(
        winner=most_confident(votes[ranked[0]]),
        votes=tuple((key, len(votes[key])) for key in ranked),
        tied=tuple(first) if len(first) > 1 else (),
    )


def most_confident(candidates: Sequence[Candidate]) -> Candidate:
    """Return the most confident candidate; a tie goes to the text that sorts first, so that order does not matter."""
    return min(candidates, key=lambda candidate: (-candidate.confidence, candidate.text))


def mean_confidence(candidates: Sequence[Candidate]) -> float:
    """Return the mean confidence, bit-identical for any order of candidates."""
    return sum(sorted(candidate.confidence for candidate in candidates)) / len(candidates)


async def single(context: QuestionContext, strategy: StrategyConfig) -> Answer:
    """Return the answer of one completion."""
    with context.stage("prepare"):
        (prompt,), patches = await context.client.prepare([context.sample])
    with context.stage("answer"):
        (candidate,) = await context.draw(prompt, patches, temperature=strategy.temperature)
    return context.conclude("single", candidate, num_candidates=1, trace={"confidence": round(candidate.confidence, 4)})


async def majority(context: QuestionContext, strategy: StrategyConfig) -> Answer:
    """Return the answer that most of `majority.candidates` completions of one prompt give."""
    config = strategy.majority
    with context.stage("prepare"):
        (prompt,), patches = await context.client.prepare([context.sample])
    with context.stage("answer"):
        candidates = await context.draw(prompt, patches, temperature=config.temperature, count=config.candidates)
    result = plurality(candidates)
    trace = {
        "candidates": [to_trace(candidate) for candidate in candidates],
        "votes": dict(result.votes),
        "tied": list(result.tied),
    }
    return context.conclude("majority", result.winner, num_candidates=len(candidates), trace=trace)


def to_trace(candidate: Candidate) -> dict[str, Any]:
    """Return a candidate as plain JSON for a trace."""
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
