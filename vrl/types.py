"""The records that flow through vrl, in the order in which they are created. Standard library and numpy only.

Axes: T tokens or frames, G rollouts of a group, P prompt tokens, C completion tokens, THWC frame axes.
Records are frozen; a prompt's patches travel separately, as arrays or object references.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SPREAD_TOLERANCE = 1e-8  # rewards of a group that differ by at most this count as equal


@dataclass(frozen=True, kw_only=True, slots=True)
class Media:
    """One clip or image of a sample."""

    kind: str  # "video" or "image"
    path: str  # relative to data.root
    start_s: float = 0.0  # first second of the clip to use
    end_s: float | None = None  # last second; None: to the end of the file


@dataclass(frozen=True, kw_only=True, slots=True)
class Caption:
    """A sentence that is true of [start_s, end_s)."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One dataset row: media, question, truth, task."""

    sample_id: str  # stable and unique in the dataset
    task: str  # name of a module in vrl.tasks
    question: str
    answer: str = ""  # letter of an option, number, or text; empty if the truth is a span
    answer_type: str = "text"  # one of vrl.tasks.answer's, or span | elements
    media: tuple[Media, ...] = ()
    options: tuple[str, ...] = ()  # without letters; option i is letter chr(65 + i)
    spans: tuple[tuple[float, float], ...] = ()  # true events, seconds
    captions: tuple[Caption, ...] = ()
    key_elements: tuple[str, ...] = ()
    thinking: str = ""  # worked reasoning that a cold start may learn from, without tags
    source: str = ""  # where the row came from
    reply: str = ""  # the whole reply as published, which a cold start may learn in place of the task's target


@dataclass(frozen=True, kw_only=True, slots=True)
class Frames:
    """Decoded pixels with their true times."""

    pixels_THWC: np.ndarray  # uint8, RGB
    timestamps_s: np.ndarray  # float64 [T], presentation time from the start of the (cut) clip
    duration_s: float  # of the (cut) clip


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """How to show the clips of a question, if not as configured."""

    times_s: tuple[float, ...] = ()  # times in the (cut) clip, rising, even in number; empty: the configured choice
    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)  # left, top, right, bottom: fractions of the frame
    brightness: float = 1.0  # factor of every pixel value


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionGrid:
    """One image or clip as the vision tower sees it; the patch array has its patches in media order."""

    kind: str  # "video" or "image"
    grid_thw: tuple[int, int, int]  # patches: time, height, width (before spatial merging)
    seconds_per_grid: float = 0.0  # seconds between two time steps of the grid; 0 for an image

    @property
    def num_patches(self) -> int:
        t, h, w = self.grid_thw
        return t * h * w


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaWork:
    """Counts of the work to load clips and images."""

    decodes: int = 0  # started, failed ones included
    cache_hits: int = 0  # of data.cache
    corrupt_entries: int = 0  # found in data.cache, deleted and decoded again
    skipped_cues: int = 0  # subtitles that cannot be read, of decoded clips

    def __add__(self, other: "MediaWork") -> "MediaWork":
        return MediaWork(
            decodes=self.decodes + other.decodes,
            cache_hits=self.cache_hits + other.cache_hits,
            corrupt_entries=self.corrupt_entries + other.corrupt_entries,
            skipped_cues=self.skipped_cues + other.skipped_cues,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """A sample ready for generation. Its patches (uint8 [num_patches, patch_dim]) travel separately."""

    sample: Sample
    token_ids: np.ndarray  # int64 [P], placeholders expanded; ends with the assistant prefix, or before it if the
    # prefix is part of the target
    vision: tuple[VisionGrid, ...] = ()  # in prompt order
    timestamps_s: tuple[float, ...] = ()  # of the sampled frames of the first clip
    duration_s: float = 0.0  # of the first clip
    target_token_ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # SFT only: end token included
    text: str = ""  # token_ids as text, each clip and image as one placeholder; for people
    frame_order: tuple[int, ...] = ()  # frame i of the prompt is frame_order[i] of the first clip; empty: unchanged
    media_key: str = ""  # content address of the patches: file identity, frame choice, pixel budget
    decode_s: float = 0.0  # seconds spent decoding and processing
    media_work: MediaWork = field(default_factory=MediaWork)  # of its worker since the previous prompt


@dataclass(frozen=True, kw_only=True, slots=True)
class RawPrompt:
    """A prompt before any processing, for an engine that renders it."""

    text: str  # one placeholder for each of `media`
    media: tuple[tuple[str, Frames], ...]  # (kind, frames), in prompt order
    clip_kwargs: Mapping[str, Any] = field(default_factory=dict)  # for the Hugging Face video processor
    image_kwargs: Mapping[str, Any] = field(default_factory=dict)  # and for the image processor


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionSpan:
    """Tokens [start, end) of a completion were sampled by this policy version."""

    start: int
    end: int
    policy_version: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """The engine's result for one draw."""

    token_ids: np.ndarray  # int64 [C], the end token included when it was sampled
    rollout_logprobs: np.ndarray  # float32 [C], at the sampling temperature
    text: str  # special tokens kept
    finish_reason: str  # "stop" or "length"
    versions: tuple[VersionSpan, ...]  # cover [0, C)

    @property
    def policy_version(self) -> int:
        """The oldest policy version that sampled any of its tokens."""
        return min(span.policy_version for span in self.versions)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reward:
    """A scalar and its named parts; a part is None if it does not apply or is missing."""

    value: float
    breakdown: Mapping[str, float | None] = field(default_factory=dict)
    parsed: bool = True  # whether its task could parse the completion
    judge_failures: int = 0  # questions to a judge that got no usable answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """One completion and its reward."""

    completion: Completion
    reward: Reward


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutGroup:
    """All rollouts of one sample."""

    group_id: int  # order of reservation, unique in a run
    prompt: Prompt
    patches: Any  # reference to uint8 [num_patches, patch_dim] in the object store
    ordinal: int  # samples drawn before this one: a resumed run continues there
    rollouts: tuple[Rollout, ...]
    rollout_start_s: float = 0.0  # of its dispatch, on the driver's monotonic clock
    rollout_s: float = 0.0  # seconds from dispatch to the last completion
    reward_s: float = 0.0
    shuffled_tokens: int = 0  # sampled on permuted frames, for a reward that compares; never trained on

    @property
    def policy_version(self) -> int:
        return min(rollout.completion.policy_version for rollout in self.rollouts)

    @property
    def zero_spread(self) -> bool:
        """Whether all rewards are equal up to rounding."""
        return float(np.ptp(self.rewards_G)) <= SPREAD_TOLERANCE

    @property
    def rewards_G(self) -> np.ndarray:
        return np.array([rollout.reward.value for rollout in self.rollouts], dtype=np.float64)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingGroup:
    """One shared prompt and its completions, as the learner sees them. In SFT a group has one completion."""

    prompt_token_ids: np.ndarray  # int64 [P]
    vision: tuple[VisionGrid, ...]
    completions: tuple[np.ndarray, ...]  # G arrays, int64 [C_g]
    loss_masks: tuple[np.ndarray, ...]  # G arrays, bool [C_g]
    advantages_G: np.ndarray  # float32 [G]
    rollout_logprobs: tuple[np.ndarray, ...] = ()  # G arrays, float32 [C_g]; empty in SFT
    old_logprobs: tuple[np.ndarray, ...] = ()  # the learner's before the step, same shapes; empty: the update's own

    @property
    def num_tokens(self) -> int:
        return len(self.prompt_token_ids) + sum(len(c) for c in self.completions)

    @property
    def num_patches(self) -> int:
        return sum(grid.num_patches for grid in self.vision)

    @property
    def num_loss_tokens(self) -> int:
        return int(sum(int(mask.sum()) for mask in self.loss_masks))


@dataclass(frozen=True, kw_only=True, slots=True)
class MicroBatch:
    """The groups of one forward on one rank. `group_indices` point into the step's list of groups (and patches)."""

    groups: tuple[TrainingGroup, ...]
    group_indices: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepCounts:
    """Counts of what trains in one update, over all micro-batches and ranks: the divisors of summed losses."""

    num_loss_tokens: int
    num_sequences: int  # completions with at least one token that trains


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedBatch:
    """The work of one optimizer update: `micro_batches[rank][k]`, the same count on every rank."""

    micro_batches: tuple[tuple[MicroBatch, ...], ...]
    counts: StepCounts
    num_tokens: int  # tokens that go through the model
    num_unshared_tokens: int  # tokens if every completion carried its own prompt
    pad_frac: float  # fraction of the ranks' work time spent waiting for the costliest k-th micro-batch


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """The result of an optimizer update."""

    updates: int  # applied so far, over all steps
    lr: float
    grad_norm: float  # before clipping; not finite if the update was not applied
    applied: bool = True  # False: a loss or gradient was not finite; no weight changed and nothing is pushed
    nonfinite_steps: int = 0  # updates that were not applied so far
