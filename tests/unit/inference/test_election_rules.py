"""The election: shares, overlap, outliers, stop rule. Evidence S = (s_fs + tau + 1 - rho + c) / 4."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.inference_cases import candidate

from vrl.inference.answer import Candidate
from vrl.inference.config import ElectionConfig, StrategyConfig, strategy_problems
from vrl.inference.election_rules import elect, overlap, schedule, stop_reason

RULES = ElectionConfig()


def voter(key: str, evidence: float, keyframes: tuple[int, ...] = (), confidence: float = 0.5) -> Candidate:
    """A candidate of this evidence: its transparency makes up for the rest."""
    rest = 4 * evidence - 1 - confidence
    return candidate(key, confidence, transparency=rest, keyframes=frozenset(keyframes))


def test_the_evidence_score_is_a_mean_of_four():
    said = candidate("a", 0.6, frame_sensitive=0.5, transparency=0.8, repetition=0.1)
    assert said.evidence == pytest.approx((0.5 + 0.8 + 0.9 + 0.6) / 4)


def test_overlap_is_the_mean_jaccard_with_those_who_say_the_same():
    one, two, three = voter("a", 0.5, (1, 2)), voter("a", 0.5, (2, 3)), voter("a", 0.5, (1, 2))
    assert overlap(one, [two, three]) == pytest.approx((1 / 3 + 1) / 2)
    assert overlap(one, []) == 0.5
    assert overlap(voter("a", 0.5), [one]) == 0.0
    assert overlap(voter("a", 0.5), []) == 0.0


def test_shares_follow_evidence_and_overlap():
    """a: overlap 1/3 each, weights .6 x 2/3 and .9 x 2/3 = 1.0; b: alone, .8 x 3/4 = .6. In all 1.6."""
    outcome = elect([voter("a", 0.6, (1, 2)), voter("a", 0.9, (2, 3)), voter("b", 0.8, (4,))], RULES)
    assert outcome.leader == "a"
    assert outcome.shares == pytest.approx({"a": 1.0 / 1.6, "b": 0.6 / 1.6})
    assert outcome.margin == pytest.approx(0.25)
    assert outcome.winner.evidence == pytest.approx(0.9)
    assert outcome.confidence == 0.5


def test_one_well_founded_voice_beats_two_that_cite_nothing():
    """b: .9 x .75 = .675 against a: 2 x .5 x .5 = .5; by heads a would win."""
    voters = [voter("a", 0.5), voter("a", 0.5), voter("b", 0.9, (1,))]
    assert elect(voters, RULES).leader == "b"
    assert elect(voters, ElectionConfig(overlap_weight=0)).leader == "a"


def test_a_discount_turns_a_close_election():
    voters = [voter("a", 0.8, (1,)), voter("b", 0.6, (1,))]
    assert elect(voters, RULES).leader == "a"
    after = elect(voters, RULES, {"a": 0.5})
    assert after.leader == "b"
    assert after.shares == pytest.approx({"b": 0.6, "a": 0.4})


@pytest.mark.parametrize(
    ("cited", "discount", "leader"),
    [((1, 2), 0.5, "a"), ((1, 2), 0.38, "a"), ((1, 2), 0.37, "b"), ((3, 4), 0.5, "b")],
)
def test_what_a_discount_must_be_to_turn_two_of_three(cited: tuple[int, ...], discount: float, leader: str):
    """Two who cite alike weigh 2 x discount against .75 of the one who stands alone; who cite apart, 1 x discount."""
    voters = [voter("a", 0.6, (1, 2)), voter("a", 0.6, cited), voter("b", 0.6, (5, 6))]
    assert elect(voters, RULES).leader == "a"
    assert elect(voters, RULES, {"a": discount}).leader == leader


def test_extreme_evidence_is_left_out_from_four_on():
    """Evidence .50 .52 .54 .95: median .53, deviations .03 .01 .01 .42, their median .02: beyond .05 is out."""
    voters = [voter("a", 0.50), voter("a", 0.52), voter("a", 0.54), voter("b", 0.95)]
    assert elect(voters, RULES).dropped == (voters[3],)
    assert elect(voters, RULES).shares == {"a": 1.0}
    assert elect(voters[1:], RULES).dropped == ()
    assert elect(voters, ElectionConfig(outlier_mads=30.0)).dropped == ()
    assert elect([voter("a", 0.5)] * 3 + [voter("b", 0.9)], RULES).dropped == ()  # no spread, so no voter is extreme


def test_the_last_supporter_of_the_leader_is_never_left_out():
    """b leads with all heard, .95 x .75 against thrice about .25 (no citations): it stays though it is extreme."""
    voters = [voter("a", 0.50), voter("c", 0.52), voter("d", 0.54), voter("b", 0.95, (1,))]
    outcome = elect(voters, RULES)
    assert outcome.dropped == () and outcome.leader == "b"


def test_no_readable_voter_is_an_empty_outcome():
    outcome = elect([candidate("", 0.2, text="x"), candidate("", 0.4, text="y")], RULES)
    assert (outcome.leader, outcome.winner.text, outcome.margin) == ("", "y", 0.0)
    assert stop_reason([outcome.winner] * 3, outcome, RULES) == ""
    assert stop_reason([outcome.winner] * 8, outcome, RULES) == "max_candidates"


def test_weightless_voters_share_equally():
    voters = [candidate(key, 0.0, repetition=1.0) for key in "ab"]  # evidence 0
    assert elect(voters, RULES).shares == {"a": 0.5, "b": 0.5}


def test_stop_needs_margin_and_confidence_or_unanimity():
    def stop(*voters: Candidate) -> str:
        return stop_reason(voters, elect(voters, RULES), RULES)

    assert stop(voter("a", 0.7), voter("a", 0.7), voter("a", 0.7)) == "unanimous"
    assert stop(*[voter("a", 0.5, confidence=0.1)] * 3) == "unanimous"
    assert stop(voter("a", 0.7), voter("a", 0.7), voter("b", 0.7)) == "margin"
    assert stop(*[voter("a", 0.7, confidence=0.4)] * 2, voter("b", 0.7)) == ""  # not above 0.4
    assert stop(voter("a", 0.539), voter("b", 0.461)) == ""  # margin 0.078
    assert stop(voter("a", 0.55), voter("b", 0.45)) == "margin"
    assert stop(*[voter(key, 0.5) for key in "abcdefgh"]) == "max_candidates"


def test_the_schedule_is_rlers():
    slots = schedule(RULES)
    assert [slot.temperature for slot in slots] == [0.2, 0.7, 0.9] + [0.7] * 5
    assert {slot.name for slot in slots[:3]} == {"frames"}
    assert [slot.name for slot in slots[3:5]] == ["centre x0.9", "top left x1.1"]
    assert slots[3].view.crop == pytest.approx((0.05, 0.05, 0.95, 0.95))
    assert slots[7].view.crop == pytest.approx((0.1, 0.1, 1.0, 1.0)) and slots[7].view.brightness == 0.9
    assert len({slot.view for slot in slots}) == 6
    assert schedule(ElectionConfig(brightness=[]))[4].view.brightness == 1.0


def test_faults_of_the_rules_are_all_listed():
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
    """Among voters with the same answer and confidence any may win: they cannot be told apart."""
    one, other = (elect(order, RULES) for order in orders)
    assert (one.winner.text, one.winner.confidence) == (other.winner.text, other.winner.confidence)
    assert list(one.shares.items()) == list(other.shares.items())
    assert (one.margin, one.confidence) == (other.margin, other.confidence)
    assert stop_reason(orders[0], one, RULES) == stop_reason(orders[1], other, RULES)


@given(voters)
def test_shares_sum_to_one_and_the_winner_says_what_leads(drawn):
    outcome = elect(drawn, RULES)
    if outcome.shares:
        assert sum(outcome.shares.values()) == pytest.approx(1.0)
    assert outcome.winner.key == outcome.leader


def test_a_refused_leader_stops_nothing_but_the_schedule():
    voters = [voter("a", 0.7)] * 3
    outcome = elect(voters, RULES, {"a": 0.5})
    assert stop_reason(voters, outcome, RULES, refused="a") == ""
    assert stop_reason(voters, outcome, RULES, refused="b") == "unanimous"
    assert stop_reason([*voters, *voters, *voters[:2]], outcome, RULES, refused="a") == "max_candidates"
