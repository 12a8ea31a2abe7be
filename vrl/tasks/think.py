"""Think, then answer: `<think> ... </think><answer> ... </answer>`, the form of Video-R1 and Video-R2.

The papers' systems prompt with Video-R1's text; ours says the same in our own words. The assistant prefix is empty:
the policy opens the first block itself.
"""

from vrl.errors import DataError
from vrl.tasks.answer import is_answer, question, true_answer
from vrl.tasks.tags import after, block, is_sequence, refuse_tags, wrap
from vrl.tasks.task import Clip, Parsed, Task, body
from vrl.types import Sample

TAGS = ("think", "answer")
THINK_FIRST = (
    "Think before you answer, as a person would: look again, doubt, check. "
    "Write your thoughts between <think> and </think>, then the answer alone between <answer> and </answer>."
)
CONCLUSION = "So the answer is {answer}."  # the last sentence of a thinking that we write; judges by rule look for it


def instruction(sample: Sample, clip: Clip) -> str:
    """The question and the form of the answer."""
    return f"{question(sample)}\n{THINK_FIRST}"


def target(sample: Sample, clip: Clip) -> str:
    """Thinking and answer. Raises DataError where the sample lacks either, or where they hold tags."""
    return blocks(sample, thinking(sample, [caption.text for caption in sample.captions]))


def thinking(sample: Sample, sentences: list[str]) -> str:
    """The sample's own thinking or, without one, the `sentences` about its clip and the conclusion (our definition).

    Raises DataError where it has neither.
    """
    if sample.thinking.strip():
        return sample.thinking.strip()
    if not sentences:
        raise DataError(
            f"sample {sample.sample_id}: got neither thinking nor captions, wanted one of them to learn thinking from "
            f"(task {sample.task})",
            reason="thinking",
        )
    return " ".join([*sentences, CONCLUSION.format(answer=true_answer(sample))])


def blocks(sample: Sample, thoughts: str) -> str:
    """The two blocks. Raises DataError where there is no answer, or where a block contains tags."""
    answer = true_answer(sample)
    return wrap("think", refuse_tags(sample, thoughts, TAGS)) + wrap("answer", refuse_tags(sample, answer, TAGS))


def parse(text: str) -> Parsed | None:
    """The answer behind the thinking, and the thinking if there is one; None without an answer block."""
    whole = body(text)
    answer = block(after(whole, "think"), "answer")
    if not answer:
        return None
    return Parsed(answer=answer, thinking=block(whole, "think") or "", tidy=is_sequence(whole, TAGS))


def well_formed(sample: Sample, parsed: Parsed) -> bool:
    """The two blocks and nothing else, the first not empty, the second an answer to the sample."""
    return parsed.tidy and bool(parsed.thinking) and is_answer(sample, parsed.answer)


TASK = Task(
    name="think",
    prefix="",
    instruction=instruction,
    target=target,
    parse=parse,
    well_formed=well_formed,
    rewards=("accuracy", "format"),
    needs=("answer",),
    thinks=True,
)
