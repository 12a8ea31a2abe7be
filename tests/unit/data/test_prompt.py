import asyncio
import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import AutoProcessor

from vrl.config import FrameConfig, ModelConfig, RewardTermConfig, TaskConfig
from vrl.data.prompt import PromptBuilder, clock_metadata
from vrl.errors import ConfigError, DataError
from vrl.reward.worker import RewardWorker
from vrl.tasks import TASKS
from vrl.tasks.tags import from_header
from vrl.tasks.task import Clip
from vrl.types import Caption, Completion, Frames, Media, Prompt, Sample, VersionSpan

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
FRAMES = FrameConfig(min_pixels=28 * 28, max_pixels=84 * 84)
VQA = TASKS["vqa"]
CLIP, IMAGE = Media(kind="video", path="a.mp4"), Media(kind="image", path="b.png")
SAMPLE = Sample(
    sample_id="s", task="vqa", question="What colour?", answer="B", answer_type="choice", options=("red", "blue")
)


def clip(num_frames: int, step_s: float, height: int = 56, width: int = 56) -> Frames:
    pixels = np.random.default_rng(num_frames).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)
    return Frames(
        pixels_THWC=pixels, timestamps_s=np.arange(num_frames) * step_s, duration_s=float(num_frames * step_s)
    )


def image(height: int, width: int) -> Frames:
    frames = clip(1, 0.0, height, width)
    return replace(frames, duration_s=0.0)


def builder(folder: Path, frames: FrameConfig = FRAMES, context: int = 4096, max_tokens: int = 16) -> PromptBuilder:
    return PromptBuilder(ModelConfig(path=str(folder), max_context_tokens=context), frames, max_tokens)


def build(prompts: PromptBuilder, sample: Sample, frames: list[Frames]) -> tuple[Prompt, np.ndarray]:
    visions = [prompts.process_media(media, shown) for media, shown in zip(sample.media, frames, strict=True)]
    return prompts.build(sample, VQA, visions)


def rendered(folder: Path, prompts: PromptBuilder, sample: Sample, media: list[Frames]) -> Any:
    """Render the sample with the checkpoint's processor in one call, as an engine renders a request."""
    processor: Any = AutoProcessor.from_pretrained(folder)
    content = [{"type": item.kind} for item in sample.media] + [
        {"type": "text", "text": VQA.instruction(sample, Clip(duration_s=0))}
    ]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    clips = [frames for item, frames in zip(sample.media, media, strict=True) if item.kind == "video"]
    images = [frames for item, frames in zip(sample.media, media, strict=True) if item.kind == "image"]
    raw = {"do_rescale": False, "do_normalize": False}
    return processor(
        text=[text + VQA.prefix],
        videos=[frames.pixels_THWC for frames in clips] or None,
        images=[Image.fromarray(frames.pixels_THWC[0]) for frames in images] or None,
        video_metadata=[clock_metadata(frames) for frames in clips],
        videos_kwargs={**raw, **prompts.clip_kwargs(len(clips[0].pixels_THWC) if clips else 2)},
        images_kwargs={**raw, **prompts.image_kwargs()},
        return_tensors="np",
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "media",
    [
        pytest.param([(CLIP, clip(16, 0.25))], id="clip"),
        pytest.param([(CLIP, clip(32, 0.48))], id="every 12th frame at 25 fps"),
        pytest.param([(CLIP, clip(16, 7 / 29.97, 100, 75))], id="odd rate, odd size"),
        pytest.param([(CLIP, clip(8, 0.5, 300, 200))], id="shrunk"),
        pytest.param([(IMAGE, image(112, 84))], id="image"),
        pytest.param([(IMAGE, image(84, 84)), (CLIP, clip(8, 1.0)), (IMAGE, image(56, 56))], id="mixed"),
        pytest.param([(CLIP, clip(8, 1.0)), (CLIP, clip(8, 0.25, 84, 56))], id="two clips"),
        pytest.param([], id="text"),
    ],
)
def test_ids_grids_and_bytes_are_those_of_the_processor(
    checkpoints: dict[str, Path], family: str, media: list[tuple[Media, Frames]]
) -> None:
    sample = replace(SAMPLE, media=tuple(item for item, _ in media))
    frames = [frames for _, frames in media]
    prompts = builder(checkpoints[family])
    prompt, patches = build(prompts, sample, frames)
    wanted = rendered(checkpoints[family], prompts, sample, frames)
    assert prompt.token_ids.tolist() == wanted["input_ids"][0].tolist()
    clips, images = ([grid for grid in prompt.vision if grid.kind == kind] for kind in ("video", "image"))
    assert [list(grid.grid_thw) for grid in clips] == wanted.get("video_grid_thw", np.zeros((0, 3))).tolist()
    assert [list(grid.grid_thw) for grid in images] == wanted.get("image_grid_thw", np.zeros((0, 3))).tolist()
    if clips and family == "qwen2_5_vl":
        assert [grid.seconds_per_grid for grid in clips] == wanted["second_per_grid_ts"].tolist()
    ends = np.cumsum([grid.num_patches for grid in prompt.vision]).tolist()
    parts = [patches[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    for kind, key in (("video", "pixel_values_videos"), ("image", "pixel_values")):
        mine = [part for part, grid in zip(parts, prompt.vision, strict=True) if grid.kind == kind]
        if mine:
            assert wanted[key].dtype == patches.dtype == np.uint8
            np.testing.assert_array_equal(np.concatenate(mine), wanted[key])
    assert sum(map(len, parts)) == len(patches)


@pytest.mark.parametrize("family", FAMILIES)
def test_true_times_reach_the_model(checkpoints: dict[str, Path], family: str) -> None:
    times_s = np.array([0.0, 0.7, 1.9, 2.1, 4.0, 4.4, 6.6, 7.0])  # a variable-rate clip
    frames = replace(clip(8, 1.0), timestamps_s=times_s)
    prompts = builder(checkpoints[family])
    prompt, _ = build(prompts, replace(SAMPLE, media=(CLIP,)), [frames])
    assert prompt.timestamps_s == tuple(times_s.tolist()) and prompt.duration_s == 8.0
    assert prompt.vision[0].seconds_per_grid == 2.0  # eight frames in 8 s, two per grid step
    text = prompts._tokenizer.decode(prompt.token_ids)
    for seconds in ("0.3", "2.0", "4.2", "6.8"):  # the middle of each pair
        assert (f"<{seconds} seconds>" in text) == (family == "qwen3_vl")


@pytest.mark.parametrize("family", FAMILIES)
def test_pixel_budget_is_of_one_frame_for_any_length(checkpoints: dict[str, Path], family: str) -> None:
    prompts = builder(checkpoints[family], FrameConfig(min_pixels=56 * 56, max_pixels=56 * 56))
    for num_frames in (4, 32):
        prompt, patches = build(prompts, replace(SAMPLE, media=(CLIP,)), [clip(num_frames, 0.5, 120, 120)])
        assert prompt.vision[0].grid_thw == (num_frames // 2, 4, 4)
        assert patches.shape == (num_frames // 2 * 16, 3 * 2 * 14 * 14)


FULL = replace(
    SAMPLE,
    spans=((1.0, 2.0),),
    captions=(Caption(start_s=0.0, end_s=4.0, text="There is a blue ball."),),
    key_elements=("blue ball", "red ball"),
    media=(CLIP,),
)


def test_images_may_have_a_pixel_budget_of_their_own(checkpoints: dict[str, Path]) -> None:
    shown = [(CLIP, clip(4, 1.0, 112, 112)), (IMAGE, image(112, 112))]
    sample = replace(SAMPLE, media=tuple(media for media, _ in shown))
    frames = replace(
        FRAMES, min_pixels=56 * 56, max_pixels=56 * 56, image_min_pixels=28 * 28, image_max_pixels=112 * 112
    )
    prompt, _ = build(builder(checkpoints["qwen2_vl"], frames), sample, [frame for _, frame in shown])
    assert [grid.grid_thw[1:] for grid in prompt.vision] == [(4, 4), (8, 8)]  # patches of 14 x 14


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", sorted(TASKS))
def test_sft_prompt_and_target_join_into_the_rl_prompt_and_its_answer(
    checkpoints: dict[str, Path], family: str, name: str
) -> None:
    prompts, task = builder(checkpoints[family]), TASKS[name]
    shown = [prompts.process_media(CLIP, clip(8, 0.5))]
    sample = replace(FULL, task=name)
    rl, _ = prompts.build(sample, task, shown)
    target = task.target(sample, Clip(duration_s=rl.duration_s, timestamps_s=rl.timestamps_s))
    decode = prompts._tokenizer.decode
    for train_prefix in (True, False):
        sft, _ = prompts.build_sft(sample, task, shown, train_prefix=train_prefix)
        whole = [*sft.token_ids, *sft.target_token_ids]
        assert whole[: len(rl.token_ids)] == rl.token_ids.tolist()
        assert decode(whole[len(rl.token_ids) :]) == f"{target}<|im_end|>"
        assert decode(sft.target_token_ids) == f"{task.prefix if train_prefix else ''}{target}<|im_end|>"
    assert decode(rl.token_ids).endswith(f"<|im_start|>assistant\n{task.prefix}")
    # a target survives tokenisation: its tokens decode to text with the same parse
    written = decode(prompts._tokenizer(target, add_special_tokens=False)["input_ids"])
    assert written == target and task.parse(f"{written}<|im_end|>") == task.parse(target) is not None


@pytest.mark.parametrize("token", ["<|video_pad|>", "<|image_pad|>", "<|vision_start|>", "<|im_end|>"])
def test_a_question_or_option_with_a_special_token_is_refused(checkpoints: dict[str, Path], token: str) -> None:
    prompts = builder(checkpoints["qwen2_vl"])
    for sample in (replace(SAMPLE, question=f"What {token}?"), replace(SAMPLE, options=("red", f"x{token}"))):
        with pytest.raises(DataError, match="special tokens") as caught:
            prompts.build(sample, VQA, [])
        assert caught.value.reason == "special_token"


def test_a_prompt_without_room_for_its_completion_is_refused(checkpoints: dict[str, Path]) -> None:
    prompt, _ = builder(checkpoints["qwen2_vl"]).build(SAMPLE, VQA, [])
    length = len(prompt.token_ids)
    builder(checkpoints["qwen2_vl"], context=length + 16).build(SAMPLE, VQA, [])
    with pytest.raises(DataError, match=f"prompt of {length} tokens, wanted at most {length - 1}") as caught:
        builder(checkpoints["qwen2_vl"], context=length + 15).build(SAMPLE, VQA, [])
    assert caught.value.reason == "too_long"
    with pytest.raises(DataError, match=f"prompt and target of {length + 2} tokens"):  # " B" and the end token
        builder(checkpoints["qwen2_vl"], context=length + 1, max_tokens=1).build_sft(SAMPLE, VQA, [], train_prefix=True)


def test_frames_that_cannot_be_shown_name_the_file(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(DataError, match=r"b\.png: image of shape \(1, 2, 900, 3\): .*aspect ratio") as caught:
        builder(checkpoints["qwen2_vl"]).process_media(IMAGE, image(2, 900))
    assert caught.value.reason == "processor"


def test_the_key_of_patches_changes_with_everything_they_depend_on(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    prompts = builder(checkpoints["qwen2_vl"])
    keys = [
        prompts.vision_key("content", CLIP),
        prompts.vision_key("other content", CLIP),
        prompts.vision_key("content", IMAGE),
        prompts.vision_key("content", replace(CLIP, start_s=0.5)),
        prompts.vision_key("content", replace(CLIP, end_s=1.0)),
        builder(checkpoints["qwen2_vl"], FrameConfig(fps=1.0)).vision_key("content", CLIP),
        builder(checkpoints["qwen3_vl"]).vision_key("content", CLIP),
    ]
    assert len(set(keys)) == len(keys)
    shutil.copytree(checkpoints["qwen2_vl"], tmp_path / "moved")
    assert builder(tmp_path / "moved").vision_key("content", replace(CLIP, path="moved.mp4")) == keys[0]


def test_checkpoints_that_would_be_read_wrongly_are_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(checkpoints["qwen3_vl"], folder)
    config = json.loads((folder / "processor_config.json").read_text())
    config["video_processor"]["image_mean"] = [0.4] * 3
    (folder / "processor_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="normalised differently"):
        builder(folder)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_a_thought_that_the_chat_template_opens_is_read_as_thought(
    checkpoints: dict[str, Path], tmp_path: Path, family: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(checkpoints[family], folder)
    template = folder / "chat_template.jinja"
    text = template.read_text()
    template.write_text(text.replace("<|im_start|>assistant\n", "<|im_start|>assistant\n<think>\n"))
    assert template.read_text() != text
    prompts = builder(folder)
    shown = [prompts.process_media(CLIP, clip(8, 0.5))]
    for name, task in TASKS.items():
        sample = replace(FULL, task=name)
        rl, _ = prompts.build(sample, task, shown)
        target = task.target(sample, Clip(duration_s=rl.duration_s, timestamps_s=rl.timestamps_s))
        sft, _ = prompts.build_sft(sample, task, shown, train_prefix=False)
        learnt = prompts._tokenizer.decode(sft.target_token_ids)
        assert sft.token_ids.tolist() == rl.token_ids.tolist()
        if not task.thinks:  # the thought ends empty before the prefix
            assert rl.text.endswith(f"assistant\n<think>\n\n</think>\n\n{task.prefix}")
            assert learnt == f"{target}<|im_end|>"
            continue
        assert rl.text.endswith("assistant\n<think>\n") and "<think>" not in learnt
        drawn = Completion(
            token_ids=sft.target_token_ids,
            rollout_logprobs=np.zeros(len(sft.target_token_ids), np.float32),
            text=learnt,
            finish_reason="stop",
            versions=(VersionSpan(start=0, end=len(sft.target_token_ids), policy_version=0),),
        )
        reward = RewardWorker([TaskConfig(task=name, rewards=[RewardTermConfig(reward="format")])])
        assert [one.value for one in asyncio.run(reward.score(rl, [drawn]))] == [1.0]
        parsed = task.parse(from_header(rl.text, learnt))
        assert parsed is not None and "There is a blue ball." in parsed.thinking


def test_a_span_outside_the_clip_makes_a_bad_sample(checkpoints: dict[str, Path]) -> None:
    prompts, task = builder(checkpoints["qwen2_vl"]), TASKS["grounding"]
    shown = [prompts.process_media(CLIP, clip(8, 0.5))]
    ends_late = replace(FULL, task="grounding", spans=((2.0, 9.0),))
    prompts.build(ends_late, task, shown)
    prompts.build_sft(ends_late, task, shown, train_prefix=False)
    outside = replace(ends_late, spans=((1.0, 2.0), (4.0, 9.0)))
    for prepare in (prompts.build, partial(prompts.build_sft, train_prefix=False)):
        with pytest.raises(DataError, match=r"sample s: got span \[4, 9\] s, .* the clip's end at 4\.00 s") as caught:
            prepare(outside, task, shown)
        assert caught.value.reason == "spans"
