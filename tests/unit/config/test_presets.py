"""Every committed configuration has a plan, and the papers' presets match the papers."""

from pathlib import Path

import pytest

from vrl.config import RewardTermConfig, RunConfig
from vrl.config.load import load
from vrl.reward.rubric import check_rubric
from vrl.sizing.plan import GIB, plan
from vrl.toyworld.model import build_toy_model

TOYS = sorted(Path("conf/toy").glob("*.yaml"))
PRESETS = sorted([*Path("conf/papers").glob("*.yaml"), *Path("conf/models").glob("*.yaml")])


def trains(path: Path) -> bool:
    """Return whether the file configures training; evaluation, inference and serving have no plan."""
    return path.stem not in ("eval", "infer", "serve")


@pytest.fixture(scope="module")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    build_toy_model(folder)
    return folder


def load_run(path: Path, *overrides: str) -> RunConfig:
    config = load(path, overrides)
    assert check_rubric(config.tasks) == []
    return config


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.name)
def test_a_preset_fits_the_hardware_it_names(path: Path):
    found = plan(load_run(path), gpu_bytes=80 * GIB)
    assert found.problems == ()
    assert {role.name for role in found.actors} >= {"data", "learner"}


@pytest.mark.parametrize("path", [path for path in TOYS if trains(path)], ids=lambda path: path.name)
def test_a_toy_twin_fits_two_cores(path: Path, toy_model: Path):
    # The dataset is missing, so the plan guesses 256 tokens of text; the longest text has 130.
    found = plan(load_run(path, f"model.path={toy_model}", "model.max_context_tokens=400"), gpu_bytes=0)
    assert found.problems == ()


def terms(name: str, task: str) -> dict[str, RewardTermConfig]:
    (config,) = [config for config in load_run(Path("conf") / name).tasks if config.task == task]
    return {term.reward: term for term in config.rewards}


@pytest.mark.parametrize("name", ["papers/rler.yaml", "toy/rler.yaml"])
def test_rler_weighs_five_rewards(name: str):
    found = {name: term.weight for name, term in terms(name, "think_keyframes").items() if term.weight}
    assert found == {
        "accuracy": 0.1,
        "format": 0.1,
        "frame_sensitive": 0.2,
        "think_transparency": 0.3,
        "anti_repetition": 0.3,
    }
    assert terms(name, "think_keyframes")["frame_sensitive"].when == ["accuracy>=0.6", "format>=1"]


@pytest.mark.parametrize("name", ["papers/video_r2_rl.yaml", "toy/video_r2_rl.yaml"])
def test_video_r2_gates_temporal_alignment_on_consistency(name: str):
    found = terms(name, "think_timestamps")
    assert {name: (term.weight, term.when) for name, term in found.items()} == {
        "accuracy": (1.0, []),
        "format": (1.0, []),
        "temporal": (1.0, ["consistency>=1"]),
    }


@pytest.mark.parametrize("name", ["papers/video_r1.yaml", "toy/video_r1.yaml"])
def test_video_r1_compares_eight_draws_with_four_on_permuted_frames(name: str, toy_model: Path):
    found = terms(name, "think")
    weights = {name: term.weight for name, term in found.items()}
    assert weights == {"accuracy": 1.0, "format": 1.0, "temporal_order": 0.3, "length_band": 0.2}
    config = load_run(Path("conf") / name, f"model.path={toy_model}")
    assert (config.rollout.group_size, config.reward.order_draws) == (8, 4)
    work = {line.what: line.value for line in plan(config, gpu_bytes=80 * GIB).work}
    prompt = next(value for what, value in work.items() if what.startswith("prompt"))
    again = work["a group of think again, 4 completions on permuted frames"]
    assert again == prompt + 4 * config.rollout.max_tokens


def test_video_r1_compares_texts_as_its_code_does(toy_model: Path):
    reward = load_run(Path("conf/papers/video_r1.yaml"), f"model.path={toy_model}").reward
    assert (reward.rouge_words, reward.wer_words) == ("stems", "raw")


@pytest.mark.parametrize("name", ["papers/videoreasoner_rl.yaml", "toy/videoreasoner_rl.yaml"])
def test_videoreasoner_rewards_each_task_separately(name: str):
    assert {reward: term.weight for reward, term in terms(name, "vqa").items()} == {"accuracy": 1.0}
    assert {reward: term.weight for reward, term in terms(name, "grounding").items()} == {"iou": 1.0, "format": 1.0}
