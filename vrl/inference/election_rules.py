"""RLER's election: candidates weigh by their evidence and by how much their cited frames agree. Pure.

Known from notes on the paper (arXiv 2604.04379): evidence scores, votes weighted by them and by the overlap of cited
frames, extreme candidates left out, an early stop by margin and confidence. The formulas below are our definition where
the notes leave them open, and say so. All sums are exactly rounded, so the order of candidates changes nothing.
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
_ALONE = 0.5  # overlap of a candidate whose answer no other gives
_CROPS = (("centre", 0.5, 0.5), ("top left", 0, 0), ("top right", 1, 0), ("bottom left", 0, 1), ("bottom right", 1, 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """How one candidate is drawn."""

    name: str
    view: View
    temperature: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The state of an election."""

    winner: Candidate  # supporter of the leading answer with most weight; the most confident if none can be parsed
    shares: Mapping[str, float] = field(default_factory=dict)  # of the weight, by answer, most first; they sum to 1
    margin: float = 0.0  # between the first two shares; 1 where all say the same
    confidence: float = 0.0  # mean over the leader's supporters
    dropped: tuple[Candidate, ...] = ()  # left out as extreme, in the order of the candidates

    @property
    def leader(self) -> str:
        """The leading answer's key; empty if no candidate can be parsed."""
        return next(iter(self.shares), "")


def schedule(config: ElectionConfig) -> tuple[Slot, ...]:
    """How the candidates are drawn, `max_candidates` of them.

    First the unchanged frames, one candidate per temperature. Then crops in five places with the brightnesses in turn,
    again and again (grid and perturbations are RLER's; their strengths and order our definition).
    """
    plain = [Slot(name="frames", view=View(), temperature=temperature) for temperature in config.temperatures]
    return tuple(plain + [_crop(config, i) for i in range(config.max_candidates - len(plain))])


def _crop(config: ElectionConfig, number: int) -> Slot:
    place, right, down = _CROPS[number % len(_CROPS)]
    brightness = config.brightness[number % len(config.brightness)] if config.brightness else 1.0
    left, top = (1 - config.crop) * right, (1 - config.crop) * down
    return Slot(
        name=f"{place} x{brightness:g}",
        view=View(crop=(left, top, left + config.crop, top + config.crop), brightness=brightness),
        temperature=config.crop_temperature,
    )


def elect(
    candidates: Sequence[Candidate], config: ElectionConfig, discounts: Mapping[str, float] | None = None
) -> Outcome:
    """The weighted election. `discounts` multiply the weight of all who say a key.

    The share of an answer is the sum of its supporters' weights over all weights. Of equal shares the answer with the
    more confident supporters leads, then the one that sorts first. Candidates without a key have no weight.
    """
    voters = [candidate for candidate in candidates if candidate.key]
    if not voters:
        return Outcome(winner=most_confident(candidates))
    extreme = _extreme(voters, config, discounts or {})
    heard = [candidate for candidate in voters if id(candidate) not in extreme]
    weights = _weights(heard, config, discounts or {})
    shares = _shares(heard, weights)
    supporters = [(weight, one) for weight, one in zip(weights, heard, strict=True) if one.key == next(iter(shares))]
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
    """Why no further candidate is drawn; empty: one is.

    `margin`: the leader is ahead by more than `margin` and confident above `confidence` (RLER's rule). `unanimous`: all
    say the same, however confident they are (our definition). `max_candidates`: nothing is left of the schedule, which
    is the only reason while the key that a referee `refused` leads (our definition).
    """
    if outcome.leader != refused:
        if len({candidate.key for candidate in candidates}) == 1 and outcome.leader:
            return "unanimous"
        if outcome.margin > config.margin and outcome.confidence > config.confidence:
            return "margin"
    return "max_candidates" if len(candidates) >= config.max_candidates else ""


def overlap(candidate: Candidate, others: Sequence[Candidate]) -> float:
    """Mean Jaccard overlap of its cited frames with those of each of `others`, who say the same.

    Our definition: 0 where it cites nothing, 0.5 if no other candidate gives the same answer.
    """
    if not candidate.keyframes:
        return 0.0
    if not others:
        return _ALONE
    return fsum(_jaccard(candidate.keyframes, other.keyframes) for other in others) / len(others)


def _jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    return len(one & other) / len(one | other)


def _weights(heard: Sequence[Candidate], config: ElectionConfig, discounts: Mapping[str, float]) -> list[float]:
    """w = S (1 + overlap_weight x kappa) / (1 + overlap_weight), kappa the overlap (our definition)."""
    found = []
    for candidate in heard:
        kappa = overlap(candidate, [other for other in heard if other is not candidate and other.key == candidate.key])
        agreed = (1 + config.overlap_weight * kappa) / (1 + config.overlap_weight)
        found.append(candidate.evidence * agreed * discounts.get(candidate.key, 1.0))
    return found


def _shares(heard: Sequence[Candidate], weights: Sequence[float]) -> dict[str, float]:
    total = fsum(weights)
    keys = {candidate.key for candidate in heard}
    raw = {
        key: fsum(weight for weight, one in zip(weights, heard, strict=True) if one.key == key) / total
        if total
        else 1 / len(keys)
        for key in keys
    }
    sure = {key: mean_confidence([one for one in heard if one.key == key]) for key in keys}
    return {key: raw[key] for key in sorted(keys, key=lambda key: (-raw[key], -sure[key], key))}


def _extreme(voters: Sequence[Candidate], config: ElectionConfig, discounts: Mapping[str, float]) -> Collection[int]:
    """Ids of those whose evidence lies further than `outlier_mads` median absolute deviations from the median.

    Our definition. None of fewer than four, none if the deviation is 0, and of the answer that leads with all
    heard, the supporter nearest to the median stays in any case.
    """
    if len(voters) < _MIN_FOR_OUTLIERS:
        return ()
    middle = median(candidate.evidence for candidate in voters)
    spread = median(abs(candidate.evidence - middle) for candidate in voters)
    away = {id(candidate): abs(candidate.evidence - middle) for candidate in voters}
    found = {id(candidate) for candidate in voters if spread and away[id(candidate)] > config.outlier_mads * spread}
    leader = next(iter(_shares(voters, _weights(voters, config, discounts))))
    backers = [candidate for candidate in voters if candidate.key == leader]
    if all(id(candidate) in found for candidate in backers):
        nearest = min(away[id(candidate)] for candidate in backers)
        found -= {id(candidate) for candidate in backers if away[id(candidate)] == nearest}
    return found
