"""The words of the toy world: colours, shapes and all sentences about a clip.

Holds text only: `scene` decides what happens in a clip, `questions` which sentences are true of it, and `model` which
tokens the words become.
"""

from collections.abc import Iterator

from vrl.tasks import TASKS
from vrl.tasks.answer import ANSWER_TYPES
from vrl.tasks.task import Clip, Task
from vrl.types import Caption, Sample

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 190, 60),
    "blue": (50, 70, 230),
    "yellow": (235, 220, 50),
    "purple": (150, 50, 190),
    "cyan": (60, 205, 215),
    "orange": (240, 140, 30),
    "white": (245, 245, 245),
}
SHAPES = ("circle", "square", "triangle", "cross")
DIRECTIONS = ("left", "right")
LETTERS = "ABCDEFGH"

WHAT_COLOUR = "What color is the {shape}?"
COLOUR_FIRST = "What color is the {shape} when it appears?"
COLOUR_LAST = "What color is the {shape} when it vanishes?"
COLOUR_WHILE = "What color is the {shape} when the {other} appears?"
HOW_MANY = "How many colored shapes are there?"
HOW_MANY_COLOURS = "How many colors does the {shape} have?"
WHICH_FIRST = "Which shape appears first?"
WHICH_WAY = "Which way does the {shape} move?"
WHEN_VISIBLE = "When is the {shape} visible?"
WHEN_COLOUR = "When is the {shape} {colour}?"
LIST_ALL = "List the key elements."
QUESTIONS = (
    WHAT_COLOUR,
    COLOUR_FIRST,
    COLOUR_LAST,
    COLOUR_WHILE,
    HOW_MANY,
    HOW_MANY_COLOURS,
    WHICH_FIRST,
    WHICH_WAY,
    WHEN_VISIBLE,
    WHEN_COLOUR,
    LIST_ALL,
)

NOTHING = "Nothing is visible."
SEEN = "There is {things}."

_PROMPT_WORDS = "system user assistant seconds video picture"


def corpus() -> Iterator[str]:
    """Yield text with every word that becomes one token of the toy tokenizer, with and without a leading space."""
    for word in (*COLOURS, *SHAPES, *DIRECTIONS, *LETTERS, *_PROMPT_WORDS.split()):
        yield f"{word} {word}"
    yield from (*QUESTIONS, NOTHING, SEEN, "a an and", *_task_texts())
    yield from (f"[{hundredth / 100:.2f}, {hundredth / 100:.2f}]" for hundredth in range(101))
    yield from (f"{hundredth / 100:.2f}" for hundredth in range(100))


def toy_tasks() -> list[Task]:
    """Return the tasks whose words are whole tokens; a later task would change the tokenizer, and so all toy files."""
    return [task for name, task in TASKS.items() if name != "think_seconds"]


def _task_texts() -> Iterator[str]:
    """Yield the instruction of every task, and an answer in its form."""
    clip = Clip(duration_s=8.0, timestamps_s=(0.0, 4.0))
    for answer_type in ANSWER_TYPES:
        sample = Sample(
            sample_id="corpus",
            task="",
            question="",
            answer="A",
            answer_type=answer_type,
            spans=((2.0, 4.0),),
            captions=tuple(Caption(start_s=2.0, end_s=4.0, text=text) for text in (NOTHING, SEEN)),
            key_elements=("red circle", "red square"),
        )
        for task in toy_tasks():
            yield f"{task.instruction(sample, clip)} {task.prefix}{task.target(sample, clip)}"
