"""Think, then answer: `<think> ... </think><answer> ... </answer>`, the form of Video-R1 and Video-R2.

The papers prompt with Video-R1's text; ours paraphrases it. The assistant prefix is empty: the policy opens the first
block.
"""

from vrl.errors import DataError
from vrl.tasks.answer import is_answer, question, true_answer
from vrl.tasks.tags import block, is_sequence, refuse_tags, split_thoughts, wrap
from vrl.tasks.task import Clip, Parsed, Task, body
from vrl.types import Sample

TAGS = ("think", "answer")
THINK_FIRST = (
    "Think before you answer, as a person would: look again, doubt, check. "
    "Write your thoughts between <think> and </think>, then the answer alone between <answer> and </answer>."
)
CONCLUSION = "So the answer is {answer}."  # ends the thinking that we write; rule-based judges look for it


def instruction(sample: Sample, clip: Clip) -> str:
    """Return the question and the form of the answer."""
    return f"{question(sample)}\n{THINK_FIRST}"


def target(sample: Sample, clip: Clip) -> str:
    """Return thinking and answer. Raises DataError if either is missing or contains tags."""
    return blocks(sample, thinking(sample, [caption.text for caption in sample.captions]))


def thinking(sample: Sample, sentences: list[str]) -> str:
    """Return the sample's own thinking, else the `sentences` about its clip and the conclusion (our definition).

    Raises DataError if it has neither.
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
    """Return the two blocks. Raises DataError if there is no answer or a block contains tags."""
    answer = true_answer(sample)
    return wrap("think", refuse_tags(sample, thoughts, TAGS)) + wrap("answer", refuse_tags(sample, answer, TAGS))


def parse(text: str) -> Parsed | None:
    """Return the answer outside the thinking, and the thinking if there is any; None without an answer."""
    whole = body(text)
    thoughts, rest = split_thoughts(whole)
    answer = block(rest, "answer")
    return Parsed(answer=answer, thinking=thoughts, tidy=is_sequence(whole, TAGS)) if answer else None


def well_formed(sample: Sample, parsed: Parsed) -> bool:
    """Return whether the text is just the two blocks, with some thinking and an answer to the sample."""
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
