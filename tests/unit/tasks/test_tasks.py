"""Tasks: prefixes, targets and parsers."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vrl.errors import DataError
from vrl.tasks import TASKS
from vrl.tasks.task import EVENT_END, EVENT_START, Parsed
from vrl.tasks.vqa import choice_letter, number
from vrl.types import Sample

VQA, GROUNDING, ELEMENTS = TASKS["vqa"], TASKS["grounding"], TASKS["key_elements"]


def sample(**fields: object) -> Sample:
    return Sample(**{"sample_id": "s1", "task": "vqa", "question": "Which one?", **fields})  # type: ignore[arg-type]


def test_a_task_is_found_by_its_file_and_carries_its_name() -> None:
    assert {"vqa", "grounding", "key_elements"} <= set(TASKS)
    assert all(task.name == name for name, task in TASKS.items())


def test_white_space_between_prefix_and_target_is_one_space_owned_by_the_target() -> None:
    truth = sample(
        answer="B", answer_type="choice", options=("x", "y"), spans=((1.0, 2.0),), key_elements=("red ball",)
    )
    for task in TASKS.values():
        assert task.prefix == task.prefix.strip()
        target = task.target(truth, 10.0)
        assert target[0] == " " and target[1] != " " and target == target.rstrip()


def test_choice_question_lists_its_options_one_a_line() -> None:
    text = VQA.instruction(sample(answer_type="choice", options=("red", "blue")))
    assert text.splitlines()[:3] == ["Which one?", "A. red", "B. blue"]


@pytest.mark.parametrize(
    ("answer", "letter"),
    [("B", "B"), ("B.", "B"), ("(B)", "B"), ("B. blue", "B"), ("Blue", "B"), ("C", None), ("A dog", None), ("", None)],
)
def test_choice_letter(answer: str, letter: str | None) -> None:
    assert choice_letter(answer, ("red", "blue")) == letter


@pytest.mark.parametrize(
    ("answer", "digits"),
    [
        ("3", "3"),
        ("-2.50", "-2.50"),
        ("1,234.5", "1234.5"),
        ("3.", "3."),
        (".5", ".5"),
        ("3 balls", None),
        ("1,23", None),
    ],
)
def test_number(answer: str, digits: str | None) -> None:
    assert number(answer) == digits


def test_grounding_target_is_fractions_of_the_duration() -> None:
    assert GROUNDING.target(sample(spans=((1.0, 2.5),)), 8.0) == f" {EVENT_START}[0.12, 0.31]{EVENT_END}"
    two = GROUNDING.target(sample(spans=((0.0, 2.0), (4.0, 8.0))), 8.0)
    assert GROUNDING.parse(two) == Parsed(span_ratios=((0.0, 0.25), (0.5, 1.0)))


def test_an_event_that_rounds_to_nothing_still_has_a_length() -> None:
    assert GROUNDING.target(sample(spans=((50.0, 50.1),)), 100.0) == f" {EVENT_START}[0.50, 0.51]{EVENT_END}"
    assert GROUNDING.target(sample(spans=((99.8, 100.0),)), 100.0) == f" {EVENT_START}[0.99, 1.00]{EVENT_END}"


@pytest.mark.parametrize("spans", [(), ((2.0, 1.0),), ((-1.0, 1.0),), ((1.0, 11.0),)])
def test_grounding_target_refuses_spans_that_are_no_events(spans: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(DataError, match="s1"):
        GROUNDING.target(sample(spans=spans), 10.0)


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        (f"between {EVENT_START}[0.1, 0.2]{EVENT_END}.<|im_end|>", ((0.1, 0.2),)),
        (f"{EVENT_START} .1,  1 {EVENT_END}", ((0.1, 1.0),)),
        (f"{EVENT_START}[0.9, 0.2]{EVENT_END}", ((0.9, 0.2),)),
        (f"{EVENT_START}[0.1, 0.2]", None),
        (f"{EVENT_END}[0.1, 0.2]{EVENT_START}", None),
        (f"{EVENT_START}[0.1]{EVENT_END}", None),
        (f"{EVENT_START}[nan, inf]{EVENT_END}", None),
        (f"<|im_end|>{EVENT_START}[0.1, 0.2]{EVENT_END}", None),
        ("[0.1, 0.2]", None),
    ],
)
def test_grounding_parse(text: str, spans: tuple[tuple[float, float], ...] | None) -> None:
    assert GROUNDING.parse(text) == (None if spans is None else Parsed(span_ratios=spans))


def test_well_formed_asks_for_what_the_sample_asks_for() -> None:
    choice = sample(answer_type="choice", options=("red", "blue"))
    assert VQA.well_formed(choice, Parsed(answer="B")) and not VQA.well_formed(choice, Parsed(answer="C"))
    assert VQA.well_formed(sample(answer_type="number"), Parsed(answer="3"))
    assert not VQA.well_formed(sample(answer_type="number"), Parsed(answer="three"))
    assert not VQA.well_formed(sample(answer_type="text"), Parsed(answer="red\nblue"))
    assert GROUNDING.well_formed(sample(), Parsed(span_ratios=((0.1, 0.2),)))
    assert not GROUNDING.well_formed(sample(), Parsed(span_ratios=((0.1, 0.2), (0.4, 0.3))))
    assert not GROUNDING.well_formed(sample(), Parsed(span_ratios=((0.1, 1.2),)))
    assert not ELEMENTS.well_formed(sample(), Parsed(elements=("ball", "Ball")))


@pytest.mark.parametrize("elements", [(), ("red, blue",), (" ",)])
def test_key_elements_target_refuses_what_it_could_not_read_back(elements: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="s1"):
        ELEMENTS.target(sample(key_elements=elements), 1.0)


def test_an_empty_answer_is_no_target() -> None:
    with pytest.raises(DataError, match="empty answer"):
        VQA.target(sample(answer=" "), 1.0)


PIECES = st.sampled_from(
    [
        EVENT_START,
        EVENT_END,
        "<|im_end|>",
        "[",
        "]",
        ",",
        "0.1",
        "0.25",
        "1",
        " ",
        "\n",
        "A",
        "(",
        ".",
        "-",
        "red",
        "1" * 90,
    ]
)
FUZZ = st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=30).map("".join)


@settings(max_examples=1000, deadline=None)
@given(FUZZ, st.sampled_from(["choice", "number", "text", "span", "elements"]))
def test_no_text_makes_a_parser_raise(text: str, answer_type: str) -> None:
    row = sample(answer_type=answer_type, options=("red", "blue"))
    for task in TASKS.values():
        parsed = task.parse(text)
        assert parsed is None or task.well_formed(row, parsed) in (True, False)
        assert task.parse("<|im_end|>" + text) is None


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 0.98), st.floats(0.011, 1)), min_size=1, max_size=4), st.floats(0.5, 4000))
def test_a_grounding_target_reads_back_within_its_rounding(pairs: list[tuple[float, float]], duration_s: float) -> None:
    spans = tuple((a * duration_s, min(1.0, a + b) * duration_s) for a, b in pairs)
    parsed = GROUNDING.parse(GROUNDING.target(sample(spans=spans), duration_s) + "<|im_end|>")
    assert parsed is not None and GROUNDING.well_formed(sample(), parsed)
    for (start, end), (start_s, end_s) in zip(parsed.span_ratios, spans, strict=True):
        assert abs(start - start_s / duration_s) <= 0.00501 and abs(end - end_s / duration_s) <= 0.00501


WORDS = st.text("abcdefg hijk", min_size=1, max_size=12).map(str.strip).filter(bool)


@given(st.lists(WORDS, min_size=1, max_size=8, unique=True), WORDS)
def test_other_targets_read_back_whole(elements: list[str], answer: str) -> None:
    row = sample(key_elements=tuple(elements), answer=answer)
    assert ELEMENTS.parse(ELEMENTS.target(row, 1.0) + "<|im_end|>") == Parsed(elements=tuple(elements))
    assert VQA.parse(VQA.target(row, 1.0) + "<|im_end|>") == Parsed(answer=answer)


LONG = [EVENT_START, EVENT_START + "[", "[ ", "1", ",", "1,234", "(A", "\u00e9", f"{EVENT_START}[0.1, 0.2]{EVENT_END}"]
INSIDE = [" ", "[", "[ ", "1", "0.1, ", "0.1 ", ".1"]


@pytest.mark.parametrize(
    "text",
    [piece * 100_000 for piece in LONG] + [f"{EVENT_START}[{piece * 100_000}{EVENT_END}" for piece in INSIDE],
    ids=lambda text: repr(text[:24]),
)
def test_long_text_takes_bounded_time(text: str) -> None:
    start = time.perf_counter()
    for task in TASKS.values():
        parsed = task.parse(text)
        if parsed is not None:
            task.well_formed(sample(answer_type="number"), parsed)
    assert time.perf_counter() - start < 2.0
