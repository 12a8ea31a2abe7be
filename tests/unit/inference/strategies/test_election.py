"""RLER-Inference over a scripted engine: number of candidates, frames of the referee, trace."""

import asyncio
import json
from dataclasses import asdict

from support.inference_cases import FRAME_TIMES_S, client, completion

from vrl.inference.answer_question import answer_question
from vrl.inference.config import ElectionConfig, StrategyConfig
from vrl.types import Media, Sample, View

SAMPLE = Sample(
    sample_id="q1",
    task="think_keyframes",
    question="What color is the circle?",
    answer_type="choice",
    options=("red", "blue"),
    media=(Media(kind="video", path="a.mp4"),),
)
THOUGHTS = "There is a red circle and a blue square There"


def reply(letter: str, frames: str = "3, 4") -> str:
    return f"<think>{THOUGHTS}</think><keyframes>[{frames}]</keyframes><answer>{letter}</answer>"


def ask(letters: str, verdict: str = " A", logprob: float = -0.1, frames: str = "3, 4", **config):
    def script(sample: Sample, temperature: float, turn: int):
        text = reply(letters[turn], frames) if sample.question == SAMPLE.question else verdict
        return completion(text, logprob)

    scripted, data, engines = client(script)
    strategy = StrategyConfig(name="election", election=ElectionConfig(**config))
    answer = asyncio.run(answer_question(SAMPLE, scripted, strategy))
    json.dumps(asdict(answer), allow_nan=False)
    return answer, data, engines


def test_unanimous_answers_stop_at_three_even_unsure_ones():
    for logprob in (-0.1, -3.0):
        answer, _, engines = ask("AAA", logprob=logprob)
        assert (answer.answer, answer.num_candidates, answer.num_calls) == (
            "A",
            3,
            4,
        )  # three candidates and the referee
        assert answer.trace["stop"] == "unanimous"
        assert [temperature for _, temperature, _ in engines.calls] == [0.2, 0.7, 0.9, 0.0]
        assert len(set(engines.homes[:3])) == 1  # one engine: the clip is encoded once


def test_an_unsure_split_draws_crops_until_the_schedule_ends():
    answer, data, _ = ask("ABABABAB", logprob=-3.0, referee=False)
    assert answer.num_candidates == answer.num_calls == 8
    assert answer.trace["stop"] == "max_candidates"
    assert [candidate["view"] for candidate in answer.trace["candidates"]][3] == "centre x0.9"
    assert len({call.view for call in data.prepared}) == 6
    assert answer.trace["referee"]["why"] == "election.referee=false"


def test_a_fourth_vote_decides_a_close_call():
    """With c = e^-1 = .37 two of three have the margin but not the confidence to stop; the limit of 4 stops."""
    answer, *_ = ask("ABAA", logprob=-1.0, max_candidates=4)
    assert (answer.answer, answer.num_candidates) == ("A", 4)


def test_the_referee_sees_only_the_cited_frames():
    answer, data, engines = ask("AAA", frames="3, 7, 16")
    referee = data.prepared[-1]
    assert referee.view == View(times_s=(FRAME_TIMES_S[2], FRAME_TIMES_S[6], FRAME_TIMES_S[15], FRAME_TIMES_S[15]))
    (question,) = referee.samples
    assert question.question == "What color is the circle?\nSomeone answers: red\nDo these frames show it?"
    assert (question.task, question.answer, question.options) == ("vqa", "", ("yes", "no"))
    assert engines.calls[-1][1] == 0.0
    assert answer.trace["referee"] == {"said": "yes", "why": "", "frames": [3, 7, 16]}


def test_a_no_can_turn_a_split():
    """Two with equal citations weigh 2 x 0.25, the third 0.75: it leads by a share of 0.2, enough to stop."""
    turned, *_ = ask("AAB", verdict=" B", referee_discount=0.25)
    assert turned.trace["referee"]["said"] == "no"
    assert turned.trace["election"]["leader"] == "A"
    assert turned.answer == "B" and turned.trace["after_referee"]["leader"] == "B"
    assert (turned.num_candidates, turned.trace["stop"]) == (3, "margin")


def test_after_a_no_candidates_are_drawn_until_another_leads():
    """The fifth of 8 is the first B; 4 x 0.1 is less than its 0.75. The referee is asked once."""
    answer, _, engines = ask("AAAABBBB", verdict=" B", referee_discount=0.1)
    assert (answer.answer, answer.num_candidates, answer.num_calls) == ("B", 5, 6)
    assert answer.trace["election"]["shares"] == {"A": 1.0}
    assert [candidate["view"] for candidate in answer.trace["candidates"]][3:] == ["centre x0.9", "top left x1.1"]
    assert [temperature for _, temperature, _ in engines.calls].count(0.0) == 1


def test_a_refused_answer_is_kept_if_no_voter_gives_another():
    answer, *_ = ask("AAAAAAAA", verdict=" B")
    assert (answer.answer, answer.num_candidates, answer.trace["stop"]) == ("A", 8, "max_candidates")


def test_an_unparseable_referee_changes_nothing():
    answer, *_ = ask("AAB", verdict=" perhaps", referee_discount=0.0)
    assert answer.trace["referee"]["said"] == "unreadable" and answer.answer == "A"


def test_without_citations_there_is_nothing_to_referee():
    answer, *_ = ask("AAA", frames="99")
    assert answer.num_calls == 3
    assert answer.trace["referee"]["why"] == "the leader's supporters cite no frame"
