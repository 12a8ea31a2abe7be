"""The rollout engine with a real vLLM: its results, that they are reproducible, and its shutdown."""

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from support.leaks import left_of, shared_memory_of, socket_files_of
from transformers import AutoTokenizer

from vrl.algo.vocabulary import banned_token_ids
from vrl.config import FrameConfig, ModelConfig, RolloutConfig
from vrl.data.prompt import PromptBuilder
from vrl.errors import DataError, RolloutError, WorkerError
from vrl.rollout.engine import RolloutEngine
from vrl.rollout.shuffled import in_order
from vrl.tasks import TASKS
from vrl.toyworld.model import build_family
from vrl.types import Completion, Frames, Media, Prompt, Sample, VersionSpan

MAX_TOKENS = 24


class Bench:
    """A sharp checkpoint, its prompts, and engines that share one event loop."""

    def __init__(self, folder: Path) -> None:
        build_family(folder, "qwen3_vl", sharp=True)
        self.model = ModelConfig(path=str(folder), dtype="float32", max_context_tokens=256)
        self.builder = PromptBuilder(self.model, FrameConfig(min_pixels=1024, max_pixels=64 * 64), MAX_TOKENS)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.runner = asyncio.Runner()
        self.engine = self.start()

    def start(self, index: int = 0) -> RolloutEngine:
        rollout = RolloutConfig(group_size=4, max_tokens=MAX_TOKENS, max_num_seqs=16, kv_cache_gib=0.1)
        return RolloutEngine(self.model, rollout, seed=3, index=index)

    def prompt(self, seed: int) -> tuple[Prompt, np.ndarray]:
        """A clip of noise, or only text for a negative seed."""
        media = (Media(kind="video", path="clip.mp4"),) if seed >= 0 else ()
        sample = Sample(sample_id=str(seed), task="vqa", question="Which colour?", media=media)
        pixels = np.random.default_rng(abs(seed)).integers(0, 255, (4, 64, 64, 3), dtype=np.uint8)
        frames = Frames(pixels_THWC=pixels, timestamps_s=np.arange(4) * 0.5, duration_s=2.0)
        prompt, patches = self.builder.build(
            sample, TASKS["vqa"], [self.builder.process_media(item, frames) for item in media]
        )
        return Prompt(
            sample=sample, token_ids=prompt.token_ids, vision=prompt.vision, media_key=f"noise-{seed}"
        ), patches

    async def wave(self, engine: RolloutEngine, seeds: range, **sampling) -> tuple[tuple[Completion, ...], ...]:
        prompts = [self.prompt(seed) for seed in seeds]
        return await engine.generate([prompt for prompt, _ in prompts], *(p for _, p in prompts), **sampling)


async def unfinished(engine: RolloutEngine, wanted: bool) -> None:
    """Wait until vLLM has unfinished requests, or none."""
    async with asyncio.timeout(30):
        while bool(engine._llm.get_num_unfinished_requests()) != wanted:
            await asyncio.sleep(0.005)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("model"))
    yield bench
    bench.engine.shutdown()
    bench.runner.close()


def draws(groups: tuple[tuple[Completion, ...], ...]) -> list[tuple[list[int], list[float]]]:
    return [(c.token_ids.tolist(), c.rollout_logprobs.tolist()) for group in groups for c in group]


def test_equal_engines_repeat_each_other_and_die_loudly(bench: Bench):
    """First in the file: both engines must have the same history."""

    async def both(first: RolloutEngine, second: RolloutEngine) -> None:
        for seeds in (range(6), range(-1, 4), range(6)):
            one, two = draws(await bench.wave(first, seeds)), draws(await bench.wave(second, seeds))
            assert one == two
            assert len({tuple(tokens) for tokens, _ in one}) > len(one) // 2  # samples differ from one another

    async def dies(engine: RolloutEngine) -> None:
        core = [p for p in psutil.Process().children() if p.pid not in others]
        for process in core:  # stopped, so that both calls are under way when it dies
            os.kill(process.pid, signal.SIGSTOP)
        calls = [asyncio.create_task(call) for call in (bench.wave(engine, range(6)), engine.vision_runs())]
        while engine._core._died is None:
            await asyncio.sleep(0)
        for process in core:
            os.kill(process.pid, signal.SIGKILL)
        for call in calls:
            with pytest.raises(WorkerError, match="engine 0: vLLM's core process died"):
                await asyncio.wait_for(call, 30)
        with pytest.raises(WorkerError):
            await bench.wave(engine, range(1))

    others = {process.pid for process in psutil.Process().children()}
    second = bench.start()
    bench.runner.run(both(bench.engine, second))
    bench.runner.run(dies(second))
    second.shutdown()


def test_completions_are_whole(bench: Bench):
    groups = bench.runner.run(bench.wave(bench.engine, range(-1, 31), temperature=2.0))
    completions = [completion for group in groups for completion in group]
    assert len(completions) == 128
    end = bench.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert {c.finish_reason for c in completions} == {"stop", "length"}
    for c in completions:
        ended = c.token_ids[-1] == end
        assert c.finish_reason == ("stop" if ended else "length")
        assert ended or len(c.token_ids) == MAX_TOKENS
        assert c.text.rstrip("\ufffd") == bench.tokenizer.decode(c.token_ids).rstrip("\ufffd")  # half a character
        assert c.versions == (VersionSpan(start=0, end=len(c.token_ids), policy_version=0),)
        assert len(c.rollout_logprobs) == len(c.token_ids)
        assert (c.rollout_logprobs < 0).all()


def test_vision_tokens_are_never_sampled(bench: Bench):
    """Random weights like these 4 of 584 tokens as much as any other: without the ban, about 15 of the draws."""
    groups = bench.runner.run(bench.wave(bench.engine, range(32), temperature=2.0))
    tokens = np.concatenate([completion.token_ids for group in groups for completion in group])
    assert len(tokens) > 2000
    assert not np.isin(tokens, banned_token_ids(bench.engine._llm.model_config.hf_config)).any()


def test_greedy_is_one_completion(bench: Bench):
    (first,), (again,) = (
        bench.runner.run(bench.wave(bench.engine, range(1), temperature=0.0, group_size=1)) for _ in "ab"
    )
    assert draws((first,)) == draws((again,))
    with pytest.raises(RolloutError, match="got group_size 4 at temperature 0, wanted 1"):
        bench.runner.run(bench.wave(bench.engine, range(1), temperature=0.0))


def test_a_bad_prompt_raises_and_the_engine_continues(bench: Bench):
    prompt, patches = bench.prompt(0)
    torn = Prompt(sample=prompt.sample, token_ids=prompt.token_ids[:-12], vision=prompt.vision * 2, media_key="torn")
    with pytest.raises(DataError, match="do not match"):
        bench.runner.run(bench.engine.generate([torn], patches))
    text, no_patches = bench.prompt(-1)
    endless = Prompt(sample=text.sample, token_ids=np.resize(text.token_ids, 300))
    with pytest.raises(RolloutError, match=r"engine 0: vLLM refuses the request: .*300"):
        bench.runner.run(bench.engine.generate([endless], no_patches))
    assert len(bench.runner.run(bench.wave(bench.engine, range(2)))) == 2


def test_a_paused_engine_waits_and_a_cancelled_call_leaves_nothing(bench: Bench):
    async def go() -> None:
        await bench.engine.pause()
        waiting = asyncio.create_task(bench.wave(bench.engine, range(2)))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        await bench.engine.resume()
        assert len(await asyncio.wait_for(waiting, 30)) == 2
        late = asyncio.create_task(bench.wave(bench.engine, range(16)))
        await unfinished(bench.engine, True)
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late
        await unfinished(bench.engine, False)

    bench.runner.run(go())


def test_an_engine_wakes_its_weights_for_a_push_and_the_rest_on_resume(bench: Bench):
    """On a CPU vLLM keeps the memory but still tracks which parts are awake."""

    async def go() -> None:
        before = draws(await bench.wave(bench.engine, range(2), group_size=1, temperature=0.0))
        await bench.engine.sleep()
        waiting = asyncio.create_task(bench.wave(bench.engine, range(2), group_size=1, temperature=0.0))
        assert await bench.engine._llm.is_sleeping()
        assert await bench.engine._llm.wake_up(tags=["scheduling"]) is False  # weights and keys are off the GPU
        await bench.engine.pause()
        assert await bench.engine._llm.wake_up(tags=["scheduling"]) is False  # keys still are
        assert not waiting.done()
        await bench.engine.resume()
        assert draws(await asyncio.wait_for(waiting, 60)) == before  # admitted between pause and resume
        assert not await bench.engine._llm.is_sleeping()
        await bench.engine.resume()  # of a running engine
        assert len(await bench.wave(bench.engine, range(1))) == 1

    bench.runner.run(go())


def test_shutdown_leaves_no_process_and_no_shared_memory(bench: Bench):
    children, held = set(psutil.Process().children(recursive=True)), shared_memory_of([os.getpid()])
    older = socket_files_of([os.getpid()])
    engine = bench.start(index=1)
    sockets = socket_files_of([os.getpid()]) - older
    assert sockets and all(map(os.path.exists, sockets))
    bench.runner.run(engine.ready())
    assert not any(map(os.path.exists, {*sockets, *map(os.path.dirname, sockets)}))
    assert len(bench.runner.run(bench.wave(engine, range(1)))) == 1  # all sockets are connected
    started = set(psutil.Process().children(recursive=True)) - children
    assert started
    held = shared_memory_of([os.getpid(), *(child.pid for child in started)]) - held
    engine.shutdown()
    _, alive = psutil.wait_procs(set(psutil.Process().children(recursive=True)) - children, timeout=10)
    assert alive == []
    assert left_of(held) == set()


def test_the_vision_tower_gets_frames_in_the_given_order(bench: Bench):
    prompt, patches = bench.prompt(40)
    twin = replace(prompt, frame_order=(2, 0, 3, 1), media_key="noise-40-shuffled")
    shown = replace(prompt, media_key="noise-40-permuted-before")

    async def look() -> list[str]:
        asked = ((prompt, patches), (twin, patches), (shown, in_order(twin, patches)))
        return [(await bench.engine.observe(*one, group_size=1)).pixel_rows for one in asked]

    plain, ordered, before = bench.runner.run(look())
    assert ordered == before != plain
    groups = bench.runner.run(bench.engine.generate((prompt, twin), patches, patches, group_size=(4, 2)))
    assert [len(group) for group in groups] == [4, 2]
