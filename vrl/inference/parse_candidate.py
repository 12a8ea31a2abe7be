"""From a completion to a candidate: its answer, its vote, its evidence, its confidence. Pure.

Confidence is our definition, because notes on RLER leave it open: exp of the mean log-probability of the tokens that
spell the answer, as the engine reports it. It takes no further call to the model.
"""

import math
from bisect import bisect_left, bisect_right
from typing import Any

from vrl.config import RewardConfig
from vrl.inference.answer import Candidate
from vrl.reward.evidence import anti_repetition, frame_sensitive, think_transparency, valid_frames
from vrl.reward.inputs import RewardInput
from vrl.tasks import TASKS
from vrl.tasks.answer import choice_letter, number
from vrl.tasks.normal_form import normalise
from vrl.tasks.tags import from_header
from vrl.tasks.task import body
from vrl.types import Completion, Prompt, Sample


def parse_candidate(
    prompt: Prompt, completion: Completion, tokenizer: Any, config: RewardConfig, *, temperature: float, view: str
) -> Candidate:
    """Return a completion as a candidate. In tasks without an answer (spans, elements) its whole text is the answer."""
    sample = prompt.sample
    task = TASKS[sample.task]
    text = from_header(prompt.text, completion.text)
    parsed = task.parse(text)
    answer = (parsed.answer or body(text)) if parsed is not None else ""
    key = vote_key(sample, answer)
    thinking = parsed.thinking if parsed is not None else ""
    inputs = RewardInput(
        task=task,
        sample=sample,
        duration_s=prompt.duration_s,
        timestamps_s=prompt.timestamps_s,
        text=text,
        parsed=parsed,
        finish_reason=completion.finish_reason,
        num_tokens=len(completion.token_ids),
        num_thinking_tokens=len(tokenizer(thinking, add_special_tokens=False)["input_ids"]) if thinking else 0,
        config=config,
    )
    return Candidate(
        answer=answer if key else "",
        key=key,
        text=text,
        confidence=confidence(completion, answer, tokenizer),
        keyframes=frozenset(valid_frames(inputs)),
        frame_sensitive=frame_sensitive(inputs),
        transparency=think_transparency(inputs) if thinking else 0.0,
        repetition=-anti_repetition(inputs),
        temperature=temperature,
        view=view,
        finish_reason=completion.finish_reason,
        duration_s=prompt.duration_s,
        timestamps_s=prompt.timestamps_s,
        num_tokens=len(completion.token_ids),
    )


def vote_key(sample: Sample, answer: str) -> str:
    """Return the key that an answer votes for: a letter, a number or normalised words; empty if it is none (ours)."""
    if sample.answer_type == "choice":
        return choice_letter(answer, sample.options) or ""
    if sample.answer_type in ("number", "regression"):
        digits = number(answer)
        return repr(float(digits)) if digits is not None else ""
    return normalise(answer)


def confidence(completion: Completion, answer: str, tokenizer: Any) -> float:
    """Return exp of the mean log-probability of the answer's tokens; 0 without an answer.

    It is searched for before the last closing answer tag, where the tasks' parsers find it, or from the start.
    """
    text = completion.text
    end = text.rfind("</answer>")
    start = text.find(answer) if end < 0 else text.rfind(answer, 0, end)
    if not answer or start < 0:
        return 0.0

    def length(num_tokens: int) -> int:
        return len(tokenizer.decode(completion.token_ids[:num_tokens].tolist()))

    counts = range(len(completion.token_ids) + 1)
    first = bisect_right(counts, start, key=length) - 1
    last = bisect_left(counts, start + len(answer), key=length)
    return math.exp(float(completion.rollout_logprobs[first:last].mean())) if last > first else 0.0
