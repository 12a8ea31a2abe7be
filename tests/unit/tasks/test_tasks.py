"""Tasks: prefixes, targets and parsers."""

import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vrl.errors import DataError
from vrl.tasks import TASKS
from vrl.tasks.answer import ANSWER_TYPES, choice_letter, number
from vrl.tasks.clock import clock, clock_span, mentions
from vrl.tasks.task import EVENT_END, EVENT_START, Clip, Parsed
from vrl.tasks.think_keyframes import evidence_frames
from vrl.types import Caption, Sample

VQA, GROUNDING, ELEMENTS = TASKS["vqa"], TASKS["grounding"], TASKS["key_elements"]
THINK, TIMED, CITING = TASKS["think"], TASKS["think_timestamps"], TASKS["think_keyframes"]
CAPTIONS = (
    Caption(start_s=0.0, end_s=2.5, text="Nothing is visible."),
    Caption(start_s=2.5, end_s=10.0, text="There is a red ball."),
)


def clip(duration_s: float, num_frames: int = 10) -> Clip:
    return Clip(duration_s=duration_s, timestamps_s=tuple(k * duration_s / num_frames for k in range(num_frames)))


def sample(**fields: object) -> Sample:
    return Sample(**{"sample_id": "s1", "task": "vqa", "question": "Which one?", **fields})  # type: ignore[arg-type]


def test_a_task_is_found_by_its_file_and_carries_its_name() -> None:
    assert {"vqa", "grounding", "key_elements"} <= set(TASKS)
    assert all(task.name == name for name, task in TASKS.items())


def test_white_space_between_prefix_and_target_is_one_space_owned_by_the_target() -> None:
    truth = sample(
        answer="B",
        answer_type="choice",
        options=("x", "y"),
        spans=((1.0, 2.0),),
        key_elements=("red ball",),
        captions=CAPTIONS,
    )
    for task in TASKS.values():
        assert task.prefix == task.prefix.strip()
        target = task.target(truth, clip(10.0))
        assert target.startswith(" ") == bool(task.prefix)
        assert target.strip() == target.removeprefix(" ")


def test_choice_question_lists_its_options_one_a_line() -> None:
    text = VQA.instruction(sample(answer_type="choice", options=("red", "blue")), clip(10.0))
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
        ("3.", "3"),
        ("3.0.", "3.0"),
        ("\uff13\uff0e\uff15", "3.5"),  # full-width
        ("\u22123", "-3"),
        ("3\u00b2", None),
        (".5", ".5"),
        ("3 balls", None),
        ("1,23", None),
    ],
)
def test_number(answer: str, digits: str | None) -> None:
    assert number(answer) == digits


def test_grounding_target_is_fractions_of_the_duration() -> None:
    assert GROUNDING.target(sample(spans=((1.0, 2.5),)), clip(8.0)) == f" {EVENT_START}[0.12, 0.31]{EVENT_END}"
    two = GROUNDING.target(sample(spans=((0.0, 2.0), (4.0, 8.0))), clip(8.0))
    assert GROUNDING.parse(two) == Parsed(span_ratios=((0.0, 0.25), (0.5, 1.0)))


def test_an_event_that_ends_after_the_clip_is_clipped_to_it() -> None:
    target = GROUNDING.target(sample(spans=((6.0, 11.0),)), clip(8.0))
    assert target == f" {EVENT_START}[0.75, 1.00]{EVENT_END}"
    assert evidence_frames(sample(spans=((9.5, 30.0),)), clip(10.0, 4)) == [4]  # between frames: 9.75 s is nearest
    with pytest.raises(DataError, match=r"got span \[10, 30\] s.*the clip's end at 10\.00 s"):
        evidence_frames(sample(spans=((10.0, 30.0),)), clip(10.0, 4))


@pytest.mark.parametrize(
    ("text", "spans", "good"),
    [
        ("<think>It.</think><answer>12.54 to 17.83</answer>", ((12.54, 17.83),), True),
        ("<think>It.</think>\n<answer>From 3 and 4.5, or 5 TO 6.5 s.</answer><|im_end|>", ((5.0, 6.5),), True),
        ("<answer>2 to 3</answer>", ((2.0, 3.0),), False),  # no thoughts
        ("<think>It.</think><answer>9 to 3</answer>", ((9.0, 3.0),), False),  # reversed
        ("<think>It.</think>So: <answer>1 to 2</answer>", ((1.0, 2.0),), False),  # text between the blocks
        ("<think>1 to 2</think><answer>soon</answer>", None, False),
        ("<think>It.</think><answer>1 to 2", None, False),
        ("<think>It.</think><answer>12345678 to 2</answer>", None, False),
    ],
)
def test_an_event_in_seconds(text: str, spans: tuple | None, good: bool) -> None:
    parsed = TASKS["think_seconds"].parse(text)
    assert (parsed.span_seconds if parsed else None) == spans
    assert parsed is None or TASKS["think_seconds"].well_formed(sample(), parsed) == good


def test_a_target_in_seconds_is_clipped_and_reads_back() -> None:
    target = TASKS["think_seconds"].target(sample(spans=((6.0, 11.0),), thinking="A ball."), clip(8.0))
    assert target == "<think>A ball.</think><answer>6.00 to 8.00</answer>"
    parsed = TASKS["think_seconds"].parse(target)
    assert parsed is not None and parsed.events(8.0) == ((0.75, 1.0),) and parsed.events(0.0) == ()
    for fields, reason in (({"spans": ((1.0, 2.0),)}, "thinking"), ({"thinking": "A ball."}, "spans")):
        with pytest.raises(DataError) as caught:
            TASKS["think_seconds"].target(sample(**fields), clip(8.0))
        assert caught.value.reason == reason


def test_an_event_that_rounds_to_nothing_still_has_a_length() -> None:
    assert GROUNDING.target(sample(spans=((50.0, 50.1),)), clip(100.0)) == f" {EVENT_START}[0.50, 0.51]{EVENT_END}"
    assert GROUNDING.target(sample(spans=((99.8, 100.0),)), clip(100.0)) == f" {EVENT_START}[0.99, 1.00]{EVENT_END}"


@pytest.mark.parametrize(
    "spans", [(), ((2.0, 1.0),), ((-1.0, 1.0),), ((10.0, 11.0),), ((1.0, 2.0), (12.0, 13.0)), ((3.0, 3.0),)]
)
def test_grounding_target_refuses_spans_that_are_no_events(spans: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(DataError, match="s1"):
        GROUNDING.target(sample(spans=spans), clip(10.0))


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        (f" {EVENT_START}[0.1, 0.2]{EVENT_END} <|im_end|> more", ((0.1, 0.2),)),
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
        ELEMENTS.target(sample(key_elements=elements), clip(1.0))


def test_an_empty_answer_is_no_target() -> None:
    with pytest.raises(DataError, match="empty answer"):
        VQA.target(sample(answer=" "), clip(1.0))


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
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "<keyframes>",
        "</keyframes>",
        "3-5",
        "00:02",
    ]
)
FUZZED_TYPES = [*ANSWER_TYPES, "span", "elements"]
FUZZ = st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=30).map("".join)


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_text_makes_a_parser_raise(count: int) -> None:
    settings(max_examples=count, deadline=None)(given(FUZZ, st.sampled_from(FUZZED_TYPES))(survive))()


def survive(text: str, answer_type: str) -> None:
    row = sample(answer_type=answer_type, options=("red", "blue"))
    for task in TASKS.values():
        parsed = task.parse(text)
        assert parsed is None or task.well_formed(row, parsed) in (True, False)
        assert task.parse("<|im_end|>" + text) is None


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 0.98), st.floats(0.011, 1)), min_size=1, max_size=4), st.floats(0.5, 4000))
def test_a_grounding_target_reads_back_within_its_rounding(pairs: list[tuple[float, float]], duration_s: float) -> None:
    spans = tuple((a * duration_s, min(1.0, a + b) * duration_s) for a, b in pairs)
    parsed = GROUNDING.parse(GROUNDING.target(sample(spans=spans), clip(duration_s)) + "<|im_end|>")
    assert parsed is not None and GROUNDING.well_formed(sample(), parsed)
    for (start, end), (start_s, end_s) in zip(parsed.span_ratios, spans, strict=True):
        assert abs(start - start_s / duration_s) <= 0.00501 and abs(end - end_s / duration_s) <= 0.00501


WORDS = st.text("abcdefg hijk", min_size=1, max_size=12).map(str.strip).filter(bool)


@given(st.lists(WORDS, min_size=1, max_size=8, unique=True), WORDS)
def test_other_targets_read_back_whole(elements: list[str], answer: str) -> None:
    row = sample(key_elements=tuple(elements), answer=answer)
    assert ELEMENTS.parse(ELEMENTS.target(row, clip(1.0)) + "<|im_end|>") == Parsed(elements=tuple(elements))
    assert VQA.parse(VQA.target(row, clip(1.0)) + "<|im_end|>") == Parsed(answer=answer)


@given(st.lists(WORDS, min_size=1, max_size=8), WORDS, st.lists(st.floats(0, 59), min_size=1, max_size=3))
def test_thinking_targets_read_back_whole(texts: list[str], answer: str, starts_s: list[float]) -> None:
    captions = tuple(Caption(start_s=i, end_s=i + 1, text=text) for i, text in enumerate(texts))
    row = sample(captions=captions, answer=answer, spans=tuple((start_s, start_s + 1) for start_s in starts_s))
    for task in (THINK, TIMED, CITING):
        written = task.target(row, clip(60.0, 20))
        parsed = task.parse(written + "<|im_end|>")
        assert parsed is not None and task.well_formed(row, parsed)
        assert (parsed.answer, parsed.tidy, parsed.unreadable_keyframes) == (answer, True, 0)
        assert f"<think>{parsed.thinking}</think>" in written and parsed.thinking.endswith(
            f"So the answer is {answer}."
        )
        assert (list(parsed.keyframes) == evidence_frames(row, clip(60.0, 20))) == (task is CITING)


def test_a_sample_s_own_thinking_comes_before_its_captions() -> None:
    row = sample(answer="B", captions=CAPTIONS, spans=((2.5, 10.0),))
    plain = "Nothing is visible. There is a red ball. So the answer is B."
    timed = "00:00-00:02 Nothing is visible. 00:02-00:10 There is a red ball. So the answer is B."
    assert THINK.target(row, clip(10.0)) == f"<think>{plain}</think><answer>B</answer>"
    assert TIMED.target(row, clip(10.0)) == f"<think>{timed}</think><answer>B</answer>"
    own = replace(row, thinking="It is B: seen at 00:03.")
    assert TIMED.target(own, clip(10.0)) == "<think>It is B: seen at 00:03.</think><answer>B</answer>"
    cited = CITING.target(own, clip(10.0))
    assert cited == "<think>It is B: seen at 00:03.</think><keyframes>[4, 6, 8, 10]</keyframes><answer>B</answer>"


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"answer": "B"}, "neither thinking nor captions"),
        ({"answer": " ", "captions": CAPTIONS}, "empty answer"),
        ({"answer": "B", "thinking": "a </think> b"}, "</think>"),
        ({"answer": "<answer>", "captions": CAPTIONS}, "<answer>"),
    ],
)
def test_thinking_that_could_not_be_read_back_is_no_target(fields: dict[str, object], word: str) -> None:
    for task in (THINK, TIMED, CITING):
        with pytest.raises(DataError, match=f"s1.*{word}"):
            task.target(sample(spans=((1.0, 2.0),), **fields), clip(10.0))


def test_cited_frames_are_those_of_the_true_spans() -> None:
    shown = clip(10.0, 10)  # frame k at k - 1 seconds
    assert evidence_frames(sample(spans=((2.0, 4.0),)), shown) == [3, 4]
    assert evidence_frames(sample(spans=((0.0, 10.0),)), shown) == [2, 4, 7, 9]
    assert evidence_frames(sample(spans=((4.2, 4.8),)), shown) == [5]  # between two frames: the nearer
    assert evidence_frames(sample(spans=((0.0, 1.0), (9.0, 10.0))), shown) == [1, 10]
    with pytest.raises(DataError, match="0 spans"):
        evidence_frames(sample(), shown)
    assert "10 frames, 1 to 10, one every 1.00 seconds" in CITING.instruction(sample(), shown)
    with pytest.raises(DataError, match="no clip"):
        CITING.instruction(sample(), Clip(duration_s=0.0))


@pytest.mark.parametrize(
    ("cited", "frames", "unreadable"),
    [
        ("[3, 4]", (3, 4), 0),
        ("3 4;5", (3, 4, 5), 0),
        ("3-5, 9", (3, 4, 5, 9), 0),
        ("[3, 3]", (3, 3), 0),
        ("5-3", (), 1),
        ("first, 2", (2,), 1),
        ("1-1000", (), 1),
        ("0", (0,), 0),  # kept as written; the reward knows the number of frames
        ("", (), 0),
    ],
)
def test_cited_frames_as_written(cited: str, frames: tuple[int, ...], unreadable: int) -> None:
    for text in (
        f"<keyframes>{cited}</keyframes><answer>B</answer>",
        f"<answer>B</answer><keyframes>{cited}</keyframes>",
    ):
        parsed = CITING.parse(f"<think>x</think>{text}")
        assert parsed is not None
        assert (parsed.keyframes, parsed.unreadable_keyframes, parsed.tidy) == (frames, unreadable, True)
        assert CITING.well_formed(sample(), parsed) == (bool(frames) and not unreadable)


@pytest.mark.parametrize(
    ("text", "parsed", "good"),
    [
        ("<think>a</think> <answer>B</answer>", Parsed(answer="B", thinking="a"), True),
        ("<think></think><answer>B</answer>", Parsed(answer="B"), False),
        ("<answer>B</answer>", Parsed(answer="B", tidy=False), False),
        ("<think>a</think>So <answer>B</answer>", Parsed(answer="B", thinking="a", tidy=False), False),
        ("<think>a</think><answer>B</answer> yes", Parsed(answer="B", thinking="a", tidy=False), False),
        (
            "<think><answer>A</answer></think><answer>B</answer>",
            Parsed(answer="B", thinking="<answer>A</answer>", tidy=False),
            False,
        ),
        ("<answer>B</answer><think>a</think>", Parsed(answer="B", thinking="a", tidy=False), False),
        ("<think>a<answer>B</answer>", None, False),
        ("<think>a</think><answer>A</answer><answer>B</answer>", Parsed(answer="B", thinking="a", tidy=False), False),
        ("a</think><answer>B</answer>", Parsed(answer="B", thinking="a", tidy=False), False),
        ("<ans<think>a</think>wer>B</answer>", None, False),
        ("<think>a</think><answer>", None, False),
        ("<think>a</think><answer> </answer>", None, False),
    ],
)
def test_think_then_answer(text: str, parsed: Parsed | None, good: bool) -> None:
    assert THINK.parse(text + "<|im_end|> more") == parsed
    assert parsed is None or THINK.well_formed(sample(), parsed) == good


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("at 00:02.", [(2, 2)]),
        ("from 0:02 to 0:05, then 1:00:01", [(2, 5), (3601, 3601)]),
        ("00:05-00:02", [(2, 5)]),
        ("00:02.5\u201300:03", [(2.5, 3)]),
        ("00:02 and 00:05", [(2, 2), (5, 5)]),
        ("00:02-", [(2, 2)]),
        ("ratio 4:3, 00:99, 12345:00", []),
    ],
)
def test_times_in_text(text: str, spans: list[tuple[float, float]]) -> None:
    found = mentions(text)
    assert [(mention.start_s, mention.end_s) for mention in found] == spans
    assert all(text[mention.start : mention.end].strip() for mention in found)


def test_a_clock_reads_back() -> None:
    for seconds in (0, 59, 60, 3599, 3600, 36_000):
        (found,) = mentions(clock(seconds))
        assert found.start_s == seconds
    assert clock_span(2.2, 2.9) == "00:02" and clock_span(2.2, 3.0) == "00:02-00:03"


LONG = [
    "<think>",
    "</think>",
    "<answer>",
    "<keyframes>1,",
    "1:",
    "00:02 ",
    "0",
    "00:02-",
    EVENT_START,
    EVENT_START + "[",
    "[ ",
    "1",
    ",",
    "1,234",
    "(A",
    "\u00e9",
    f"{EVENT_START}[0.1, 0.2]{EVENT_END}",
]
CITED = ["1 ", "1-", "-", "[", "9", "1-64,"]
INSIDE = [" ", "[", "[ ", "1", "0.1, ", "0.1 ", ".1"]


@pytest.mark.parametrize(
    "text",
    [piece * 100_000 for piece in LONG]
    + [f"{EVENT_START}[{piece * 100_000}{EVENT_END}" for piece in INSIDE]
    + [f"<think>x</think><answer>1</answer><keyframes>{piece * 100_000}</keyframes>" for piece in CITED],
    ids=lambda text: repr(text[:24]),
)
def test_long_text_takes_bounded_time(text: str) -> None:
    start = time.process_time()
    mentions(text)
    for task in TASKS.values():
        parsed = task.parse(text)
        if parsed is not None:
            task.well_formed(sample(answer_type="number"), parsed)
    assert time.process_time() - start < 2.0
