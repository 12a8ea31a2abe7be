"""Prompts from samples and their frames: token ids and raw patches, in one pass through a checkpoint's processor.

Engine and learner get the same result, so both see the same ids, grids and bytes. Patches stay
uint8: each side applies the affine map of vrl.data.normalisation. Does not decode and does not choose frames.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import transformers
from PIL import Image
from transformers import AutoProcessor, Qwen3VLVideoProcessor

from vrl.config import FrameConfig, ModelConfig
from vrl.data.normalisation import normalisation
from vrl.data.vision import Vision
from vrl.data.wording import CHAT_TOKENS, Wording, target_text, user_text
from vrl.errors import ConfigError, DataError
from vrl.tasks.event import true_spans
from vrl.tasks.tags import after_header, header
from vrl.tasks.task import Clip, Task
from vrl.types import Frames, Media, Prompt, RawPrompt, Sample, View, VisionGrid

_CLOCK_HZ = 1000  # the processor gets times as frame numbers of a 1000 Hz clip: exact to 1 ms at any frame rate
_PLAIN = View()
_OWN_WORDS = Wording()
_PATCHES_VERSION = 1  # increase when our code changes the frames or patches of a file: caches outlive versions
_FAMILIES = ("Qwen2VLProcessor", "Qwen2_5_VLProcessor", "Qwen3VLProcessor")


class PromptBuilder:
    """A builder of prompts for one checkpoint, frame choice and wording, with room for `max_tokens` of completion.

    Raises ConfigError for a checkpoint of another family, or one that normalises clips and images differently.
    """

    def __init__(self, model: ModelConfig, frames: FrameConfig, max_tokens: int, wording: Wording = _OWN_WORDS) -> None:
        normalisation(model.path)
        self._processor: Any = AutoProcessor.from_pretrained(model.path, trust_remote_code=model.trust_remote_code)
        if type(self._processor).__name__ not in _FAMILIES:
            raise ConfigError(
                f"model.path {model.path}: got a {type(self._processor).__name__}, wanted one of {_FAMILIES}"
            )
        self._tokenizer: Any = self._processor.tokenizer
        self._end_id = self._tokenizer.convert_tokens_to_ids("<|im_end|>")
        self._special_tokens = [str(t) for t in self._tokenizer.added_tokens_decoder.values() if t.special]
        self._frames = frames
        self._wording = wording
        self._context = model.max_context_tokens
        self._room = model.max_context_tokens - max_tokens
        settings = [_PATCHES_VERSION, transformers.__version__, self._processor.to_dict(), asdict(frames)]
        self._fingerprint = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).digest()

    def process_media(self, media: Media, frames: Frames) -> Vision:
        """Run the processor on the frames of one clip or image; return all that a prompt needs of them.

        Raises DataError (processor) for frames of an impossible shape.
        """
        try:
            return self._process_clip(frames) if media.kind == "video" else self._process_image(frames)
        except ValueError as error:  # the processor refuses some shapes, such as 1 x 500 pixels
            shape = frames.pixels_THWC.shape
            raise DataError(f"{media.path}: {media.kind} of shape {shape}: {error}", reason="processor") from error

    def build(
        self, sample: Sample, task: Task, visions: Sequence[Vision], subtitles: Sequence[str] = ()
    ) -> tuple[Prompt, np.ndarray]:
        """Return a prompt for generation, which ends in the prefix, and its patches uint8 [num_patches, patch_dim].

        `visions[i]` is the result of `process_media` for `sample.media[i]`; patches are in that order. `subtitles`:
        those of the first clip, for a template that shows them.
        Raises DataError: special_token (a text of the sample contains a token of the chat format), spans (outside the
        clip), too_long.
        """
        head, _, patches = self._head(sample, task, visions, subtitles)
        prefix = self._wording.prefix(task)
        prompt = replace(head, token_ids=np.concatenate([head.token_ids, self._ids(prefix)]), text=head.text + prefix)
        self._check_length(
            prompt, len(prompt.token_ids), self._room, "prompt", "max_context_tokens - rollout.max_tokens"
        )
        return prompt, patches

    def build_sft(
        self,
        sample: Sample,
        task: Task,
        visions: Sequence[Vision],
        subtitles: Sequence[str] = (),
        *,
        train_prefix: bool,
    ) -> tuple[Prompt, np.ndarray]:
        """Return a prompt with its `target_token_ids` (end token included), and its patches.

        The prefix opens the target if `train_prefix`, else it ends the prompt. Prefix and target are tokenised
        separately, so the ids of prompt and prefix equal those of `build`. Raises DataError as `build` does.
        """
        head, clip, patches = self._head(sample, task, visions, subtitles)
        prefix_text = self._wording.prefix(task)
        prefix = self._ids(prefix_text)
        written = target_text(self._wording, sample, task, clip)
        target = np.append(self._ids(after_header(head.text, written)), self._end_id)
        if train_prefix:
            prompt = replace(head, target_token_ids=np.concatenate([prefix, target]))
        else:
            ids = np.concatenate([head.token_ids, prefix])
            prompt = replace(head, token_ids=ids, text=head.text + prefix_text, target_token_ids=target)
        length = len(prompt.token_ids) + len(prompt.target_token_ids)
        self._check_length(prompt, length, self._context, "prompt and target", "max_context_tokens")
        return prompt, patches

    def vision_key(self, content: str, media: Media, view: View = _PLAIN) -> str:
        """Return the address of a `process_media` result, from content, cut, frame choice, view and processor."""
        identity = [content, media.kind, media.start_s, media.end_s, asdict(view)]
        return hashlib.sha256(self._fingerprint + json.dumps(identity).encode()).hexdigest()

    def raw(self, prompt: Prompt, frames: Sequence[Frames]) -> RawPrompt:
        """Return a built prompt before expansion, with the frames of its media, for another renderer."""
        kinds = [media.kind for media in prompt.sample.media]
        most = max((len(f.pixels_THWC) for kind, f in zip(kinds, frames, strict=True) if kind == "video"), default=0)
        return RawPrompt(
            text=prompt.text,
            media=tuple(zip(kinds, frames, strict=True)),
            clip_kwargs=self.clip_kwargs(most),
            image_kwargs=self.image_kwargs(),
        )

    def clip_kwargs(self, num_frames: int) -> dict[str, Any]:
        """Return the arguments of the video processor for `num_frames` frames; an engine that renders must use them.

        Qwen3-VL bounds the pixels of the whole clip, the older families those of one frame. `cap_pixels_per_frame` is
        off because we set the bounds, and its default is about to change.
        """
        share = num_frames if isinstance(self._processor.video_processor, Qwen3VLVideoProcessor) else 1
        size = {"shortest_edge": self._frames.min_pixels * share, "longest_edge": self._frames.max_pixels * share}
        return {"do_sample_frames": False, "cap_pixels_per_frame": False, "size": size}

    def image_kwargs(self) -> dict[str, Any]:
        """Return the arguments of the image processor."""
        frames = self._frames
        least, most = frames.image_min_pixels or frames.min_pixels, frames.image_max_pixels or frames.max_pixels
        return {"size": {"shortest_edge": least, "longest_edge": most}}

    def _head(
        self, sample: Sample, task: Task, visions: Sequence[Vision], subtitles: Sequence[str]
    ) -> tuple[Prompt, Clip, np.ndarray]:
        """Return the prompt up to the assistant header, the clip that its words are about, and its patches."""
        self._refuse_special_tokens(sample, subtitles)
        shown = next((vision for vision in visions if vision.grid.kind == "video"), None)
        clip = Clip(
            duration_s=shown.duration_s if shown else 0.0,
            timestamps_s=shown.timestamps_s if shown else (),
            subtitles=tuple(subtitles),
        )
        if shown:
            true_spans(sample, clip.duration_s)  # refuses events outside the clip
        asked = user_text(self._wording, sample, task, clip)
        media, words = [{"type": item.kind} for item in sample.media], [{"type": "text", "text": asked}]
        content = [*words, *media] if self._wording.text_first else [*media, *words]
        system = self._wording.system
        turns = [{"role": "system", "content": [{"type": "text", "text": system}]}] if system else []
        text = self._processor.apply_chat_template(
            [*turns, {"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        text = header(text, thinks=task.thinks)
        texts = {kind: [v.text for v in visions if v.grid.kind == kind] for kind in ("image", "video")}
        expanded, _ = self._processor.get_text_with_replacements([text], texts["image"], texts["video"])
        prompt = Prompt(
            sample=sample,
            token_ids=self._ids(expanded[0]),
            vision=tuple(vision.grid for vision in visions),
            timestamps_s=clip.timestamps_s,
            duration_s=clip.duration_s,
            text=text,
        )
        patches = [vision.patches for vision in visions] or [np.zeros((0, 0), dtype=np.uint8)]
        return prompt, clip, np.concatenate(patches) if len(patches) > 1 else patches[0]

    def _process_clip(self, frames: Frames) -> Vision:
        processor = self._processor.video_processor
        out = processor(
            videos=[frames.pixels_THWC],
            video_metadata=[clock_metadata(frames)],
            input_data_format="channels_last",
            do_rescale=False,
            do_normalize=False,
            return_metadata=True,
            return_tensors="pt",
            **self.clip_kwargs(len(frames.pixels_THWC)),
        )
        t, h, w = out["video_grid_thw"][0].tolist()
        seconds_per_grid = processor.temporal_patch_size / out["video_metadata"][0].sampled_fps
        return Vision(
            grid=VisionGrid(kind="video", grid_thw=(t, h, w), seconds_per_grid=seconds_per_grid),
            patches=out["pixel_values_videos"].numpy(),
            text=self._processor.replace_video_token(out, video_idx=0),
            timestamps_s=tuple(frames.timestamps_s.tolist()),
            duration_s=frames.duration_s,
        )

    def _process_image(self, frames: Frames) -> Vision:
        image = Image.fromarray(frames.pixels_THWC[0])
        out = self._processor.image_processor(
            images=[image], do_rescale=False, do_normalize=False, return_tensors="pt", **self.image_kwargs()
        )
        t, h, w = out["image_grid_thw"][0].tolist()
        return Vision(
            grid=VisionGrid(kind="image", grid_thw=(t, h, w)),
            patches=out["pixel_values"].numpy(),
            text=self._processor.replace_image_token(out, image_idx=0),
            timestamps_s=tuple(frames.timestamps_s.tolist()),
            duration_s=frames.duration_s,
        )

    def _ids(self, text: str) -> np.ndarray:
        return np.array(self._tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int64)

    def _refuse_special_tokens(self, sample: Sample, subtitles: Sequence[str]) -> None:
        """Raise DataError for a text with a special token; a published reply may have those that vrl parses."""
        plain = (sample.question, *sample.options, sample.answer, *sample.key_elements, sample.thinking, *subtitles)
        checked = [(text, self._special_tokens) for text in plain] + [(sample.reply, CHAT_TOKENS)]
        for text, tokens in checked:
            found = [token for token in tokens if token in text]
            if found:
                raise DataError(
                    f"sample {sample.sample_id}: got the special tokens {found} in {text!r}, wanted plain text: they "
                    "would be read as chat format or as pixels",
                    reason="special_token",
                )

    def _check_length(self, prompt: Prompt, got: int, limit: int, what: str, bound: str) -> None:
        if got > limit:
            raise DataError(
                f"sample {prompt.sample.sample_id}: {what} of {got} tokens, wanted at most {limit} ({bound}); raise "
                "model.max_context_tokens or lower data.frames.max_frames or data.frames.max_pixels",
                reason="too_long",
            )


def clock_metadata(frames: Frames) -> dict[str, Any]:
    """Return the times of a clip as `video_metadata` of transformers and vLLM."""
    return {
        "fps": float(_CLOCK_HZ),
        "duration": frames.duration_s,
        "total_num_frames": round(frames.duration_s * _CLOCK_HZ),
        "frames_indices": [round(time_s * _CLOCK_HZ) for time_s in frames.timestamps_s.tolist()],
    }
