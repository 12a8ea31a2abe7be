"""A judge's endpoint may answer anything, of any length and speed: a missing value, in bounded time and memory."""

import asyncio
import logging
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.hostile_replies import REPLIES, SLOW, Hostile, hostile_endpoint, http, said

from vrl.config import JudgeConfig, RewardConfig, RewardTermConfig, TaskConfig
from vrl.errors import ConfigError, JudgeError
from vrl.reward.judge import make_judge, require_judge
from vrl.reward.judge.prompts import read_claims, read_conclusion
from vrl.reward.judge.service import ServiceJudge
from vrl.reward.worker import RewardWorker
from vrl.types import Completion, Prompt, Sample, VersionSpan

SAMPLE = Sample(sample_id="s", task="think", question="What color?", answer="blue")
MOST = 500  # characters of an error: what it quotes, the address, and what was wanted


def config(url: str, **fields: Any) -> JudgeConfig:
    return JudgeConfig(**{"kind": "openai", "base_url": url, "model": "m", "timeout_s": 5.0, "retries": 0, **fields})


def ask(judge: JudgeConfig) -> float:
    return asyncio.run(make_judge(judge).visual(SAMPLE, "It is blue."))


@pytest.mark.parametrize("name", REPLIES)
def test_a_hostile_reply_is_a_judge_error_in_few_words(name: str, tmp_path: Path) -> None:
    with hostile_endpoint([REPLIES[name]]) as (url, _), pytest.raises(JudgeError) as caught:
        ask(config(url, cache_dir=str(tmp_path), timeout_s=2.0))
    assert len(str(caught.value)) < MOST and str(caught.value).isprintable()
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("name", SLOW)
def test_a_reply_that_never_ends_is_given_up(name: str) -> None:
    started = time.perf_counter()
    with hostile_endpoint([SLOW[name]], pause_s=0.02) as (url, _), pytest.raises(JudgeError):
        ask(config(url, timeout_s=0.5))
    assert time.perf_counter() - started < 3.0


def test_an_honest_reply_among_them_is_an_answer() -> None:
    with hostile_endpoint([REPLIES["null"], http(said('{"score": 7}'))]) as (url, _):
        with pytest.raises(JudgeError):
            ask(config(url))
        assert ask(config(url)) == 0.7


def test_compressed_and_endless_replies_take_no_memory() -> None:
    with hostile_endpoint([REPLIES["gzip bomb"], REPLIES["body without end"]]) as (url, _):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(4):
            with pytest.raises(JudgeError):
                ask(config(url))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024  # KiB


def test_nothing_of_the_environment_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("ORG_ID", "PROJECT_ID", "ORGANIZATION", "API_KEY", "ADMIN_KEY", "WEBHOOK_SECRET")
    for name in names:
        monkeypatch.setenv(f"OPENAI_{name}", f"secret-{name}")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: secret-team")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with hostile_endpoint([http(said('{"score": 7}'))]) as (url, seen):
        assert ask(config(url)) == 0.7
    head = seen[0].split(b"\r\n\r\n")[0].decode().lower()
    assert "secret" not in head and "openai" not in head
    assert "authorization: bearer none" in head and "accept-encoding: identity" in head


def test_cookies_of_the_endpoint_are_not_kept() -> None:
    async def twice(judge: ServiceJudge) -> None:
        for thinking in ("It is blue.", "It is red."):
            await judge.visual(SAMPLE, thinking)

    with hostile_endpoint([http(said('{"score": 7}'), Set_Cookie="a=b" + "x" * 3000)]) as (url, seen):
        judge: Any = make_judge(config(url))
        asyncio.run(twice(judge))
    assert len(seen) == 2 and b"cookie" not in seen[1].lower()


def test_a_redirect_is_not_followed() -> None:
    with hostile_endpoint([http(said('{"score": 7}'))]) as (other, elsewhere):
        redirect = http("", "307 Temporary", Location=f"{other}/chat/completions")
        with hostile_endpoint([redirect]) as (url, _), pytest.raises(JudgeError, match="status 307"):
            ask(config(url))
    assert not elsewhere


@pytest.mark.parametrize("key", ["two words", "line\nbreak", "schlüssel"])
def test_a_key_that_a_header_cannot_carry_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("JUDGE_KEY", key)
    with pytest.raises(ConfigError, match="JUDGE_KEY") as caught:
        make_judge(config("http://localhost:1/v1", api_key_env="JUDGE_KEY"))
    assert key not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x/v1", "http://[::1", "http://", "file:///etc/passwd"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        make_judge(config(url))


def test_a_key_is_not_quoted_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "k" * 300
    monkeypatch.setenv("JUDGE_KEY", key)
    with hostile_endpoint([http(f"wrong key {key}", "500 Error")]) as (url, _), pytest.raises(JudgeError) as caught:
        ask(config(url, api_key_env="JUDGE_KEY"))
    assert "***" in str(caught.value) and "kkk" not in str(caught.value)


@pytest.mark.parametrize(
    "reply",
    [
        Hostile(b"HTTP/1.1 Bearer sk-of-the-judge\r\n\r\n"),
        Hostile(b"Bearer sk-of-the-judge\r\n\r\n"),
        http("Bearer sk-of-the-judge"),
        http(said("Bearer sk-of-the-judge")),
        http('{"error": {"message": "Bearer sk-of-the-judge"}}', "401 Unauthorized"),
        http("", Content_Length="sk-of-the-judge"),
    ],
    ids=["status", "line", "body", "content", "error", "header"],
)
def test_a_key_that_comes_back_anywhere_is_neither_raised_nor_logged(
    reply: Hostile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("JUDGE_KEY", "sk-of-the-judge")
    prompt = Prompt(sample=SAMPLE, token_ids=np.arange(3), duration_s=10.0)
    with hostile_endpoint([reply]) as (url, _), caplog.at_level(logging.DEBUG, logger="vrl"):
        with pytest.raises(JudgeError) as caught:
            ask(config(url, api_key_env="JUDGE_KEY"))
        keyed = worker(url, api_key_env="JUDGE_KEY")
        asyncio.run(keyed.score(prompt, [completion("<think>x</think><answer>blue</answer>")]))
    assert caplog.records and "sk-of" not in caplog.text and "sk-of" not in str(caught.value)


@pytest.mark.parametrize("name", ["HTML with status 200", "list", "gzip bomb", "no HTTP", "body without end"])
def test_a_hostile_first_reply_does_not_stop_a_run_from_starting(name: str) -> None:
    with hostile_endpoint([REPLIES[name]]) as (url, _):
        asyncio.run(require_judge(config(url, timeout_s=2.0)))


def test_a_first_reply_without_end_delays_a_start_by_the_timeout() -> None:
    started = time.perf_counter()
    with hostile_endpoint([SLOW["body one byte at a time"]], pause_s=0.02) as (url, _):
        asyncio.run(require_judge(config(url, timeout_s=0.5)))
    assert time.perf_counter() - started < 3.0


@pytest.mark.parametrize(
    "odd", [None, 7, [], b"{}", "", "x" * 2**17, "\ud800", {"score": 7}], ids=lambda odd: f"{type(odd).__name__}"
)
def test_any_value_from_any_connection_is_a_judge_error(odd: Any) -> None:
    class Chat:
        async def __call__(self, request: Any) -> Any:
            return odd

        async def close(self) -> None: ...

    with pytest.raises(JudgeError):
        asyncio.run(ServiceJudge(config("http://x/v1"), Chat()).visual(SAMPLE, "It is blue."))


def test_what_a_connection_raises_is_a_judge_error() -> None:
    class Chat:
        async def __call__(self, request: Any) -> Any:
            raise ZeroDivisionError("odd" * 1000)

        async def close(self) -> None: ...

    with pytest.raises(JudgeError, match="ZeroDivisionError") as caught:
        asyncio.run(ServiceJudge(config("http://x/v1"), Chat()).visual(SAMPLE, "It is blue."))
    assert len(str(caught.value)) < MOST


def test_a_cached_reply_that_somebody_broke_is_asked_for_again(tmp_path: Path) -> None:
    with hostile_endpoint([http(said('{"score": 7}'))]) as (url, seen):
        judge = config(url, cache_dir=str(tmp_path))
        assert ask(judge) == 0.7
        for broken in ("[" * 100_000, "null", '{"reply": 7}', "\x00", "{"):
            next(tmp_path.rglob("*.json")).write_text(broken)
            assert ask(judge) == 0.7
        assert len(seen) == 6


def test_long_claims_and_conclusions_are_no_answers() -> None:
    long = "x" * 5000
    with pytest.raises(ValueError, match="5000 characters"):
        read_conclusion(f'{{"conclusion": "{long}"}}', SAMPLE)
    claims = read_claims(f'{{"claims": {{"00:01": "{long}", "00:02": "a ball", "00:03": 7, "{"9" * 5000}": "x"}}}}')
    assert [claim.text for claim in claims] == ["a ball"]
    many = (
        ", ".join(f'"00:{i:02}-{i:02}:00": "x"' for i in range(1, 60))
        + ","
        + ", ".join(f'"{i}:00:00": "x"' for i in range(1, 60))
    )
    assert len(read_claims(f'{{"claims": {{{many}}}}}')) <= 64


def worker(url: str, **fields: Any) -> RewardWorker:
    terms = [RewardTermConfig(reward="accuracy"), RewardTermConfig(reward="visual_evidence", weight=0.5)]
    return RewardWorker(
        [TaskConfig(task="think", rewards=terms)], RewardConfig(judge=config(url, timeout_s=2.0, **fields))
    )


def completion(text: str) -> Completion:
    spans = (VersionSpan(start=0, end=5, policy_version=0),)
    logprobs = np.zeros(5, np.float32)
    return Completion(
        token_ids=np.arange(5), rollout_logprobs=logprobs, text=text, finish_reason="stop", versions=spans
    )


def test_every_hostile_reply_in_turn_costs_its_value_and_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """One completion for each reply: all are scored by accuracy, and each missing reply is counted once."""
    completions = [completion(f"<think>{i}</think><answer>blue</answer>") for i in range(len(REPLIES))]
    prompt = Prompt(sample=SAMPLE, token_ids=np.arange(3), duration_s=10.0)
    with hostile_endpoint(list(REPLIES.values())) as (url, seen), caplog.at_level(logging.WARNING):
        rewards = asyncio.run(worker(url).score(prompt, completions))
    assert len(seen) == len(REPLIES) >= 60
    assert sum(reward.judge_failures for reward in rewards) == len(REPLIES)
    assert all(reward.breakdown == {"accuracy": 1.0, "visual_evidence": None} for reward in rewards)
    lines = [record.getMessage() for record in caplog.records if record.name == "vrl.reward.worker"]
    assert len(lines) == len(REPLIES) and max(len(line.splitlines()[0]) for line in lines) < 2 * MOST
    traced = [line for line in lines if "\n" in line]
    assert 1 <= len(traced) < len(lines) / 2  # once a kind
    assert max(map(len, lines)) < 20_000


def test_a_server_gives_its_replies_in_turn() -> None:
    """The attacks above would pass against a server that gives none."""
    with hostile_endpoint([Hostile(http(said('{"score": 1}')).payload), http(said('{"score": 2}'))]) as (url, _):
        assert [ask(config(url)) for _ in range(3)] == [0.1, 0.2, 0.1]
