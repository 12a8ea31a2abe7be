import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from vrl.checkpoint import begin, commit
from vrl.config import LoraConfig
from vrl.config.load import load
from vrl.data.dataset import read_samples
from vrl.data.prompt import PromptBuilder
from vrl.errors import CheckpointError, ConfigError
from vrl.sizing.model_shape import model_shape
from vrl.sizing.plan import GIB, Plan, plan, print_plan
from vrl.tasks import TASKS
from vrl.toyworld.model import build_family
from vrl.types import Frames

SEVEN_B = "conf/models/qwen2_5_vl_7b.yaml"


def amount(found: Plan, section: str, start: str) -> float:
    return next(line.value for line in getattr(found, section) if line.what.startswith(start))


def learner_gib(*overrides: str) -> dict[str, float]:
    found = plan(load(SEVEN_B, overrides), gpu_bytes=80 * GIB)
    return {line.what: line.value / GIB for line in found.learner}


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("Qwen/Qwen2-VL-2B-Instruct", 2_208_985_600),
        ("Qwen/Qwen2-VL-7B-Instruct", 8_291_375_616),
        ("Qwen/Qwen2-VL-72B-Instruct", 73_405_560_320),
        ("Qwen/Qwen2.5-VL-3B-Instruct", 3_754_622_976),
        ("Qwen/Qwen2.5-VL-7B-Instruct", 8_292_166_656),
        ("Qwen/Qwen2.5-VL-32B-Instruct", 33_452_718_336),
        ("Qwen/Qwen2.5-VL-72B-Instruct", 73_410_777_344),
        ("Qwen/Qwen3-VL-2B-Instruct", 2_127_532_032),
        ("Qwen/Qwen3-VL-4B-Instruct", 4_437_815_808),
        ("Qwen/Qwen3-VL-8B-Instruct", 8_767_123_696),
    ],
)
def test_parameters_are_those_of_the_published_weights(name: str, published: int):
    assert model_shape(name).num_parameters == published


def test_the_export_of_a_run_is_planned_for(tmp_path: Path):
    checkpoints = tmp_path / "run" / "checkpoints"
    checkpoints.mkdir(parents=True)
    with pytest.raises(CheckpointError, match="run folder"):
        plan(load("conf/toy/rler.yaml", [f"model.path={tmp_path / 'run'}"]), gpu_bytes=0)
    unfinished = begin(checkpoints, 1)
    build_family(unfinished / "hf", "qwen2_vl", sharp=False)
    commit(unfinished, {}, keep_last=1)
    found = plan(load("conf/toy/rler.yaml", [f"model.path={tmp_path / 'run'}"]), gpu_bytes=0)
    assert found.model.family == "qwen2_vl" and found.model.num_parameters < 2e6


def test_adapters_are_counted_for_their_linears():
    shape = model_shape("Qwen/Qwen2.5-VL-7B-Instruct")
    # 28 layers x 8 x (q, o: 3584 + 3584; k, v: 3584 + 512; gate, up, down: 3584 + 18944)
    assert shape.num_trained(["model.visual"], LoraConfig(rank=8)) == 28 * 8 * (2 * 7168 + 2 * 4096 + 3 * 22528)
    assert shape.num_trained(["model.language_model."], LoraConfig(rank=8)) == 0
    whole, adapters = learner_gib("algo.kl_coef=0.1"), learner_gib("algo.kl_coef=0.1", "learner.lora.rank=8")
    assert "reference policy" in whole and "reference policy" not in adapters
    assert adapters["optimizer state"] < 0.01 * whole["optimizer state"]


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"Qwen/Qwen2\.5-VL-7B-Instruct"):
        model_shape("someone/else")


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_counts_bound_a_real_prompt_of_the_largest_clip(tmp_path: Path, family: str):
    build_family(tmp_path / "model", family, sharp=False)
    row = {"sample_id": "s", "task": "vqa", "question": "What colour?", "answer": "B", "answer_type": "choice"}
    row |= {"options": ["red", "blue"], "media": [{"kind": "video", "path": "a.mp4"}]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    settings = ["name=x", f"model.path={tmp_path}/model", f"data.train={tmp_path}/rows.jsonl"]
    pixels = ["data.frames.max_frames=8", "data.frames.min_pixels=784", f"data.frames.max_pixels={112 * 112}"]
    config = load(None, [*settings, *pixels])
    clip = Frames(pixels_THWC=np.zeros((8, 112, 112, 3), np.uint8), timestamps_s=np.arange(8) / 2, duration_s=4.0)
    (sample,) = read_samples(tmp_path / "rows.jsonl", [])
    builder = PromptBuilder(config.model, config.data.frames, 16)
    prompt, patches = builder.build(sample, TASKS["vqa"], [builder.process_media(sample.media[0], clip)])
    found = plan(config, gpu_bytes=0)
    assert amount(found, "work", "patches") == len(patches)
    assert amount(found, "host", "patches of one clip") == patches.nbytes
    assert len(prompt.token_ids) <= amount(found, "work", "prompt") <= len(prompt.token_ids) + 60


def test_seven_billion_parameters_by_hand():
    memory = learner_gib("learner.zero_stage=1", "learner.ranks=1", "model.freeze=[]")
    assert memory["weights"] == pytest.approx(8_292_166_656 * 2 / GIB)
    assert memory["gradients"] == pytest.approx(8_292_166_656 * 4 / GIB)
    assert memory["optimizer state"] == pytest.approx(8_292_166_656 * 12 / GIB)
    split = learner_gib("learner.zero_stage=3", "learner.ranks=4", "model.freeze=[]")
    assert split["weights"] == pytest.approx(memory["weights"] / 4)
    assert split["optimizer state"] == pytest.approx(memory["optimizer state"] / 4)
    assert "optimizer state" not in learner_gib("learner.offload=true")
    engine = plan(load(SEVEN_B), gpu_bytes=80 * GIB)
    kv_token = 2 * 28 * 4 * 128 * 2  # keys and values, layers, heads, head size, bytes
    assert amount(engine, "engine", "keys and values of one group") == kv_token * (4096 + 256 + 8 * 768)


def test_a_shared_gpu_holds_the_larger_of_two_phases_not_their_sum():
    sizes = ["push.backend=ipc", "learner.ranks=8", "rollout.engines=8", "rollout.gpu_memory_utilization=0.6"]
    config = [*sizes, "algo.max_policy_age=0", "learner.zero_stage=2", "rollout.tensor_parallel=1"]
    found = plan(load(SEVEN_B, config), gpu_bytes=80 * GIB)
    learner = {line.what: line.value for line in found.learner}
    works, generates, larger = (line.value for line in found.shared)
    assert works == learner["total"] + 2 * GIB
    assert generates == pytest.approx(0.6 * 80 * GIB + 8_292_166_656 * 2 + 2 * GIB)  # bfloat16 weights, a context
    assert larger == max(works, generates) < works + generates
    assert amount(found, "host", "weights of all engines") == 8 * 8_292_166_656 * 2
    assert found.problems == () and plan(load(SEVEN_B), gpu_bytes=80 * GIB).shared == ()
    (problem,) = plan(load(SEVEN_B, [*config, "rollout.gpu_memory_utilization=0.85"]), gpu_bytes=80 * GIB).problems
    assert "lower rollout.gpu_memory_utilization" in problem


def test_exceeded_bounds_name_the_key_to_change():
    found = plan(
        load(SEVEN_B, ["learner.zero_stage=1", "data.frames.max_frames=1024", "rollout.gpu_memory_utilization=0.2"]),
        gpu_bytes=80 * GIB,
    )
    text = "\n".join(found.problems)
    assert "model.max_context_tokens=16384" in text
    assert "rollout.tensor_parallel" in text and "learner.zero_stage" in text
    assert plan(load(SEVEN_B), gpu_bytes=80 * GIB).problems == ()
    assert any("learner rank" in problem for problem in plan(load(SEVEN_B), gpu_bytes=40 * GIB).problems)


def test_the_printed_plan_names_every_actor():
    page = Console(file=io.StringIO(), width=100)
    print_plan(plan(load(SEVEN_B), gpu_bytes=80 * GIB), page)
    text = page.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "rollout x 4" in text and "1 CPU, 1 GPU" in text and "8.29 B parameters" in text
