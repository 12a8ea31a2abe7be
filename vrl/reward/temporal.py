"""Is what a thinking says to be seen, and when, true? Video-R2's temporal alignment.

Source: Video-R2's public training code (arXiv 2511.23478). Pure: works on claims that a judge
extracted and on similarities that were computed before.
"""

import numpy as np

from vrl.reward.record import Claim, RewardInput
from vrl.types import Caption


def temporal(given: RewardInput) -> float | None:
    """Share of the claims that a caption confirms (precision); with reward.temporal_score=f1, the F1 over both sides.

    A claim is confirmed by a caption within +-2 x reward.temporal_slack_s of it and at least reward.min_similarity like
    it; no caption confirms two claims. Precision is the paper's: one safe claim earns all of it. F1 closes that (the
    paper's trainer names it, its definition is ours). No thinking, no claims: 0. None where the sample has no captions
    or the judge gave no usable answer. The gate on consistency is the rubric's: when: [consistency>=1].
    """
    captions = given.sample.captions
    if not captions:
        return None
    if given.parsed is None or not given.parsed.thinking:
        return 0.0
    claims, similarity = given.judgement.claims, given.judgement.similarity
    if claims is None or similarity is None:
        return None
    if not claims:
        return 0.0
    matched = len(match(claims, captions, similarity, given.rules.temporal_slack_s, given.rules.min_similarity))
    if given.rules.temporal_score == "f1":
        return 2 * matched / (len(claims) + len(captions))
    return matched / len(claims)


def match(
    claims: tuple[Claim, ...],
    captions: tuple[Caption, ...],
    similarity: np.ndarray,
    slack_s: float,
    min_similarity: float,
) -> list[tuple[int, int]]:
    """Pairs (claim, caption), one-to-one, found greedily in the order of the claims' middles.

    Candidates are captions not yet taken that overlap the claim after both were widened by `slack_s` on either side;
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
    """Seconds between the two stretches; not above 0 where they touch."""
    return max(claim.start_s - caption.end_s, caption.start_s - claim.end_s)


REWARDS = {"temporal": temporal}
ASKS = {"temporal": ("claims",)}
