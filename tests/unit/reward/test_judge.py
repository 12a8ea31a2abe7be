"""Judges: the rules, and a service over real HTTP that answers, is down, is slow, or replies nonsense."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.judge_cases import down, endpoint, honest, nonsense, slow

from vrl.config import JudgeConfig, RewardConfig, RewardTermConfig, TaskConfig
from vrl.errors import ConfigError, JudgeError
from vrl.reward.inputs import Claim
from vrl.reward.judge import Judge, make_judge, require_judge
from vrl.reward.judge.prompts import read_agrees, read_claims, read_visual
from vrl.reward.judge.rules import RuleJudge
from vrl.reward.worker import RewardWorker
from vrl.types import Caption, Completion, Prompt, Sample, VersionSpan

SAMPLE = Sample(
    sample_id="s1",
    task="think_timestamps",
    question="What color is it?",
    answer="B",
    answer_type="choice",
    options=("red", "blue"),
    captions=(Caption(start_s=0, end_s=4, text="There is a blue ball."),),
)
THINKING = "00:01-00:03 There is a blue ball. I wait; nothing. At 00:09 it is gone. So the answer is B."


def test_rules_find_claims_with_times() -> None:
    assert asyncio.run(RuleJudge().claims(THINKING)) == (
        Claim(start_s=1, end_s=3, text="There is a blue ball"),
        Claim(start_s=9, end_s=9, text="At it is gone"),
    )
    assert asyncio.run(RuleJudge().claims("No time here. None at all.")) == ()


@pytest.mark.parametrize(
    ("thinking", "conclusion", "agrees"),
    [
        (THINKING, "B", True),
        ("The answer is A. No: the answer is blue!", "blue", True),
        ("So the answer is A.", "A", False),
        ("Answer: (B) blue\nmore", "(B) blue", True),
        ("It is blue.", "", False),
    ],
)
def test_rules_find_the_last_conclusion(thinking: str, conclusion: str, agrees: bool) -> None:
    assert asyncio.run(RuleJudge().conclusion(SAMPLE, thinking)) == conclusion
    assert asyncio.run(RuleJudge().agrees(SAMPLE, thinking, "B")) == agrees


def test_rules_compare_numbers_and_words_as_their_types_ask() -> None:
    number, text = replace(SAMPLE, answer_type="number", options=()), replace(SAMPLE, answer_type="text", options=())
    assert asyncio.run(RuleJudge().agrees(number, "The answer is 3.50.", "3.5"))
    assert not asyncio.run(RuleJudge().agrees(number, "The answer is 3.", "4"))
    assert asyncio.run(RuleJudge().agrees(text, "The answer is the Ball.", "ball"))
    assert not asyncio.run(RuleJudge().agrees(text, "Who knows.", ""))


@pytest.mark.parametrize("piece", ["answer is ", "00:01. ", "a. ", "\n", "answer:" + "x" * 50])
def test_rules_take_bounded_time(piece: str) -> None:
    started = time.perf_counter()
    for question in (RuleJudge().claims(piece * 20_000), RuleJudge().conclusion(SAMPLE, piece * 20_000)):
        asyncio.run(question)
    assert time.perf_counter() - started < 2.0


def test_replies_are_read_strictly() -> None:
    claims = {"00:02-00:01": "ball", "1:05": "cube", "00:09-": "open", "later": "x", "00:03": 7}
    assert read_claims("Sure! " + json.dumps({"claims": claims})) == (
        Claim(start_s=1, end_s=2, text="ball"),
        Claim(start_s=65, end_s=65, text="cube"),
    )
    assert read_agrees('{"agrees": false}') is False
    assert read_visual('```json\n{"score": 7, "why": "x"}\n```') == 0.7
    for read, reply in [
        (read_agrees, '{"agrees": 1}'),
        (read_agrees, "TRUE"),
        (read_visual, '{"score": 11}'),
        (read_visual, '{"score": true}'),
        (read_claims, '{"claims": []}'),
        (read_claims, "{" * 100_000),
        (read_claims, '{"claims":' * 100_000 + "}" * 100_000),
    ]:
        with pytest.raises(ValueError):
            read(reply)


def judge(url: str, **fields: Any) -> Judge:
    return make_judge(JudgeConfig(**{"kind": "openai", "base_url": url, "model": "m", "timeout_s": 5.0, **fields}))


async def everything(asked: Judge) -> tuple[Any, ...]:
    return (
        await asked.claims(THINKING),
        await asked.agrees(SAMPLE, THINKING, "B"),
        await asked.conclusion(SAMPLE, THINKING),
        await asked.visual(SAMPLE, THINKING),
        await asked.same(SAMPLE, THINKING),
    )


def test_a_service_is_asked_deterministically_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "somebody else's")
    monkeypatch.setenv("JUDGE_KEY", "ours")
    wanted = ((Claim(start_s=1, end_s=3, text="there is a blue ball"),), True, "B", 0.7, False)
    with endpoint(honest) as (url, seen):
        for _ in range(2):
            assert asyncio.run(everything(judge(url, cache_dir=str(tmp_path)))) == wanted
        assert len(seen) == 5  # the second round came from the cache on disk
        assert {(one["temperature"], one["seed"], one["path"]) for one in seen} == {(0.0, 0, "/v1/chat/completions")}
        assert all(one["messages"][1]["content"].count(THINKING) == 1 for one in seen)
        assert seen[0]["key"] == "Bearer none"
        asyncio.run(judge(url, api_key_env="JUDGE_KEY").visual(SAMPLE, THINKING))
        assert seen[-1]["key"] == "Bearer ours"
    next(tmp_path.rglob("*.json")).write_text("torn {")
    with endpoint(honest) as (url, seen):
        asyncio.run(everything(judge(url, cache_dir=str(tmp_path))))
        assert len(seen) == 1


def test_a_missing_key_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="NO_SUCH_KEY"):
        judge("http://localhost:1/v1", api_key_env="NO_SUCH_KEY")


def test_a_failed_request_is_retried() -> None:
    failures = iter([500, 429])
    with endpoint(lambda request: (next(failures, 200), '{"score": 4}')) as (url, seen):
        assert asyncio.run(judge(url, timeout_s=20.0).visual(SAMPLE, THINKING)) == 0.4
        assert len(seen) == 3


def silent(request: dict[str, Any]) -> tuple[int, str]:
    return 200, ""


@pytest.mark.parametrize("answer", [down, slow, nonsense, silent], ids=lambda answer: answer.__name__)
def test_no_usable_answer_is_an_error_in_bounded_time(answer: Callable[..., Any], tmp_path: Path) -> None:
    with endpoint(answer) as (url, _):
        started = time.perf_counter()
        for _ in range(2):
            with pytest.raises(JudgeError, match=r"127\.0\.0\.1"):
                asyncio.run(judge(url, timeout_s=0.6, retries=1, cache_dir=str(tmp_path)).agrees(SAMPLE, "x", "B"))
        assert time.perf_counter() - started < 4.0
        assert not list(tmp_path.rglob("*.json"))  # only answers are kept


def test_an_endpoint_that_refuses_connections_is_an_error() -> None:
    with pytest.raises(JudgeError, match="Connection"):
        asyncio.run(judge("http://127.0.0.1:9/v1", timeout_s=3.0, retries=0).claims("x"))


def test_questions_wait_for_their_turn_within_their_time() -> None:
    under_way, most = [0], [0]

    def count(request: dict[str, Any]) -> tuple[int, str]:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        time.sleep(0.1)
        under_way[0] -= 1
        return honest(request)

    async def ask(asked: Judge) -> list[Any]:
        questions = (asked.visual(SAMPLE, f"thought {i}") for i in range(8))
        return await asyncio.gather(*questions, return_exceptions=True)

    with endpoint(count) as (url, _):
        assert asyncio.run(ask(judge(url, concurrency=2))) == [0.7] * 8
        assert most[0] == 2
        late = asyncio.run(ask(judge(url, concurrency=1, timeout_s=0.35, retries=0)))
        assert 0.7 in late and any(isinstance(one, JudgeError) for one in late)


def completion(text: str) -> Completion:
    return Completion(
        token_ids=np.arange(5),
        rollout_logprobs=np.zeros(5, np.float32),
        text=text,
        finish_reason="stop",
        versions=(VersionSpan(start=0, end=5, policy_version=0),),
    )


def worker(judge: JudgeConfig) -> RewardWorker:
    terms = [
        RewardTermConfig(reward="accuracy"),
        RewardTermConfig(reward="temporal", when=["consistency>=1"]),
        RewardTermConfig(reward="visual_evidence", weight=0.0),
    ]
    config = RewardConfig(judge=judge, similarity="lexical", min_similarity=0.6)
    return RewardWorker([TaskConfig(task="think_timestamps", rewards=terms)], config)


def test_a_judge_that_is_down_costs_its_terms_not_the_group() -> None:
    prompt = Prompt(sample=SAMPLE, token_ids=np.arange(3), duration_s=10.0)
    texts = [f"<think>{THINKING}</think><answer>B</answer>", "<think>00:01 a blue ball</think><answer>A</answer>", "B"]
    completions = [completion(text) for text in texts]
    good = asyncio.run(worker(JudgeConfig()).score(prompt, completions))
    # two claims, one confirmed by the caption; the second thinking has no conclusion; the third is not parseable
    assert [reward.breakdown["temporal"] for reward in good] == [0.5, 0.0, 0.0]
    assert [reward.value for reward in good] == [1.5, 0.0, 0.0]
    assert [(reward.parsed, reward.judge_failures) for reward in good] == [(True, 0), (True, 0), (False, 0)]
    with endpoint(down) as (url, _):
        config = JudgeConfig(kind="openai", base_url=url, model="m", timeout_s=2.0, retries=0)
        bad = asyncio.run(worker(config).score(prompt, completions))
    assert [reward.breakdown["temporal"] for reward in bad] == [None, None, 0.0]
    assert [reward.value for reward in bad] == [2.0, 0.0, 0.0]  # accuracy carries the missing weight
    assert [reward.judge_failures for reward in bad] == [3, 3, 0]


def test_diagnostics_are_asked_for_only_on_request_and_change_no_reward() -> None:
    prompt = Prompt(sample=SAMPLE, token_ids=np.arange(3), duration_s=10.0)
    texts = [f"<think>{THINKING}</think><answer>{answer}</answer>" for answer in "BA"]
    rewards = RewardWorker([TaskConfig(task="think_timestamps", rewards=[RewardTermConfig(reward="accuracy")])])
    plain = asyncio.run(rewards.score(prompt, [completion(text) for text in texts]))
    watched = asyncio.run(rewards.score(prompt, [completion(text) for text in texts], diagnose=True))
    assert [reward.value for reward in plain] == [reward.value for reward in watched] == [1.0, 0.0]
    assert all(set(reward.breakdown) == {"accuracy"} for reward in plain)
    # the thinking concludes B: consistent if the answer is B; a wrong answer does not count; two sentences of four
    assert [reward.breakdown["think_answer_consistency"] for reward in watched] == [1.0, None]
    assert [reward.breakdown["visual_evidence"] for reward in watched] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("status", "said"), [(401, "wrong key: secret-of-the-judge"), (200, '{"score": "secret-of-the-judge"}')]
)
def test_a_key_that_the_endpoint_echoes_is_not_logged(monkeypatch: pytest.MonkeyPatch, status: int, said: str) -> None:
    monkeypatch.setenv("JUDGE_KEY", "secret-of-the-judge")
    with (
        endpoint(lambda request: (status, said)) as (url, _),
        pytest.raises(JudgeError, match=r"\*\*\*") as caught,
    ):
        asyncio.run(judge(url, api_key_env="JUDGE_KEY").visual(SAMPLE, THINKING))
    assert "secret" not in str(caught.value)


def modern(request: dict[str, Any]) -> tuple[int, str]:
    """As newer hosted models: another name for the limit, and one temperature alone."""
    if "max_tokens" in request:
        return 400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    if request.get("temperature", 1) != 1:
        return 400, "Unsupported value: 'temperature' does not support 0.0 with this model."
    return honest(request)


MODERN = {"temperature": 1, "max_tokens": None, "max_completion_tokens": 77}


def test_parameters_of_a_request_can_be_set_and_left_out() -> None:
    with endpoint(modern) as (url, seen):
        config = JudgeConfig(kind="openai", base_url=url, model="m", request=MODERN)
        asyncio.run(require_judge(config))
        assert asyncio.run(make_judge(config).visual(SAMPLE, THINKING)) == 0.7
    sent = {name: seen[-1].get(name) for name in ("temperature", "seed", "max_tokens", "max_completion_tokens")}
    assert sent == {"temperature": 1, "seed": 0, "max_tokens": None, "max_completion_tokens": 77}


@pytest.mark.parametrize(
    ("request_config", "words"), [({}, "Use 'max_completion_tokens'"), ({"max_tokens": None}, "'temperature' does not")]
)
def test_an_endpoint_that_refuses_our_requests_is_refused_at_start(request_config: dict, words: str) -> None:
    with endpoint(modern) as (url, _):
        config = JudgeConfig(kind="openai", base_url=url, model="m", request=request_config)
        with pytest.raises(ConfigError, match=rf"reward.judge: {url} refuses .*{words}.*reward.judge.request"):
            asyncio.run(require_judge(config))


@pytest.mark.parametrize("status", [401, 403, 404, 422])
def test_a_wrong_key_or_model_is_refused_at_start(status: int) -> None:
    with endpoint(lambda request: (status, "no such thing")) as (url, _), pytest.raises(ConfigError, match="no such"):
        asyncio.run(require_judge(JudgeConfig(kind="openai", base_url=url, model="m")))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_endpoint_that_is_busy_or_down_passes(status: int) -> None:
    with endpoint(lambda request: (status, "later")) as (url, seen):
        asyncio.run(require_judge(JudgeConfig(kind="openai", base_url=url, model="m", retries=3)))
    assert len(seen) == 1
    asyncio.run(require_judge(JudgeConfig(kind="openai", base_url="http://127.0.0.1:9/v1", model="m")))
    asyncio.run(require_judge(JudgeConfig(kind="rules")))
