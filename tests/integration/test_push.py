"""Weights from DeepSpeed ranks to live vLLM engines, and failed pushes."""

import asyncio
import os
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from transformers import AutoModelForImageTextToText

from vrl.algo.packing import pack, to_sft_group
from vrl.config import AlgoConfig, LearnerConfig, LoraConfig, ModelConfig, PushConfig, RolloutConfig
from vrl.errors import WeightPushError
from vrl.learner.group import LearnerGroup
from vrl.rollout.engine import RolloutEngine
from vrl.toyworld.model import build_family
from vrl.types import Prompt, Sample
from vrl.weights.sender import WeightSender
from vrl.weights.wire import Digest, digest_of

PUSH = PushConfig(timeout_s=60.0)
ENV = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING", "HF_HUB_OFFLINE": "1"}


class Engines:
    """Two engines that start from other weights than the learner."""

    def __init__(self, folder: Path) -> None:
        for name, seed in (("engine", 0), ("learner", 1)):
            build_family(folder / name, "qwen2_vl", sharp=True, seed=seed)
        self.learner_model = ModelConfig(path=str(folder / "learner"), dtype="float32", max_context_tokens=512)
        engine_model = ModelConfig(path=str(folder / "engine"), dtype="float32", max_context_tokens=512)
        rollout = RolloutConfig(kv_cache_gib=0.1, max_num_seqs=8)
        actor = ray.remote(RolloutEngine).options(num_cpus=1)
        self.engines: list[Any] = [actor.remote(engine_model, rollout, index=index) for index in range(2)]
        self.run(self.each("ready"))

    def run(self, coroutine: Coroutine) -> Any:
        return asyncio.run(coroutine)

    async def each(self, method: str, *args: Any) -> list[Any]:
        return await asyncio.gather(*(getattr(engine, method).remote(*args) for engine in self.engines))

    async def start_learner(
        self, zero_stage: int, ranks: int, freeze: tuple[str, ...] = (), **learner: Any
    ) -> LearnerGroup:
        return await LearnerGroup.start(
            [{"num_cpus": 1}] * ranks,
            model_config=replace(self.learner_model, freeze=list(freeze)),
            learner_config=LearnerConfig(ranks=ranks, zero_stage=zero_stage, **learner),
            algo_config=AlgoConfig(),
            temperature=1.0,
            total_steps=1,
            seed=0,
        )


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    ray.init(address="local", num_cpus=6, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": ENV})
    try:
        fleet = Engines(tmp_path_factory.mktemp("models"))
        yield fleet
        fleet.run(fleet.each("shutdown"))
    finally:
        ray.shutdown()


@pytest.mark.parametrize(("zero_stage", "freeze"), [(2, ()), (3, ("model.visual",))])
def test_two_ranks_push_to_two_engines(fleet: Engines, zero_stage: int, freeze: tuple[str, ...]):
    """Frozen weights are sent too: the engines start from other weights."""

    async def go() -> None:
        learner = await fleet.start_learner(zero_stage, 2, freeze)
        try:
            await learner.connect_engines(fleet.engines, "gloo", PUSH)
            await fleet.each("pause")
            num_bytes = await learner.send_weights(zero_stage)
            await fleet.each("resume")
            digests = await learner.checksums()
        finally:
            learner.close()
        weights = AutoModelForImageTextToText.from_pretrained(fleet.learner_model.path).parameters()
        assert num_bytes == sum(4 * weight.numel() for weight in weights)
        await fleet.each("verify_weights", zero_stage, digests)

        with pytest.raises(WeightPushError, match=rf"engine 0: got policy version {zero_stage}, wanted 9"):
            await fleet.engines[0].verify_weights.remote(9, digests)
        name = "model.visual.blocks.1.mlp.fc1.weight"
        off = digests | {name: digests[name]._replace(value=digests[name].value + 1)}
        with pytest.raises(WeightPushError, match=r"1 of \d+ parameters differ .* visual\.blocks\.1\.mlp\.fc1\.weight"):
            await fleet.engines[1].verify_weights.remote(zero_stage, off)

    fleet.run(go())


@pytest.mark.slow
def test_trained_adapters_are_sent_merged_and_score_as_in_the_learner(fleet: Engines):
    async def go() -> None:
        prompt = Prompt(sample=Sample(sample_id="s", task="vqa", question="?"), token_ids=np.arange(20, 60))
        nothing = np.zeros((0, 1), dtype=np.uint8)
        learner = await fleet.start_learner(3, ranks=2, lr=0.01, lora=LoraConfig(rank=4))
        try:
            target = to_sft_group(prompt.token_ids, (), np.arange(70, 90))
            batch = pack([target], ranks=2, micro_batch_tokens=1000)
            for _ in range(3):
                await learner.forward_backward_sft(batch, [nothing])
                await learner.optim_step()
            await learner.connect_engines(fleet.engines, "gloo", PUSH)
            await fleet.each("pause")
            await learner.send_weights(5)
            await fleet.each("resume")
            digests = await learner.checksums()
            await fleet.each("verify_weights", 5, digests)
            ((completion, *_),) = await fleet.engines[0].generate.remote((prompt,), nothing)
            sampled = to_sft_group(prompt.token_ids, (), completion.token_ids)
            ((scored,),) = await learner.logprobs(pack([sampled], ranks=2, micro_batch_tokens=1000), [nothing])
        finally:
            learner.close()
        np.testing.assert_allclose(scored, completion.rollout_logprobs, atol=2e-5)
        weights = AutoModelForImageTextToText.from_pretrained(fleet.learner_model.path).named_parameters()
        moved = {name for name, weight in weights if digests[name] != digest_of(weight)}
        assert moved and all("language_model" in name and "proj" in name for name in moved)

    fleet.run(go())


class PlainLearner:
    """Sends a checkpoint's weights times a factor, except those named in `hidden`."""

    def __init__(self, path: str, engines: list[Any], factor: float = 1.0, hidden: tuple[str, ...] = ()) -> None:
        model = AutoModelForImageTextToText.from_pretrained(path)
        self.weights = {
            name: weight.detach() * factor for name, weight in model.named_parameters() if name not in hidden
        }
        self.sender = WeightSender(
            self, engines, backend="gloo", rank=0, address="127.0.0.1", dtype=torch.float32, config=PUSH
        )

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(weight.shape) for name, weight in self.weights.items()}

    def full_parameters(self) -> Iterator[tuple[str, torch.Tensor]]:
        yield from self.weights.items()

    def push(self, version: int) -> dict[str, Digest]:
        self.sender.send(version)
        return self.sender._outgoing.digests


def test_a_missing_tensor_is_named_and_the_engines_keep_their_weights(fleet: Engines):
    async def go() -> None:
        learner: Any = ray.remote(PlainLearner).options(num_cpus=1)
        whole = learner.remote(fleet.learner_model.path, fleet.engines)
        digests = await whole.push.remote(10)
        await fleet.each("verify_weights", 10, digests)
        torn = learner.remote(fleet.learner_model.path, fleet.engines, 2.0, ("model.language_model.norm.weight",))
        with pytest.raises(WeightPushError, match=r"none for language_model\.model\.norm\.weight \(1 missing\)"):
            await torn.push.remote(11)
        await fleet.each("verify_weights", 10, digests)  # nothing was loaded

    fleet.run(go())
