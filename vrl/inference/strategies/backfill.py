"""VideoReasoner's locate, resample, answer: two calls find where to look, a third answers from frames chosen there.

Grounding and key elements are asked about the same frames at the same time, while the clip is embedded for retrieval.
The final call sees as many frames as the first ones: one budget. If nothing is located, or nearly all of the clip, the
question is answered from the first frames, and the trace says so.
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
    """The intervals of a clip to sample densely, and how they were found."""

    intervals: tuple[Interval, ...]  # seconds, merged
    events: tuple[Interval, ...]  # from grounding
    hits: tuple[Hit, ...]  # from key elements and retrieval
    grounding_text: str
    elements_text: str


async def backfill(context: QuestionContext, strategy: StrategyConfig) -> Answer:
    """Locate, resample, answer. Raises DataError for a question without exactly one clip."""
    config = strategy.backfill
    sample = context.sample
    if [media.kind for media in sample.media] != ["video"]:
        raise DataError(
            f"sample {sample.sample_id}: got {len(sample.media)} media, wanted one clip (strategy backfill)", "media"
        )
    questions = [replace(sample, task=task) for task in ("grounding", "key_elements", config.answer_task)]
    with context.stage("prepare"):
        (grounding, elements, question), patches = await context.client.prepare(questions)
    with context.stage("locate"):
        located = await _locate(context, grounding, elements, patches, config)
    duration_s = question.duration_s
    covered = sum(end - start for start, end in located.intervals) / duration_s
    moments_s: tuple[float, ...] = ()
    why = "nothing was located" if not located.intervals else ""
    if covered > config.skip_share:
        why = f"{covered:.0%} of the clip was located, more than skip_share={config.skip_share:g}"
    if not why:
        budget = len(question.timestamps_s)
        with context.stage("resample"):
            moments_s = plan_moments(located.intervals, duration_s, budget, config)
            (question,), patches = await context.client.prepare([question.sample], View(times_s=moments_s))
    with context.stage("answer"):
        (candidate,) = await context.draw(question, patches, temperature=strategy.temperature)
    return context.conclude("backfill", candidate, num_candidates=1, trace=_trace(located, moments_s, candidate, why))


async def _locate(
    context: QuestionContext, grounding: Prompt, elements: Prompt, patches: Any, config: BackfillConfig
) -> Located:
    """Run both calls and the embedding of the clip concurrently, then search the clip for the key elements."""

    async def ask(prompt: Prompt) -> str:
        with context.stage(prompt.sample.task):
            (candidate,) = await context.draw(prompt, patches, temperature=0.0)
        return candidate.text

    grounding_text, elements_text, clip = await asyncio.gather(ask(grounding), ask(elements), context.embed())
    event = TASKS["grounding"].parse(grounding_text)
    parsed = TASKS["key_elements"].parse(elements_text)
    duration_s = grounding.duration_s
    events = event_intervals(event.span_ratios, duration_s) if event is not None else []
    wanted = parsed.elements[: config.max_elements] if parsed is not None else ()
    hits: tuple[Hit, ...] = ()
    if clip is not None and wanted:
        with context.stage("search"):
            hits = await context.client.search(wanted, clip)
    near = windows([hit.start_s for hit in hits], duration_s, config.window_s)
    return Located(
        intervals=merge([*events, *near]),
        events=tuple(events),
        hits=hits,
        grounding_text=grounding_text,
        elements_text=elements_text,
    )


def _trace(located: Located, moments_s: tuple[float, ...], candidate: Candidate, why: str) -> dict[str, Any]:
    return {
        "grounding": {"text": located.grounding_text, "events_s": [list(event) for event in located.events]},
        "key_elements": {
            "text": located.elements_text,
            "hits": [
                {"element": hit.element, "start_s": round(hit.start_s, 3), "similarity": hit.similarity}
                for hit in located.hits
            ],
        },
        "intervals_s": [[round(start, 3), round(end, 3)] for start, end in located.intervals],
        "moments_s": [round(moment, 3) for moment in moments_s],
        "uniform_because": why,
        "confidence": round(candidate.confidence, 4),
    }
