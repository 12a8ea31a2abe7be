"""The tokens that a policy may not sample: one list for the engine's sampler and the learner's logits.

The engine adds minus infinity to the logits of these tokens before temperature and softmax; a learner that does the
same computes the same distribution, so log-probs stay comparable to the last bit. Does not touch logits itself.
"""

from typing import Any


def banned_token_ids(hf_config: Any) -> tuple[int, ...]:
    """Return the ascending ids of the tokens that represent or delimit pixels: image, video, vision start and end.

    `hf_config` is the Hugging Face model configuration. A sampled placeholder would be a slot without a feature;
    engines and learners that find slots by token id fail on it.
    """
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    return tuple(sorted({getattr(hf_config, name) for name in names}))
