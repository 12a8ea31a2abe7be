"""Rows used for several tasks, and repeated rows."""

import pytest

from vrl.data.expand import expand, lacking, repeat
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
