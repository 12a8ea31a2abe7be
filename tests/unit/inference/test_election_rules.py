"""The election: shares, overlap, outliers, stop rule. Evidence S = (s_fs + tau + 1 - rho + c) / 4."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.inference_cases import candidate

from vrl.inference.answer import Candidate
from vrl.inference.config import ElectionConfig, StrategyConfig, strategy_problems
from vrl.inference.election_rules import elect, overlap, schedule, stop_reason

CONFIG = ElectionConfig()


def voter(key: str, evidence: float, keyframes: tuple[int, ...] = (), confidence: float = 0.5) -> Candidate:
    """A candidate of this evidence, by its transparency."""
    rest = 4 * evidence - 1 - confidence
    return candidate(key, confidence, transparency=rest, keyframes=frozenset(keyframes))


def test_the_evidence_score_is_a_mean_of_four():
    one = candidate("a", 0.6, frame_sensitive=0.5, transparency=0.8, repetition=0.1)
    assert one.evidence == pytest.approx((0.5 + 0.8 + 0.9 + 0.6) / 4)


def test_overlap_is_the_mean_jaccard_with_voters_of_the_same_answer():
    one, two, three = voter("a", 0.5, (1, 2)), voter("a", 0.5, (2, 3)), voter("a", 0.5, (1, 2))
    assert overlap(one, [two, three]) == pytest.approx((1 / 3 + 1) / 2)
    assert overlap(one, []) == 0.5
    assert overlap(voter("a", 0.5), [one]) == 0.0
    assert overlap(voter("a", 0.5), []) == 0.0


def test_shares_follow_evidence_and_overlap():
    """a: overlap 1/3 each, weights .6 x 2/3 and .9 x 2/3 = 1.0; b: alone, .8 x 3/4 = .6. In all 1.6."""
    outcome = elect([voter("a", 0.6, (1, 2)), voter("a", 0.9, (2, 3)), voter("b", 0.8, (4,))], CONFIG)
    assert outcome.leader == "a"
    assert outcome.shares == pytest.approx({"a": 1.0 / 1.6, "b": 0.6 / 1.6})
    assert outcome.margin == pytest.approx(0.25)
    assert outcome.winner.evidence == pytest.approx(0.9)
    assert outcome.confidence == 0.5


def test_one_vote_with_evidence_beats_two_that_cite_nothing():
    """b: .9 x .75 = .675 against a: 2 x .5 x .5 = .5; by count a would win."""
    voters = [voter("a", 0.5), voter("a", 0.5), voter("b", 0.9, (1,))]
    assert elect(voters, CONFIG).leader == "b"
    assert elect(voters, ElectionConfig(overlap_weight=0)).leader == "a"


def test_a_discount_turns_a_close_election():
    voters = [voter("a", 0.8, (1,)), voter("b", 0.6, (1,))]
    assert elect(voters, CONFIG).leader == "a"
    after = elect(voters, CONFIG, {"a": 0.5})
    assert after.leader == "b"
    assert after.shares == pytest.approx({"b": 0.6, "a": 0.4})


@pytest.mark.parametrize(
    ("cited", "discount", "leader"),
    [((1, 2), 0.5, "a"), ((1, 2), 0.38, "a"), ((1, 2), 0.37, "b"), ((3, 4), 0.5, "b")],
)
def test_the_discount_that_turns_two_of_three(cited: tuple[int, ...], discount: float, leader: str):
    """Two with equal citations weigh 2 x discount, with different ones 1 x discount; the third weighs .75."""
    voters = [voter("a", 0.6, (1, 2)), voter("a", 0.6, cited), voter("b", 0.6, (5, 6))]
    assert elect(voters, CONFIG).leader == "a"
    assert elect(voters, CONFIG, {"a": discount}).leader == leader


def test_extreme_evidence_is_dropped_from_four_voters_on():
    """Evidence .50 .52 .54 .95: median .53, deviations .03 .01 .01 .42, their median .02: beyond .05 is out."""
    voters = [voter("a", 0.50), voter("a", 0.52), voter("a", 0.54), voter("b", 0.95)]
    assert elect(voters, CONFIG).dropped == (voters[3],)
    assert elect(voters, CONFIG).shares == {"a": 1.0}
    assert elect(voters[1:], CONFIG).dropped == ()
    assert elect(voters, ElectionConfig(outlier_mads=30.0)).dropped == ()
    assert elect([voter("a", 0.5)] * 3 + [voter("b", 0.9)], CONFIG).dropped == ()  # no spread, so no voter is extreme


def test_the_last_supporter_of_the_leader_is_never_dropped():
    """b leads, .95 x .75 against three of about .25 (no citations): it stays although it is extreme."""
    voters = [voter("a", 0.50), voter("c", 0.52), voter("d", 0.54), voter("b", 0.95, (1,))]
    outcome = elect(voters, CONFIG)
    assert outcome.dropped == () and outcome.leader == "b"


def test_without_a_parseable_voter_the_outcome_is_empty():
    outcome = elect([candidate("", 0.2, text="x"), candidate("", 0.4, text="y")], CONFIG)
    assert (outcome.leader, outcome.winner.text, outcome.margin) == ("", "y", 0.0)
    assert stop_reason([outcome.winner] * 3, outcome, CONFIG) == ""
    assert stop_reason([outcome.winner] * 8, outcome, CONFIG) == "max_candidates"


def test_voters_without_weight_share_equally():
    voters = [candidate(key, 0.0, repetition=1.0) for key in "ab"]  # evidence 0
    assert elect(voters, CONFIG).shares == {"a": 0.5, "b": 0.5}


def test_stop_needs_margin_and_confidence_or_unanimity():
    def stop(*voters: Candidate) -> str:
        return stop_reason(voters, elect(voters, CONFIG), CONFIG)

    assert stop(voter("a", 0.7), voter("a", 0.7), voter("a", 0.7)) == "unanimous"
    assert stop(*[voter("a", 0.5, confidence=0.1)] * 3) == "unanimous"
    assert stop(voter("a", 0.7), voter("a", 0.7), voter("b", 0.7)) == "margin"
    assert stop(*[voter("a", 0.7, confidence=0.4)] * 2, voter("b", 0.7)) == ""  # not above 0.4
    assert stop(voter("a", 0.539), voter("b", 0.461)) == ""  # margin 0.078
    assert stop(voter("a", 0.55), voter("b", 0.45)) == "margin"
    assert stop(*[voter(key, 0.5) for key in "abcdefgh"]) == "max_candidates"


def test_the_schedule_is_that_of_rler():
    specs = schedule(CONFIG)
    assert [spec.temperature for spec in specs] == [0.2, 0.7, 0.9] + [0.7] * 5
    assert {spec.name for spec in specs[:3]} == {"frames"}
    assert [spec.name for spec in specs[3:5]] == ["centre x0.9", "top left x1.1"]
    assert specs[3].view.crop == pytest.approx((0.05, 0.05, 0.95, 0.95))
    assert specs[7].view.crop == pytest.approx((0.1, 0.1, 1.0, 1.0)) and specs[7].view.brightness == 0.9
    assert len({spec.view for spec in specs}) == 6
    assert schedule(ElectionConfig(brightness=[]))[4].view.brightness == 1.0


def test_all_problems_of_the_configuration_are_listed():
    bad = ElectionConfig(temperatures=[], brightness=[0.0], crop=0.0, referee_task="dance")
    problems = strategy_problems(StrategyConfig(election=bad))
    keys = ("temperatures", "brightness", "crop", "referee_task")
    assert [p.split(":")[0] for p in problems] == [f"strategy.election.{key}" for key in keys]
    assert strategy_problems(StrategyConfig()) == []


voters = st.lists(
    st.builds(
        candidate,
        st.sampled_from(["", "a", "b", "c"]),
        st.floats(0, 1),
        transparency=st.floats(0, 1),
        frame_sensitive=st.floats(0, 1),
        keyframes=st.frozensets(st.integers(1, 5), max_size=3),
    ),
    min_size=1,
    max_size=8,
)


@given(voters.flatmap(lambda drawn: st.tuples(st.just(drawn), st.permutations(drawn))))
def test_the_order_of_candidates_changes_nothing(orders):
    """Any of the voters with the same answer and confidence may win."""
    one, other = (elect(order, CONFIG) for order in orders)
    assert (one.winner.text, one.winner.confidence) == (other.winner.text, other.winner.confidence)
    assert list(one.shares.items()) == list(other.shares.items())
    assert (one.margin, one.confidence) == (other.margin, other.confidence)
    assert stop_reason(orders[0], one, CONFIG) == stop_reason(orders[1], other, CONFIG)


@given(voters)
def test_shares_sum_to_one_and_the_winner_supports_the_leader(drawn):
    outcome = elect(drawn, CONFIG)
    if outcome.shares:
        assert sum(outcome.shares.values()) == pytest.approx(1.0)
    assert outcome.winner.key == outcome.leader


def test_a_refused_leader_stops_nothing_but_the_schedule():
    voters = [voter("a", 0.7)] * 3
    outcome = elect(voters, CONFIG, {"a": 0.5})
    assert stop_reason(voters, outcome, CONFIG, refused="a") == ""
    assert stop_reason(voters, outcome, CONFIG, refused="b") == "unanimous"
    assert stop_reason([*voters, *voters, *voters[:2]], outcome, CONFIG, refused="a") == "max_candidates"
