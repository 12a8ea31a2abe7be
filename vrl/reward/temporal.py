"""Video-R2's temporal alignment: whether captions confirm what the thinking claims to see at a time.

Source: Video-R2's public training code (arXiv 2511.23478). Pure: claims and similarities are inputs.
"""

import numpy as np

from vrl.reward.inputs import Claim, RewardInput
from vrl.types import Caption


def temporal(inputs: RewardInput) -> float | None:
    """Fraction of the claims that a caption confirms (precision); with reward.temporal_score=f1, F1 over both sides.

    A claim is confirmed by a caption within +-2 x reward.temporal_slack_s of it with a similarity of at least
    reward.min_similarity; no caption confirms two claims. Precision is the paper's: one safe claim earns all of it. F1
    prevents that (the paper's trainer names it, its definition is ours). No thinking or no claims: 0. None if the
    sample has no captions or the judge gave no usable answer. The gate on consistency belongs to the rubric: when:
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

    Candidates are unmatched captions that overlap the claim after both are widened by `slack_s` on either side. The
    most similar one, the first of equals, is matched if its `similarity` [claims, captions] reaches `min_similarity`.
    """
    pairs: list[tuple[int, int]] = []
    free = set(range(len(captions)))
    for i in sorted(range(len(claims)), key=lambda i: claims[i].start_s + claims[i].end_s):
        start_s, end_s = claims[i].start_s, claims[i].end_s
        near = [j for j in sorted(free) if max(start_s - captions[j].end_s, captions[j].start_s - end_s) <= 2 * slack_s]
        best = max(near, key=lambda j: similarity[i, j], default=None)
        if best is not None and similarity[i, best] >= min_similarity:
            pairs.append((i, best))
            free.remove(best)
    return pairs


REWARDS = {"temporal": temporal}
ASKS = {"temporal": ("claims",)}
