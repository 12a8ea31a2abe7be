"""VideoReasoner's locate, resample, answer: two calls find where to look, a third answers from frames chosen there.

Grounding and key elements are asked of the same frames at the same time, while the clip is embedded for retrieval. The
frames that the answer sees are as many as the first ones were: one budget. Where nothing is located, or nearly all of
the clip is, the question is answered from the first frames, and the trace says so.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

from vrl.errors import DataError
from vrl.inference.answer import Answer, Candidate
from vrl.inference.config import BackfillConfig, StrategyConfig
from vrl.inference.frame_selection import Interval, event_intervals, merge, plan_moments, windows
from vrl.inference.question import QuestionContext
from vrl.inference.retrieval import Hit
from vrl.tasks import TASKS
from vrl.types import Prompt, View


@dataclass(frozen=True, kw_only=True, slots=True)
class Located:
    """Where the clip should be looked at closely."""

    intervals: tuple[Interval, ...]  # seconds, merged
    events: tuple[Interval, ...]  # from grounding
    elements: tuple[str, ...]  # from the key-element call, those that were searched for
    hits: tuple[Hit, ...]
    spoken: tuple[str, str]  # what grounding and key elements said


async def backfill(context: QuestionContext, config: StrategyConfig) -> Answer:
    """Locate, resample, answer. Raises DataError for a question without exactly one clip."""
    rules = config.backfill
    sample = context.sample
    if [media.kind for media in sample.media] != ["video"]:
        raise DataError(
            f"sample {sample.sample_id}: got {len(sample.media)} media, wanted one clip (strategy backfill)", "media"
        )
    asked = [replace(sample, task=task) for task in ("grounding", "key_elements", rules.answer_task)]
    with context.stage("show"):
        (grounding, elements, question), patches = await context.show(asked)
    with context.stage("locate"):
        located = await _locate(context, grounding, elements, patches, rules)
    duration_s = question.duration_s
    covered = sum(end - start for start, end in located.intervals) / duration_s
    moments_s: tuple[float, ...] = ()
    why = "nothing was located" if not located.intervals else ""
    if covered > rules.skip_share:
        why = f"{covered:.0%} of the clip was located, more than skip_share={rules.skip_share:g}"
    if not why:
        budget = len(question.timestamps_s)
        with context.stage("resample"):
            moments_s = plan_moments(located.intervals, duration_s, budget, rules)
            (question,), patches = await context.show([question.sample], View(times_s=moments_s))
    with context.stage("answer"):
        (said,) = await context.draw(question, patches, temperature=config.temperature)
    return context.conclude("backfill", said, num_candidates=1, trace=_trace(located, moments_s, said, why))


async def _locate(
    context: QuestionContext, grounding: Prompt, elements: Prompt, patches: Any, rules: BackfillConfig
) -> Located:
    """Both calls and the embedding of the clip concurrently, then the search."""

    async def ask(prompt: Prompt) -> str:
        with context.stage(prompt.sample.task):
            (said,) = await context.draw(prompt, patches, temperature=0.0)
        return said.text

    where, what, clip = await asyncio.gather(ask(grounding), ask(elements), context.embed())
    event = TASKS["grounding"].parse(where)
    list_ = TASKS["key_elements"].parse(what)
    duration_s = grounding.duration_s
    events = event_intervals(event.span_ratios, duration_s) if event is not None else []
    wanted = list_.elements[: rules.max_elements] if list_ is not None else ()
    hits: tuple[Hit, ...] = ()
    if clip is not None and wanted:
        with context.stage("search"):
            hits = await context.search(wanted, clip)
    near = windows([hit.start_s for hit in hits], duration_s, rules.window_s)
    return Located(
        intervals=merge([*events, *near]), events=tuple(events), elements=wanted, hits=hits, spoken=(where, what)
    )


def _trace(located: Located, moments_s: tuple[float, ...], said: Candidate, why: str) -> dict[str, Any]:
    return {
        "grounding": {"text": located.spoken[0], "events_s": [list(event) for event in located.events]},
        "key_elements": {
            "text": located.spoken[1],
            "hits": [
                {"element": hit.element, "start_s": round(hit.start_s, 3), "similarity": hit.similarity}
                for hit in located.hits
            ],
        },
        "intervals_s": [[round(start, 3), round(end, 3)] for start, end in located.intervals],
        "moments_s": [round(moment, 3) for moment in moments_s],
        "uniform_because": why,
        "confidence": round(said.confidence, 4),
    }
