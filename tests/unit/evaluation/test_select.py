"""Which items are asked, and how."""

from dataclasses import replace
from pathlib import Path

import pytest

from vrl.config.load import load
from vrl.errors import ConfigError
from vrl.evaluation.config import BenchmarkConfig, EvalConfig, check_eval
from vrl.evaluation.item import Item
from vrl.evaluation.select import asked_as, select
from vrl.types import Sample

ITEMS = [
    Item(
        sample=Sample(sample_id=str(i), task="vqa" if i % 2 else "grounding", question="?",
                      answer_type="choice" if i % 2 else "span"),
        groups={"duration": ("short" if i < 4 else "long",)},
    )
    for i in range(10)
]  # fmt: skip


def ids(items: list[Item]) -> list[str]:
    return [item.sample.sample_id for item in items]


def chosen(config: EvalConfig) -> list[Item]:
    return [one for one in select(ITEMS, config.benchmark, config.seed) if isinstance(one, Item)]


def config(task: str = "", **benchmark) -> EvalConfig:
    return EvalConfig(name="x", task=task, benchmark=BenchmarkConfig(**benchmark))


def test_groups_are_kept_and_a_seed_draws_the_rest():
    assert ids(chosen(config())) == [str(i) for i in range(10)]
    assert ids(chosen(config(keep={"duration": ["short"]}))) == ["0", "1", "2", "3"]
    drawn = chosen(config(limit=4))
    assert len(drawn) == 4 and drawn == chosen(config(limit=4))
    assert ids(drawn) == sorted(ids(drawn)) != ids(chosen(replace(config(limit=4), seed=1)))
    with pytest.raises(ConfigError, match=r"benchmark.keep: got the key 'length', wanted one of \['duration'\]"):
        chosen(config(keep={"length": ["short"]}))
    with pytest.raises(ConfigError, match=r"benchmark.keep.duration: got 'tiny', wanted some of \['long', 'short'\]"):
        chosen(config(keep={"duration": ["tiny"]}))


def test_a_preset_keeps_groups_of_single_benchmarks():
    preset = {"videomme": {"duration": ["short"]}, "mmvu": {"question_type": ["multiple-choice"]}}
    assert ids(chosen(config(name="videomme", keep_in=preset))) == ["0", "1", "2", "3"]
    assert len(chosen(config(name="mlvu", keep_in=preset))) == 10
    assert ids(chosen(config(name="videomme", keep_in=preset, keep={"duration": ["long"]}))) == list("456789")
    assert "benchmark.keep_in: got 'mvbnch'" in "\n".join(check_eval(config(keep_in={"mvbnch": {}})))


@pytest.mark.parametrize("paper", ["video_r1", "video_r2"])
def test_presets_count_the_multiple_choice_questions_of_mmvu(paper):
    typed = ["benchmark.path=x", "model.path=x", "benchmark.name=mmvu"]
    preset = load(Path(f"conf/eval/{paper}.yaml"), typed, schema=EvalConfig, check=check_eval)
    assert preset.benchmark.kept == {"question_type": ["multiple-choice"]}
    assert preset.benchmark.reading == ("strict" if paper == "video_r1" else "published")


def test_only_questions_with_an_answer_change_their_form():
    assert {asked_as(item, "think").sample.task for item in ITEMS} == {"think", "grounding"}
    assert {asked_as(item, "think_seconds").sample.task for item in ITEMS} == {"vqa", "think_seconds"}


def test_a_wrong_configuration_names_every_key():
    wrong = replace(config(task="key_elements", measure="charm"), name="../x", measures=["iou", "luck"])
    problems = "\n".join(check_eval(wrong))
    for key in (
        "name: got '../x'",
        "task: got 'key_elements'",
        "benchmark.measure: got 'charm'",
        "measures: got 'luck'",
    ):
        assert key in problems
    assert check_eval(config()) == []


def test_keys_of_training_that_no_answer_depends_on_are_unknown(tmp_path: Path):
    file = tmp_path / "eval.yaml"
    file.write_text("{name: x, benchmark: {path: here}, model: {path: there}, rollout: {group_size: 4, max_tokens: 8}}")
    with pytest.raises(ConfigError, match=r"rollout\.group_size"):
        load(file, [], schema=EvalConfig, check=check_eval)
