"""Rows under several tasks, and rows that come more than once."""

import pytest

from vrl.data.expand import expand, repeat
from vrl.errors import ConfigError, DataError
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


def test_a_row_without_the_truth_of_a_task_is_refused_not_dropped() -> None:
    with pytest.raises(DataError, match=r"sample b: got no answer, which task think needs"):
        expand([QA, EVENT], {"grounding": ["think"]})
    with pytest.raises(ConfigError, match="grouding"):
        expand([QA], {"vqa": ["grouding"]})


def test_rows_of_a_task_come_as_often_as_it_says() -> None:
    assert repeat([EVENT, QA], {"grounding": 3}) == (EVENT, EVENT, EVENT, QA)
    assert repeat([EVENT, QA], {}) == (EVENT, QA)
    for wrong in ({"grounding": 0}, {"think": 2}):
        with pytest.raises(ConfigError, match=r"data.repeat: got .*, wanted 1 or more for .* \['grounding', 'vqa'\]"):
            repeat([EVENT, QA], wrong)
