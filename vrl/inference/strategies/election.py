"""RLER-Inference over a live client: draw candidates until the election is clear, then ask a referee.

The rules are in vrl.inference.election_rules. The referee is the same model, greedy, shown only the frames that the
leader's supporters cite and asked with the prompt of vrl.tasks.referee.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vrl.errors import DataError
from vrl.inference.answer import Answer, Candidate
from vrl.inference.config import ElectionConfig, StrategyConfig
from vrl.inference.election_rules import CandidateSpec, Outcome, elect, schedule, stop_reason
from vrl.inference.question import QuestionContext
from vrl.inference.strategies.majority import to_trace
from vrl.tasks.referee import NO, YES, answer_words, referee_sample
from vrl.types import View


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The reply of the referee, or why it was not asked."""

    reply: str  # yes | no | unreadable | not asked
    why: str = ""  # reason if it was not asked
    frames: tuple[int, ...] = ()  # numbers of the cited frames that it saw, from 1


async def election(context: QuestionContext, strategy: StrategyConfig) -> Answer:
    """Draw at least one candidate per temperature, at most `election.max_candidates`, and ask the referee once.

    After a no the leader's weights are discounted and the election continues. It draws more candidates if the leader
    still leads or no answer is clearly ahead (that more are drawn is our definition).
    """
    config = strategy.election
    timestamps_s, candidates = await _first_candidates(context, schedule(config)[: len(config.temperatures)])
    outcome, stop = await _draw_until_stop(context, candidates, config)
    verdict, final = Verdict(reply="not asked", why="election.referee=false"), outcome
    if config.referee:
        with context.stage("referee"):
            verdict = await _ask_referee(context, candidates, outcome, timestamps_s, config.referee_task)
    before = _outcome_trace(outcome, candidates)
    if verdict.reply == "no":
        final, stop = await _draw_until_stop(context, candidates, config, refused=outcome.leader)
    trace = {
        "candidates": [to_trace(candidate) for candidate in candidates],
        "stop": stop,
        "election": before,
        "referee": {"said": verdict.reply, "why": verdict.why, "frames": list(verdict.frames)},
        "after_referee": _outcome_trace(final, candidates),
    }
    return context.conclude("election", final.winner, num_candidates=len(candidates), trace=trace)


async def _first_candidates(
    context: QuestionContext, specs: Sequence[CandidateSpec]
) -> tuple[tuple[float, ...], list[Candidate]]:
    """Return the times of the frames, and the first candidates, drawn together from one prompt."""
    with context.stage("prepare"):
        (prompt,), patches = await context.client.prepare([context.sample])
    with context.stage("candidates"):
        drawn = await asyncio.gather(
            *(context.draw(prompt, patches, temperature=spec.temperature, view=spec.name) for spec in specs)
        )
    return prompt.timestamps_s, [candidate for group in drawn for candidate in group]


async def _draw_until_stop(
    context: QuestionContext, candidates: list[Candidate], config: ElectionConfig, refused: str | None = None
) -> tuple[Outcome, str]:
    """Append candidates until there is a reason to stop; return the outcome and the reason."""
    specs, discounts = schedule(config), {refused: config.referee_discount} if refused is not None else {}
    outcome = elect(candidates, config, discounts)
    while not (stop := stop_reason(candidates, outcome, config, refused)):
        spec = specs[len(candidates)]
        with context.stage("more candidates"):
            (prompt,), patches = await context.client.prepare([context.sample], spec.view)
            candidates += await context.draw(prompt, patches, temperature=spec.temperature, view=spec.name)
        outcome = elect(candidates, config, discounts)
    return outcome, stop


async def _ask_referee(
    context: QuestionContext,
    candidates: Sequence[Candidate],
    outcome: Outcome,
    timestamps_s: Sequence[float],
    task: str,
) -> Verdict:
    cited = sorted({k for one in candidates if one.key and one.key == outcome.leader for k in one.keyframes})
    if not cited:
        return Verdict(reply="not asked", why="the leader's supporters cite no frame")
    times_s = [timestamps_s[k - 1] for k in cited]
    view = View(times_s=tuple(times_s + times_s[-1:] * (len(times_s) % 2)))  # frames go in pairs
    sample, winner = context.sample, outcome.winner
    words = answer_words(sample, winner.key if sample.answer_type == "choice" else winner.answer)
    try:
        (prompt,), patches = await context.client.prepare([referee_sample(sample, words, task)], view)
    except DataError as error:
        return Verdict(reply="not asked", why=str(error))
    (reply,) = await context.draw(prompt, patches, temperature=0.0)
    return Verdict(reply={YES: "yes", NO: "no"}.get(reply.key, "unreadable"), frames=tuple(cited))


def _outcome_trace(outcome: Outcome, candidates: Sequence[Candidate]) -> dict[str, Any]:
    dropped = {id(candidate) for candidate in outcome.dropped}
    return {
        "leader": outcome.leader,
        "shares": {key: round(share, 4) for key, share in outcome.shares.items()},
        "margin": round(outcome.margin, 4),
        "confidence": round(outcome.confidence, 4),
        "dropped": [i for i, candidate in enumerate(candidates) if id(candidate) in dropped],
    }
