"""Locate, resample, answer over a scripted engine: its calls, the frames of the last one, failures."""

import asyncio
import json
from dataclasses import asdict, replace

import pytest
from support.inference_cases import FRAME_TIMES_S, client, completion

from vrl.errors import DataError
from vrl.inference.answer_question import answer_question
from vrl.inference.config import BackfillConfig, StrategyConfig
from vrl.inference.retrieval import Hit
from vrl.types import Media, Sample, View

SAMPLE = Sample(
    sample_id="q1", task="think", question="What color?", media=(Media(kind="video", path="a.mp4"),), answer="red"
)
EVENT = " <|event_start|>[0.25, 0.50]<|event_end|>"  # seconds 2 to 4 of 8


class FakeRetrieval:
    """Every element is found at the same second."""

    def __init__(self, start_s: float) -> None:
        self.start_s = start_s
        self.searched: list[tuple[str, ...]] = []

    async def call_keeping(self, method: str, *args):
        assert method == "embed"
        return (self.start_s,), "embeddings"

    async def call(self, method: str, *args):
        assert method == "search" and args[2] == "embeddings"
        self.searched.append(args[0])
        return tuple(Hit(element=element, start_s=args[1][0], similarity=0.5) for element in args[0])


def ask(texts: dict[str, str], retrieval=None, sample: Sample = SAMPLE, **config):
    scripted, data, engines = client(lambda sample, temperature, turn: completion(texts[sample.task]))
    scripted._retrieval = retrieval
    strategy = StrategyConfig(name="backfill", backfill=BackfillConfig(**config))
    answer = asyncio.run(answer_question(sample, scripted, strategy))
    json.dumps(asdict(answer), allow_nan=False)
    return answer, data, engines


def test_three_calls_and_one_budget():
    retrieval = FakeRetrieval(6.0)
    texts = {"grounding": EVENT, "key_elements": " red circle, blue square", "vqa": " red"}
    answer, data, engines = ask(texts, retrieval, window_s=1.0)
    assert (answer.answer, answer.num_calls, answer.num_candidates) == ("red", 3, 1)
    assert answer.trace["intervals_s"] == [[2.0, 4.0], [6.0, 7.0]]
    assert answer.trace["uniform_because"] == ""
    assert retrieval.searched == [("red circle", "blue square")]
    first, second = data.prepared
    assert [sample.task for sample in first.samples] == ["grounding", "key_elements", "vqa"]  # one decode for all
    assert first.view == View()
    assert len(second.view.times_s) == len(FRAME_TIMES_S)
    dense, uniform = (sum(2 <= t < 4 or 6 <= t < 7 for t in times) for times in (second.view.times_s, FRAME_TIMES_S))
    assert (dense, uniform) == (8, 6)
    assert {sample.task for sample, _, _ in engines.calls[:2]} == {"grounding", "key_elements"}
    assert engines.homes[0] == engines.homes[1]
    stages = {"prepare", "locate", "grounding", "key_elements", "embed", "search", "resample", "answer"}
    assert set(answer.trace["stages_s"]) == stages


def test_without_an_encoder_only_grounding_locates():
    answer, *_ = ask({"grounding": EVENT, "key_elements": " red circle", "vqa": " red"})
    assert answer.trace["intervals_s"] == [[2.0, 4.0]]
    assert answer.trace["key_elements"]["hits"] == []


def test_the_number_of_elements_searched_for_is_bounded():
    retrieval = FakeRetrieval(6.0)
    ask({"grounding": EVENT, "key_elements": " a, b, c", "vqa": " red"}, retrieval, max_elements=2)
    assert retrieval.searched == [("a", "b")]


def test_what_cannot_be_parsed_leaves_the_first_frames():
    answer, data, _ = ask({"grounding": " soon", "key_elements": " , ", "vqa": " red"}, FakeRetrieval(6.0))
    assert (answer.answer, answer.num_calls) == ("red", 3)
    assert answer.trace["uniform_because"] == "nothing was located"
    assert len(data.prepared) == 1 and answer.trace["moments_s"] == []


def test_a_clip_located_almost_entirely_is_not_resampled():
    wide = " <|event_start|>[0.00, 0.75]<|event_end|>"
    answer, data, _ = ask({"grounding": wide, "key_elements": " ", "vqa": " red"})
    assert answer.trace["uniform_because"] == "75% of the clip was located, more than skip_share=0.7"
    assert len(data.prepared) == 1


def test_a_question_needs_exactly_one_clip():
    with pytest.raises(DataError, match="got 0 media, wanted one clip"):
        ask({}, sample=replace(SAMPLE, media=()))
