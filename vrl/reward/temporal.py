"""Video-R2's temporal alignment: whether what the thinking claims to see at a time is true.

Source: Video-R2's public training code (arXiv 2511.23478). Pure: takes claims that a judge extracted and similarities
that were computed before.
"""

import numpy as np

from vrl.reward.inputs import Claim, RewardInput
from vrl.types import Caption


def temporal(inputs: RewardInput) -> float | None:
    """Share of the claims that a caption confirms (precision); with reward.temporal_score=f1, the F1 over both sides.

    A claim is confirmed by a caption within +-2 x reward.temporal_slack_s of it with a similarity of at least
    reward.min_similarity; no caption confirms two claims. Precision is the paper's: one safe claim earns all of it. F1
    closes that (the paper's trainer names it, its definition is ours). No thinking or no claims: 0. None if the sample
    has no captions or the judge gave no usable answer. The gate on consistency belongs to the rubric: when:
    [consistency>=1].
    """
    captions = inputs.sample.captions
    if not captions:
        return None
    if inputs.parsed is None or not inputs.parsed.thinking:
        return 0.0
    claims, similarity = inputs.judgement.claims, inputs.judgement.similarity
    if claims is None or similarity is None:
        return None
    if not claims:
        return 0.0
    matched = len(match(claims, captions, similarity, inputs.config.temporal_slack_s, inputs.config.min_similarity))
    if inputs.config.temporal_score == "f1":
        return 2 * matched / (len(claims) + len(captions))
    return matched / len(claims)


def match(
    claims: tuple[Claim, ...],
    captions: tuple[Caption, ...],
    similarity: np.ndarray,
    slack_s: float,
    min_similarity: float,
) -> list[tuple[int, int]]:
    """Return one-to-one pairs (claim, caption), found greedily in the order of the claims' midpoints.

    Candidates are captions not yet taken that overlap the claim after both are widened by `slack_s` on either side;
    the most similar one is taken if `similarity` [claims, captions] reaches `min_similarity`; the first of equals.
    """
    pairs: list[tuple[int, int]] = []
    free = set(range(len(captions)))
    for i in sorted(range(len(claims)), key=lambda i: claims[i].start_s + claims[i].end_s):
        near = [j for j in sorted(free) if _gap_s(claims[i], captions[j]) <= 2 * slack_s]
        best = max(near, key=lambda j: similarity[i, j], default=None)
        if best is not None and similarity[i, best] >= min_similarity:
            pairs.append((i, best))
            free.remove(best)
    return pairs


def _gap_s(claim: Claim, caption: Caption) -> float:
    """Return the seconds between claim and caption, 0 or less if they touch."""
    return max(claim.start_s - caption.end_s, caption.start_s - claim.end_s)


REWARDS = {"temporal": temporal}
ASKS = {"temporal": ("claims",)}
