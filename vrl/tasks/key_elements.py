"""Key elements to look for in the clip, most important first, comma-separated on one line (VideoReasoner)."""

from vrl.errors import DataError
from vrl.tasks.normal_form import normalise
from vrl.tasks.task import Clip, Parsed, Task, body
from vrl.types import Sample


def instruction(sample: Sample, clip: Clip) -> str:
    """Return the question and the form of the answer."""
    return f"{sample.question}\nList the key elements to look for, most important first, separated by commas."


def target(sample: Sample, clip: Clip) -> str:
    """Return the true elements in order. Raises DataError if there is none or one contains a separator."""
    elements = [element.strip() for element in sample.key_elements]
    if not elements or not all(elements) or any("," in element or "\n" in element for element in elements):
        raise DataError(
            f"sample {sample.sample_id}: got key_elements {list(sample.key_elements)}, wanted at least one, none "
            "empty, without commas and line breaks (task key_elements)",
            reason="elements",
        )
    return " " + ", ".join(elements)


def parse(text: str) -> Parsed | None:
    """Return the comma-separated pieces, stripped and without empty ones; None if there are none."""
    elements = tuple(piece.strip() for piece in body(text).split(",") if piece.strip())
    return Parsed(elements=elements) if elements else None


def well_formed(sample: Sample, parsed: Parsed) -> bool:
    """Return whether the elements are on one line, none twice."""
    keys = [normalise(element) for element in parsed.elements]
    return len(set(keys)) == len(keys) and all(len(element.splitlines()) == 1 for element in parsed.elements)


TASK = Task(
    name="key_elements",
    prefix="I want to output the key elements:",
    instruction=instruction,
    target=target,
    parse=parse,
    well_formed=well_formed,
    rewards=("element_f1", "format"),
    needs=("key_elements",),
)
