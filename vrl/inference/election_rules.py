"""RLER's election: candidates weigh by their evidence and by the agreement of their cited frames. Pure.

Known from notes on the paper (arXiv 2604.04379): evidence scores, votes weighted by them and by the overlap of cited
frames, extreme candidates dropped, an early stop by margin and confidence. If the notes leave a formula open, it is our
definition, and its docstring says so. All sums are exactly rounded, so the order of candidates changes nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum
from statistics import median

from vrl.inference.answer import Candidate
from vrl.inference.config import ElectionConfig
from vrl.inference.strategies.majority import mean_confidence, most_confident
from vrl.types import View

_MIN_FOR_OUTLIERS = 4  # fewer candidates have no outliers
_OVERLAP_ALONE = 0.5  # overlap of a candidate whose answer no other gives
_CROPS = (("centre", 0.5, 0.5), ("top left", 0, 0), ("top right", 1, 0), ("bottom left", 0, 1), ("bottom right", 1, 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateSpec:
    """How one candidate is drawn."""

    name: str  # of the view
    view: View
    temperature: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The state of an election."""

    winner: Candidate  # supporter of the leading answer with most weight; the most confident if none can be parsed
    shares: Mapping[str, float] = field(default_factory=dict)  # of the weight, by answer, most first; they sum to 1
    margin: float = 0.0  # between the first two shares; 1 if all give the same answer
    confidence: float = 0.0  # mean over the leader's supporters
    dropped: tuple[Candidate, ...] = ()  # dropped as extreme, in the order of the candidates

    @property
    def leader(self) -> str:
        """The leading answer's key; empty if no candidate can be parsed."""
        return next(iter(self.shares), "")


def schedule(config: ElectionConfig) -> tuple[CandidateSpec, ...]:
    """Return how the candidates are drawn, `max_candidates` of them.

    First the unchanged frames, one candidate per temperature; then crops in five places, cycling through places and
    brightness factors (grid and perturbations are RLER's; their strengths and order are our definition).
    """
    plain = [CandidateSpec(name="frames", view=View(), temperature=temperature) for temperature in config.temperatures]
    return tuple(plain + [_crop(config, i) for i in range(config.max_candidates - len(plain))])


def _crop(config: ElectionConfig, number: int) -> CandidateSpec:
    place, right, down = _CROPS[number % len(_CROPS)]
    brightness = config.brightness[number % len(config.brightness)] if config.brightness else 1.0
    left, top = (1 - config.crop) * right, (1 - config.crop) * down
    return CandidateSpec(
        name=f"{place} x{brightness:g}",
        view=View(crop=(left, top, left + config.crop, top + config.crop), brightness=brightness),
        temperature=config.crop_temperature,
    )


def elect(
    candidates: Sequence[Candidate], config: ElectionConfig, discounts: Mapping[str, float] | None = None
) -> Outcome:
    """Return the weighted election's outcome. `discounts` multiply the weights of all candidates with a key.

    The share of an answer is the sum of its supporters' weights over all weights. A tie goes to the answer with the
    higher mean confidence, then to the one that sorts first. Candidates without a key have no weight.
    """
    voters = [candidate for candidate in candidates if candidate.key]
    if not voters:
        return Outcome(winner=most_confident(candidates))
    extreme = _extreme(voters, config, discounts or {})
    kept = [candidate for candidate in voters if id(candidate) not in extreme]
    weights = _weights(kept, config, discounts or {})
    shares = _shares(kept, weights)
    supporters = [(weight, one) for weight, one in zip(weights, kept, strict=True) if one.key == next(iter(shares))]
    ranked = [*shares.values(), 0.0]
    return Outcome(
        winner=min(supporters, key=lambda pair: (-pair[0], -pair[1].confidence, pair[1].text))[1],
        shares=shares,
        margin=ranked[0] - ranked[1],
        confidence=mean_confidence([one for _, one in supporters]),
        dropped=tuple(candidate for candidate in voters if id(candidate) in extreme),
    )


def stop_reason(
    candidates: Sequence[Candidate], outcome: Outcome, config: ElectionConfig, refused: str | None = None
) -> str:
    """Return why no further candidate is drawn; empty if one is.

    `margin`: the leader is ahead by more than `margin`, with confidence above `confidence` (RLER's rule). `unanimous`:
    all give the same answer, at any confidence (our definition). `max_candidates`: the schedule is exhausted, which is
    the only reason while the key that a referee `refused` leads (our definition).
    """
    if outcome.leader != refused:
        if len({candidate.key for candidate in candidates}) == 1 and outcome.leader:
            return "unanimous"
        if outcome.margin > config.margin and outcome.confidence > config.confidence:
            return "margin"
    return "max_candidates" if len(candidates) >= config.max_candidates else ""


def overlap(candidate: Candidate, others: Sequence[Candidate]) -> float:
    """Return the mean Jaccard overlap of its cited frames with those of each of `others`, who give the same answer.

    Our definition: 0 if it cites nothing, 0.5 if no other candidate gives the same answer.
    """
    cited = candidate.keyframes
    if not cited:
        return 0.0
    if not others:
        return _OVERLAP_ALONE
    return fsum(len(cited & other.keyframes) / len(cited | other.keyframes) for other in others) / len(others)


def _weights(voters: Sequence[Candidate], config: ElectionConfig, discounts: Mapping[str, float]) -> list[float]:
    """w = S (1 + overlap_weight x kappa) / (1 + overlap_weight), kappa the overlap (our definition)."""
    weights = []
    for candidate in voters:
        kappa = overlap(candidate, [other for other in voters if other is not candidate and other.key == candidate.key])
        agreement = (1 + config.overlap_weight * kappa) / (1 + config.overlap_weight)
        weights.append(candidate.evidence * agreement * discounts.get(candidate.key, 1.0))
    return weights


def _shares(voters: Sequence[Candidate], weights: Sequence[float]) -> dict[str, float]:
    total = fsum(weights)
    keys = {candidate.key for candidate in voters}
    shares = {
        key: fsum(weight for weight, one in zip(weights, voters, strict=True) if one.key == key) / total
        if total
        else 1 / len(keys)
        for key in keys
    }
    confidence = {key: mean_confidence([one for one in voters if one.key == key]) for key in keys}
    return {key: shares[key] for key in sorted(keys, key=lambda key: (-shares[key], -confidence[key], key))}


def _extreme(voters: Sequence[Candidate], config: ElectionConfig, discounts: Mapping[str, float]) -> Collection[int]:
    """Return the ids of those whose evidence is more than `outlier_mads` median absolute deviations from the median.

    Our definition. Empty for fewer than four voters or a deviation of 0. Of the answer that leads before anyone is
    dropped, the supporter nearest to the median always stays.
    """
    if len(voters) < _MIN_FOR_OUTLIERS:
        return ()
    middle = median(candidate.evidence for candidate in voters)
    deviation = {id(candidate): abs(candidate.evidence - middle) for candidate in voters}
    spread = median(deviation[id(candidate)] for candidate in voters)
    extreme = {voter for voter, value in deviation.items() if spread and value > config.outlier_mads * spread}
    leader = next(iter(_shares(voters, _weights(voters, config, discounts))))
    backers = [id(candidate) for candidate in voters if candidate.key == leader]
    if extreme.issuperset(backers):
        nearest = min(deviation[backer] for backer in backers)
        extreme -= {backer for backer in backers if deviation[backer] == nearest}
    return extreme
