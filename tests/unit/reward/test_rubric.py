"""The rubric with weights, missing values and faults, and the worker that applies it."""

import asyncio
import pickle
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vrl.reward
from vrl.config import RewardConfig, RewardTermConfig, TaskConfig
from vrl.errors import ConfigError, RewardError
from vrl.reward import REWARDS
from vrl.reward.rubric import build_rubric, check_rubric
from vrl.reward.worker import RewardWorker
from vrl.tasks.task import EVENT_END, EVENT_START
from vrl.toyworld.model import build_tokenizer
from vrl.types import Completion, Prompt, Reward, Sample, VersionSpan


def task(name: str, **weights: float) -> TaskConfig:
    return TaskConfig(task=name, rewards=[RewardTermConfig(reward=r, weight=w) for r, w in weights.items()])


def prompt(name: str = "vqa", **fields: object) -> Prompt:
    defaults = {"sample_id": "s1", "task": name, "question": "?", "answer": "B", "answer_type": "choice"}
    sample = Sample(**{**defaults, "options": ("red", "blue"), **fields})  # type: ignore[arg-type]
    return Prompt(sample=sample, token_ids=np.arange(3), duration_s=10.0)


def score(tasks: list[TaskConfig], *args: Any, config: RewardConfig | None = None, **kwargs: Any) -> tuple[Reward, ...]:
    return asyncio.run(RewardWorker(tasks, config).score(*args, **kwargs))


def completion(text: str, finish_reason: str = "stop") -> Completion:
    return Completion(
        token_ids=np.arange(2),
        rollout_logprobs=np.zeros(2, np.float32),
        text=text,
        finish_reason=finish_reason,
        versions=(VersionSpan(start=0, end=2, policy_version=0),),
    )


def test_the_reward_is_the_weighted_sum_and_shows_its_parts() -> None:
    tasks = [task("vqa", accuracy=0.9, format=0.1), task("grounding", iou=2.0, format=1.0)]
    right, wrong, cut = score(tasks, prompt(), [completion(" B"), completion(" A"), completion(" B", "length")])
    assert [right.value, wrong.value, cut.value] == pytest.approx([1.0, 0.1, 0.9])
    assert wrong.breakdown == {"accuracy": 0.0, "format": 1.0}
    event = completion(f" {EVENT_START}[0.20, 0.40]{EVENT_END}")
    (grounded,) = score(tasks, prompt("grounding", spans=((3.0, 5.0),)), [event])
    assert grounded.value == pytest.approx(2.0 / 3 + 1.0)


def test_a_missing_part_is_left_out_and_the_others_take_its_weight() -> None:
    rubric = build_rubric([task("vqa", accuracy=0.25, format=0.5, iou=0.25)])
    reward = rubric.combine("vqa", {"accuracy": 1.0, "format": 0.5, "iou": None})
    assert reward.value == pytest.approx((0.25 * 1.0 + 0.5 * 0.5) / 0.75)
    assert reward.breakdown == {"accuracy": 1.0, "format": 0.5, "iou": None}


def test_a_reward_with_every_part_missing_is_an_error() -> None:
    with pytest.raises(RewardError, match="every reward is missing"):
        score([task("vqa", iou=1.0)], prompt(), [completion(" B")])


def test_no_task_configs_means_every_task_with_its_own_rewards() -> None:
    rubric = build_rubric([])
    assert [(term.name, term.weight) for term in rubric.terms["grounding"]] == [("iou", 1.0), ("format", 1.0)]
    assert build_rubric([task("vqa")]).terms.keys() == {"vqa"}


def test_every_fault_is_listed_with_the_choices() -> None:
    configs = [task("vqaa", accuracy=1.0), task("vqa", acuracy=0.0, format=0.0)]
    configs.append(TaskConfig(task="grounding", rewards=[RewardTermConfig(reward="iou")] * 2))
    with pytest.raises(ConfigError) as caught:
        build_rubric(configs, dataset_tasks=["vqa", "key_elements"])
    problems = str(caught.value)
    for wanted in (
        "'vqaa'",
        "grounding",
        "'acuracy'",
        "accuracy",
        "no weight above 0",
        "'iou' twice",
        "'key_elements'",
    ):
        assert wanted in problems
    assert len(caught.value.problems) == 5


def test_a_configured_dataset_has_no_faults() -> None:
    assert check_rubric([task("vqa", accuracy=1.0)], ["vqa"]) == []
    assert check_rubric([], ["vqa", "grounding"]) == []


def test_a_raising_reward_is_named_with_sample_and_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REWARDS, "broken", lambda inputs: {}[inputs.sample.answer])
    monkeypatch.setitem(REWARDS, "endless", lambda inputs: float("nan"))
    with pytest.raises(RewardError, match=r"reward broken, sample s1 .*KeyError: 'B'") as caught:
        score([task("vqa", broken=1.0)], prompt(), [completion(" B")])
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    with pytest.raises(RewardError, match=r"endless.*nan"):
        score([task("vqa", endless=1.0)], prompt(), [completion(" B")])


def test_a_task_without_rubric_is_an_error_not_a_zero() -> None:
    with pytest.raises(RewardError, match="grounding"):
        score([task("vqa", accuracy=1.0)], prompt("grounding"), [completion(" B")])


def test_a_term_counts_only_if_its_conditions_hold() -> None:
    gated = RewardTermConfig(reward="frame_sensitive", weight=0.5, when=["accuracy >= 0.6", "consistency>=1"])
    config = TaskConfig(task="think_keyframes", rewards=[RewardTermConfig(reward="format"), gated])
    rubric = build_rubric([config])
    assert rubric.names("think_keyframes") == ["format", "frame_sensitive", "accuracy", "consistency"]
    values = {"format": 1.0, "frame_sensitive": 0.8, "accuracy": 0.6, "consistency": 1.0}
    for change, value, shown in [
        ({}, 1.0 + 0.5 * 0.8, 0.8),
        ({"accuracy": 0.5}, 1.0, 0.0),
        ({"consistency": None}, 1.5, None),  # a missing condition makes the term missing; format takes its weight
        ({"accuracy": 0.0, "consistency": None}, 1.0, 0.0),  # one failed condition is enough
    ]:
        reward = rubric.combine("think_keyframes", values | change)
        assert (reward.value, reward.breakdown["frame_sensitive"]) == (pytest.approx(value), shown)


@pytest.mark.parametrize("text", ["accuracy", "accuracy>0.5", "acuracy>=1", "length_band>=1", "accuracy>=x"])
def test_a_condition_that_cannot_be_parsed_is_named(text: str) -> None:
    config = TaskConfig(task="vqa", rewards=[RewardTermConfig(reward="format", when=[text])])
    assert text in check_rubric([config])[0]


def test_a_term_without_weight_is_shown_and_does_not_count() -> None:
    reward = build_rubric([task("vqa", accuracy=1.0, format=0.0)]).combine("vqa", {"accuracy": 0.5, "format": 1.0})
    assert (reward.value, reward.breakdown) == (0.5, {"accuracy": 0.5, "format": 1.0})


def test_thinking_tokens_are_counted_by_the_policy_s_tokenizer(tmp_path: Path) -> None:
    build_tokenizer().save_pretrained(tmp_path)
    tasks = [TaskConfig(task="think", rewards=[RewardTermConfig(reward="think_transparency")])]
    config = RewardConfig(thinking_tokens=[0, 6])
    worker = RewardWorker(tasks, config, str(tmp_path))
    done = [completion("<think>a red circle</think><answer>B</answer>")]  # three tokens: the middle
    (reward,) = asyncio.run(worker.score(prompt("think"), done))
    assert reward.value == pytest.approx(1.0)
    with pytest.raises(ConfigError, match=r"tokenizer\.json"):
        RewardWorker(tasks, config)


OUTSIDE = """
from vrl.reward.inputs import RewardInput

def shouting(inputs: RewardInput) -> float | None:
    return float(inputs.text.isupper())

REWARDS = {"shouting": shouting}
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Return a function that writes a user's module and returns its name; restore the registry afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    kept, taken = dict(REWARDS), set(vrl.reward._registered)

    def write(text: str) -> str:
        name = f"outside_{uuid.uuid4().hex}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    yield write
    REWARDS.clear()
    REWARDS.update(kept)
    vrl.reward._registered.clear()
    vrl.reward._registered.update(taken)


def test_a_reward_may_be_in_a_users_module(outside: Callable[[str], str]) -> None:
    config = RewardConfig(modules=[outside(OUTSIDE)])
    for _ in range(2):  # a second worker in one process
        loud, quiet = score([task("vqa", shouting=1.0)], prompt(), [completion("B"), completion("b")], config=config)
        assert (loud.value, quiet.value) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("", "without REWARDS"),
        ("REWARDS = {'accuracy': None}", "'accuracy'"),
    ],
)
def test_a_module_without_usable_rewards_is_named(outside: Callable[[str], str], text: str, told: str) -> None:
    before = dict(REWARDS)
    with pytest.raises(ConfigError, match=told):
        vrl.reward.add_modules([outside(text)])
    with pytest.raises(ConfigError, match="ModuleNotFoundError"):
        vrl.reward.add_modules(["no.such.module"])
    assert before == REWARDS
