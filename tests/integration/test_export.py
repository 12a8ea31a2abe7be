"""An interrupted run's checkpoint as a Hugging Face folder that transformers and vLLM read alike."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.learner_cases import run_ranks, train
from transformers import AutoModelForImageTextToText

from vrl.checkpoint import begin, commit
from vrl.config import LearnerConfig, LoraConfig, ModelConfig, RolloutConfig, RunConfig
from vrl.rollout.engine import RolloutEngine
from vrl.toyworld.model import build_family
from vrl.training.export import export
from vrl.types import Prompt, Sample

pytestmark = pytest.mark.timeout(300)
NUM_TOKENS = 12


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 4], ids=["whole weights", "adapters"])
def test_an_export_has_the_learners_weights_and_the_engine_decodes_as_transformers_does(tmp_path: Path, rank: int):
    build_family(tmp_path / "model", "qwen2_vl", sharp=True)
    settings = {"zero_stage": 2, "micro_batch_tokens": 1000, "lora": LoraConfig(rank=rank)}
    unfinished = begin(tmp_path / "run" / "checkpoints", 2)
    (unfinished / "learner").mkdir()
    run_ranks(train, 1, tmp_path / "model", settings, unfinished / "learner")
    (unfinished / "learner" / "hf").rename(tmp_path / "wanted")  # the learner's own weights at its save
    commit(unfinished, {}, keep_last=1)

    model = ModelConfig(path=str(tmp_path / "model"), dtype="float32")
    config = RunConfig(name="run", model=model, learner=LearnerConfig(ranks=1, **settings))
    export(config, tmp_path / "run", tmp_path / "out")
    found, wanted = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "wanted"))
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)

    ids = torch.arange(20, 60)[None]
    plain: Any = AutoModelForImageTextToText.from_pretrained(tmp_path / "out", dtype=torch.float32)
    greedy = plain.generate(ids, max_new_tokens=NUM_TOKENS, do_sample=False)[0, ids.shape[1] :].tolist()
    assert asyncio.run(engine_greedy(tmp_path / "out", ids[0].numpy()))[: len(greedy)] == greedy


async def engine_greedy(path: Path, ids: np.ndarray) -> list[int]:
    rollout = RolloutConfig(kv_cache_gib=0.1, max_num_seqs=2, max_tokens=NUM_TOKENS)
    engine = RolloutEngine(ModelConfig(path=str(path), dtype="float32", max_context_tokens=512), rollout)
    prompt = Prompt(sample=Sample(sample_id="s", task="vqa", question="?"), token_ids=ids)
    ((completion,),) = await engine.generate((prompt,), np.zeros((0, 1), np.uint8), group_size=1, temperature=0.0)
    engine.shutdown()
    return completion.token_ids.tolist()
