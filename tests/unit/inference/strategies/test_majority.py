"""Single and majority."""

import asyncio
import json
from dataclasses import asdict

from hypothesis import given
from hypothesis import strategies as st
from support.inference_cases import candidate, client, completion

from vrl.inference.answer_question import answer_question
from vrl.inference.config import MajorityConfig, StrategyConfig
from vrl.inference.strategies.majority import plurality
from vrl.types import Media, Sample

SAMPLE = Sample(sample_id="q1", task="vqa", question="Which?", media=(Media(kind="video", path="a.mp4"),))


def ask(script, **config):
    scripted, data, engines = client(script)
    return asyncio.run(answer_question(SAMPLE, scripted, StrategyConfig(**config))), data, engines


def test_single_is_one_greedy_completion():
    answer, _, engines = ask([" red"], name="single")
    assert (answer.answer, answer.text, answer.strategy) == ("red", " red", "single")
    assert (answer.num_candidates, answer.num_calls, answer.num_tokens) == (1, 1, 1)
    assert engines.calls == [(SAMPLE, 0.0, 1)]
    assert set(answer.trace["stages_s"]) == {"prepare", "answer"}
    json.dumps(asdict(answer), allow_nan=False)


def test_majority_counts_answers_and_traces_them():
    answer, _, engines = ask([" red", " blue", " Blue."], name="majority", majority=MajorityConfig(candidates=3))
    assert answer.answer.casefold().startswith("blue")
    assert answer.trace["votes"] == {"blue": 2, "red": 1}
    assert answer.trace["tied"] == []
    assert (answer.num_candidates, answer.num_calls) == (3, 1)  # one call: the engine shares the prompt
    assert engines.calls == [(SAMPLE, 0.7, 3)]
    json.dumps(asdict(answer), allow_nan=False)


def test_a_tie_goes_to_the_more_confident_answer_and_is_in_the_trace():
    logprobs = {" red": -1.0, " blue": -0.1}
    texts = [" red", " blue"]
    answer, *_ = ask(
        lambda sample, temperature, turn: completion(texts[turn], logprobs[texts[turn]]),
        name="majority",
        majority=MajorityConfig(candidates=2),
    )
    assert answer.answer == "blue"
    assert answer.trace["tied"] == ["blue", "red"]


def test_unparseable_candidates_get_no_vote():
    result = plurality([candidate("", 0.9, text="?"), candidate("", 0.8, text="!"), candidate("red", 0.1)])
    assert result.winner.key == "red" and result.votes == (("red", 1),)
    unparseable = plurality([candidate("", 0.2, text="?"), candidate("", 0.8, text="!")])
    assert unparseable.winner.text == "!" and unparseable.winner.answer == "" and unparseable.votes == ()


@given(
    st.lists(
        st.builds(candidate, st.sampled_from(["", "a", "b", "c"]), st.sampled_from([0.1, 0.3, 0.7])), min_size=1
    ).flatmap(lambda drawn: st.tuples(st.just(drawn), st.permutations(drawn)))
)
def test_order_never_changes_the_outcome(orders):
    assert plurality(orders[0]) == plurality(orders[1])
