"""RLER-Inference over a live client: draw candidates until the election is clear, then let a referee see the evidence.

The rules are in vrl.inference.election_rules. The referee is the same model, greedy, shown only the frames
that the leader's supporters cite and asked with the prompt of vrl.tasks.referee.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vrl.errors import DataError
from vrl.inference.answer import Answer, Candidate
from vrl.inference.config import ElectionConfig, StrategyConfig
from vrl.inference.election_rules import Outcome, Slot, elect, schedule, stop_reason
from vrl.inference.question import QuestionContext
from vrl.inference.strategies.majority import shown
from vrl.tasks.referee import NO, YES, answer_words, referee_sample
from vrl.types import View


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What the referee said."""

    said: str  # yes | no | unreadable | not asked
    why: str = ""  # it was not asked
    frames: tuple[int, ...] = ()  # that it was shown: cited numbers, from 1


async def election(context: QuestionContext, config: StrategyConfig) -> Answer:
    """RLER-Inference: at least one candidate a temperature, at most `election.max_candidates`, one referee pass.

    After a no the leader's weights are discounted and the election continues, with more candidates where the leader
    still leads or none is clearly ahead (that more are drawn is our definition).
    """
    rules = config.election
    timestamps_s, candidates = await _open(context, schedule(rules)[: len(rules.temperatures)])
    outcome, stop = await _settle(context, candidates, rules)
    verdict, final = Verdict(said="not asked", why="election.referee=false"), outcome
    if rules.referee:
        with context.stage("referee"):
            verdict = await _referee(context, candidates, outcome, timestamps_s, rules.referee_task)
    before = _standing(outcome, candidates)
    if verdict.said == "no":
        final, stop = await _settle(context, candidates, rules, refused=outcome.leader)
    trace = {
        "candidates": [shown(candidate) for candidate in candidates],
        "stop": stop,
        "election": before,
        "referee": {"said": verdict.said, "why": verdict.why, "frames": list(verdict.frames)},
        "after_referee": _standing(final, candidates),
    }
    return context.conclude("election", final.winner, num_candidates=len(candidates), trace=trace)


async def _settle(
    context: QuestionContext, candidates: list[Candidate], rules: ElectionConfig, refused: str | None = None
) -> tuple[Outcome, str]:
    """Add candidates until there is a reason to stop: the outcome, and the reason."""
    slots, discounts = schedule(rules), {refused: rules.referee_discount} if refused is not None else {}
    outcome = elect(candidates, rules, discounts)
    while not (stop := stop_reason(candidates, outcome, rules, refused)):
        slot = slots[len(candidates)]
        with context.stage("more candidates"):
            (prompt,), patches = await context.show([context.sample], slot.view)
            candidates += await context.draw(prompt, patches, temperature=slot.temperature, view=slot.name)
        outcome = elect(candidates, rules, discounts)
    return outcome, stop


async def _open(context: QuestionContext, slots: Sequence[Slot]) -> tuple[tuple[float, ...], list[Candidate]]:
    """Times of the frames, and the first candidates, drawn together from one prompt."""
    with context.stage("show"):
        (prompt,), patches = await context.show([context.sample])
    with context.stage("candidates"):
        drawn = await asyncio.gather(
            *(context.draw(prompt, patches, temperature=slot.temperature, view=slot.name) for slot in slots)
        )
    return prompt.timestamps_s, [candidate for group in drawn for candidate in group]


async def _referee(
    context: QuestionContext,
    candidates: Sequence[Candidate],
    outcome: Outcome,
    timestamps_s: Sequence[float],
    task: str,
) -> Verdict:
    cited = sorted({k for one in candidates if one.key and one.key == outcome.leader for k in one.keyframes})
    if not cited:
        return Verdict(said="not asked", why="the leader's supporters cite no frame")
    times_s = [timestamps_s[k - 1] for k in cited]
    view = View(times_s=tuple(times_s + times_s[-1:] * (len(times_s) % 2)))  # frames go in pairs
    sample, winner = context.sample, outcome.winner
    words = answer_words(sample, winner.key if sample.answer_type == "choice" else winner.answer)
    try:
        (prompt,), patches = await context.show([referee_sample(sample, words, task)], view)
    except DataError as error:
        return Verdict(said="not asked", why=str(error))
    (reply,) = await context.draw(prompt, patches, temperature=0.0)
    said = {YES: "yes", NO: "no"}.get(reply.key, "unreadable")
    return Verdict(said=said, frames=tuple(cited))


def _standing(outcome: Outcome, candidates: Sequence[Candidate]) -> dict[str, Any]:
    dropped = {id(candidate) for candidate in outcome.dropped}
    return {
        "leader": outcome.leader,
        "shares": {key: round(share, 4) for key, share in outcome.shares.items()},
        "margin": round(outcome.margin, 4),
        "confidence": round(outcome.confidence, 4),
        "dropped": [i for i, candidate in enumerate(candidates) if id(candidate) in dropped],
    }
