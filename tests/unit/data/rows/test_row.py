"""Columns asked for by name, what the complaints name, and options as files write them."""

from pathlib import Path
from typing import Any

import pytest

from vrl.data.rows import Row, RowError, Source
from vrl.data.rows.options import block, choice_of, letter_of, plain_options, split_options, stated_letter


def row(**columns: Any) -> Row:
    return Row(Source(Path("f.json")), 3, columns)


def test_a_row_gives_what_is_asked_for():
    one = row(id=7, text=" a ", options=["x", 2], n="1.5", spans=[[1, 2.5], [-0.5, 2]], no=None, inside={"deep": "d"})
    assert (one.text("id"), one.text("text"), one.number_of("n")) == ("7", "a", 1.5)
    assert one.texts("options") == ("x", "2") and one.texts("text") == ("a",)
    assert one.spans("spans") == ((1.0, 2.5), (0.0, 2.0)) and sum(one.source.notes.values()) == 1
    assert one.inner("inside").text("deep") == "d" and one.list_of("no") == []
    assert "no" not in one and "id" in one and one.text("no", "else") == "else"


@pytest.mark.parametrize(
    ("ask", "complaint"),
    [
        (lambda one: one.text("gone"), "f.json row 3: gone: missing, got the columns ['id'"),
        (lambda one: one.text("blank"), "f.json row 3: blank: got ' ', wanted text"),
        (lambda one: one.text("options"), "options: got ['x'], wanted text"),
        (lambda one: one.number_of("nan"), "nan: got nan, wanted a number"),
        (lambda one: one.number_of("flag"), "flag: got True, wanted a number"),
        (lambda one: one.index("id", 7), "id: got 7, wanted a whole number from 0 to 6"),
        (lambda one: one.spans("options"), "options: got 'x', wanted [start, end]"),
        (lambda one: one.span("s", [3, 2]), "s: got [3, 2], wanted [start, end] with 0 <= start < end"),
        (lambda one: one.span("s", [2, 2]), "s: got [2, 2]"),
        (lambda one: one.span("s", [-2, -1]), "s: got [-2, -1]"),
        (lambda one: one.inner("id"), "id: got 7, wanted an object"),
        (lambda one: one.inner("inside").number_of("deep"), "inside.deep: got 'd', wanted a number"),
        (lambda one: one.inners("options"), "options[0]: got 'x', wanted an object"),
        (lambda one: one.media("video", "id", "https://x/y.mp4"), "id: got 'https://x/y.mp4', wanted the path"),
        (lambda one: one.media("video", "id", "/x/y.mp4"), "wanted a relative path, or --root ROOT"),
        (lambda one: letter_of(one, "id", ["8", "9"]), "id: got '7', wanted the text of one of ['8', '9']"),
        (lambda one: choice_of(one, "id", "C", ["8", "9"]), "id: got 'C', wanted one of the options"),
    ],
)
def test_a_wrong_value_is_named(ask, complaint):
    one = row(id=7, options=["x"], blank=" ", nan=float("nan"), flag=True, inside={"deep": "d"})
    with pytest.raises(RowError) as caught:
        ask(one)
    assert complaint in str(caught.value)


def test_letters_are_taken_off_only_if_all_options_have_theirs():
    assert plain_options(("A. red", "(B) blue", "C) 3")) == ("red", "blue", "3")
    assert plain_options(("A. red", "C. blue")) == ("A. red", "C. blue")
    assert plain_options(("A dog", "B. cat")) == ("A dog", "B. cat")


def test_a_question_is_parted_from_its_options():
    asked = "What year?\nLook well.\n(A) 1636\n(B) 1366\nor so\n(C) 1363"
    assert split_options(asked) == ("What year?\nLook well.", ("1636", "1366 or so", "1363"))
    assert split_options("What?") == ("What?", ())


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("B. blue", "B"),
        ("blue", "B"),
        ("B. It is a blue U.S. flag.", "B"),  # not the option's own words
        ("(B) sky blue", "B"),
        ("B. red", None),  # the letter of one option, the text of another
        ("A. red, B. blue", None),
        ("A. dark red (B) sky blue", None),
        ("D. pink", None),
        ("sky blue", None),
    ],
)
def test_an_annotation_states_one_letter(answer: str, letter: str | None):
    assert stated_letter(answer, ("red", "blue", "green")) == letter


def test_a_block_of_an_annotation_is_read_as_a_completion_s():
    assert block("<answer>A</answer> no <answer> B </answer>", "answer") == "B"
    assert block("<answer>A", "answer") == ""
