"""Rows used for several tasks, and repeated rows."""

from dataclasses import replace

import pytest

from vrl.data.expand import expand, lacking, repeat, shuffle_options
from vrl.errors import ConfigError
from vrl.types import Sample

QA = Sample(sample_id="a", task="vqa", question="?", answer="B", spans=((1.0, 2.0),))
EVENT = Sample(sample_id="b", task="grounding", question="When?", answer_type="span", spans=((1.0, 2.0),))


def test_rows_are_copied_in_place_with_stable_ids() -> None:
    found = expand([EVENT, QA], {"vqa": ["vqa", "grounding"]})
    assert [(sample.sample_id, sample.task) for sample in found] == [
        ("b", "grounding"),
        ("a#vqa", "vqa"),
        ("a#grounding", "grounding"),
    ]
    assert {(sample.question, sample.spans) for sample in found[1:]} == {("?", ((1.0, 2.0),))}
    assert expand([EVENT, QA], {}) == (EVENT, QA)


def test_an_unknown_task_is_refused_and_what_lacks_its_truth_is_known() -> None:
    with pytest.raises(ConfigError, match="grouding"):
        expand([QA], {"vqa": ["grouding"]})
    assert [lacking(one) for one in expand([QA, EVENT], {"grounding": ["think"]})] == [[], ["answer"]]


def test_rows_of_a_task_come_as_often_as_it_says() -> None:
    assert repeat([EVENT, QA], {"grounding": 3}) == (EVENT, EVENT, EVENT, QA)
    assert repeat([EVENT, QA], {}) == (EVENT, QA)
    for wrong in ({"grounding": 0}, {"think": 2}):
        with pytest.raises(ConfigError, match=r"data.repeat: got .*, wanted 1 or more for .* \['grounding', 'vqa'\]"):
            repeat([EVENT, QA], wrong)


CHOICE = Sample(
    sample_id="c", task="vqa", question="?", answer="C", answer_type="choice", options=tuple("vwxyz"), source="s"
)


def test_shuffled_options_take_the_answer_with_them() -> None:
    shuffled = [shuffle_options(replace(CHOICE, sample_id=str(number)), seed=0) for number in range(200)]
    for sample in shuffled:
        assert sorted(sample.options) == sorted(CHOICE.options)
        assert sample.options[ord(sample.answer) - 65] == "x"
    assert {sample.answer for sample in shuffled} == set("ABCDE")
    assert shuffled == [shuffle_options(replace(CHOICE, sample_id=str(number)), seed=0) for number in range(200)]
    assert shuffled != [shuffle_options(replace(CHOICE, sample_id=str(number)), seed=1) for number in range(200)]


def test_options_that_thinking_may_name_keep_their_order() -> None:
    thought = replace(CHOICE, thinking="Not A, so C.")
    assert shuffle_options(thought, seed=0) is thought and shuffle_options(QA, seed=0) is QA
