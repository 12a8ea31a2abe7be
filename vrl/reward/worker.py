"""The reward worker: scores the completions of a group. A plain class; the pool makes it an actor.

Asks the judge first, all questions of a group concurrently, then computes pure functions. A judge that fails leaves
values missing; anything else that raises fails the group.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from vrl.config import RewardConfig, TaskConfig
from vrl.errors import ConfigError, RewardError, excerpt
from vrl.observability.faults import FaultLog
from vrl.observability.series import count, observe
from vrl.observability.spans import timed
from vrl.observability.telemetry import start_telemetry
from vrl.reward import GROUP_REWARDS, REWARDS, add_modules
from vrl.reward.accuracy import accuracy
from vrl.reward.inputs import Claim, GroupInput, Judgement, RewardInput, Values
from vrl.reward.judge import make_judge
from vrl.reward.rubric import Rubric, build_rubric
from vrl.reward.similarity import make_similarity
from vrl.tasks import TASKS
from vrl.tasks.tags import from_header
from vrl.types import Completion, Prompt, Reward, Sample

logger = logging.getLogger(__name__)


class RewardWorker:
    """A scorer with the run's rubric and judge. Any worker may score any group.

    Example: `rewards = await RewardWorker(config.tasks, config.reward, model_path).score(prompt, completions)`.
    """

    def __init__(
        self,
        task_configs: Sequence[TaskConfig],
        config: RewardConfig | None = None,
        model_path: str = "",
        judge_engines: Sequence[Any] = (),
    ) -> None:
        """Build rubric, judge and similarity. `model_path`: folder of the policy, whose tokenizer counts the tokens of
        thinking. `judge_engines`: actors of a judge of kind `vllm`.

        Raises ConfigError for a faulty rubric, or a missing judge key, package or tokenizer.
        """
        start_telemetry()
        self._config = config or RewardConfig()
        add_modules(self._config.modules)
        self._rubric = build_rubric(task_configs)
        self._watched = self._rubric.with_diagnostics()
        asks = {field for task in self._watched.terms for field in self._watched.asks(task)}
        self._judge: Any = make_judge(self._config.judge, judge_engines) if asks else None
        self._similarity: Any = make_similarity(self._config) if "claims" in asks else None
        self._tokenizer = _tokenizer(model_path) if self._rubric.counts_tokens() else None
        self._faults = FaultLog(logger)

    @timed("score")
    async def score(
        self,
        prompt: Prompt,
        completions: Sequence[Completion],
        shuffled: Sequence[Completion] = (),
        *,
        diagnose: bool = False,
    ) -> tuple[Reward, ...]:
        """Return one reward per completion, in order. `shuffled`: completions on permuted frames (T-GRPO), not scored.
        `diagnose`: add the diagnostics of a thinking task to the breakdown; the reward does not change.

        Raises RewardError, with reward, sample and cause, if a reward function raises or returns a non-finite number,
        if every value of a completion is missing, or if the sample's task has no rubric.
        """
        with self._one_item(prompt.sample):
            return await self._score(self._watched if diagnose else self._rubric, prompt, completions, shuffled)

    async def _score(
        self, rubric: Rubric, prompt: Prompt, completions: Sequence[Completion], shuffled: Sequence[Completion]
    ) -> tuple[Reward, ...]:
        sample = prompt.sample
        if sample.task not in rubric.terms:
            raise RewardError(
                f"sample {sample.sample_id}: got task {sample.task!r}, wanted one with a rubric: {sorted(rubric.terms)}"
            )
        inputs = [self._read(prompt, completion) for completion in completions]
        measured = await self._measure(rubric, inputs, [self._read(prompt, completion) for completion in shuffled])
        rewards = tuple(
            replace(
                rubric.combine(sample.task, values),
                parsed=one.parsed is not None,
                judge_failures=failures,
            )
            for one, (values, failures) in zip(inputs, measured, strict=True)
        )
        for reward in rewards:
            observe("vrl_reward_value", reward.value, task=sample.task)
        return rewards

    async def measure(
        self, inputs: Sequence[RewardInput], shuffled: Sequence[RewardInput] = ()
    ) -> list[tuple[Values, int]]:
        """Return, for each completion of one prompt, every reward of its task's rubric, uncombined, and the number of
        questions that the judge left unanswered. Fills in `config`, `num_thinking_tokens` and `judgement`.

        Raises RewardError as `score` does.
        """
        with self._one_item(inputs[0].sample if inputs else None):
            return await self._measure(self._rubric, inputs, shuffled)

    @contextmanager
    def _one_item(self, sample: Sample | None) -> Iterator[None]:
        """Make any failure the sample's, a RewardError; the first of each kind leaves its traceback in the log."""
        try:
            yield
        except RewardError as error:
            if error.__cause__ is not None:
                self._faults.add("reward", error)
            raise
        except Exception as error:
            self._faults.add("reward", error)
            where = f"sample {sample.sample_id} (task {sample.task})" if sample is not None else "no sample"
            raise RewardError(f"{where}: {type(error).__name__}: {excerpt(error)}") from error

    async def _measure(
        self, rubric: Rubric, inputs: Sequence[RewardInput], shuffled: Sequence[RewardInput]
    ) -> list[tuple[Values, int]]:
        judged = await asyncio.gather(*(self._judged(rubric, self._configured(one)) for one in inputs))
        values = self._values(rubric, [one for one, _ in judged], [self._configured(one) for one in shuffled])
        return [(mine, failures) for mine, (_, failures) in zip(values, judged, strict=True)]

    def _read(self, prompt: Prompt, completion: Completion) -> RewardInput:
        task = TASKS[prompt.sample.task]
        text = from_header(prompt.text, completion.text)
        return RewardInput(
            task=task,
            sample=prompt.sample,
            duration_s=prompt.duration_s,
            timestamps_s=prompt.timestamps_s,
            text=text,
            parsed=task.parse(text),
            finish_reason=completion.finish_reason,
            num_tokens=len(completion.token_ids),
        )

    def _configured(self, inputs: RewardInput) -> RewardInput:
        """Return the input with the run's configuration and the length of its thinking."""
        thinking = inputs.parsed.thinking if inputs.parsed is not None else ""
        num_tokens = len(self._tokenizer.encode(thinking).ids) if self._tokenizer is not None else 0
        return replace(inputs, config=self._config, num_thinking_tokens=num_tokens)

    async def _judged(self, rubric: Rubric, inputs: RewardInput) -> tuple[RewardInput, int]:
        """Return the input with the judge's findings, and the number of questions left unanswered.

        Asks nothing about missing thinking or a missing answer.
        """
        if inputs.parsed is None:
            return inputs, 0
        sample, thinking, answer = inputs.sample, inputs.parsed.thinking, inputs.parsed.answer
        questions: dict[str, Any] = {}
        if answer:
            questions["same"] = lambda: self._judge.same(sample, answer)
        if thinking:
            questions |= {
                "claims": lambda: self._judge.claims(thinking),
                "agrees": lambda: self._judge.agrees(sample, thinking, answer),
                "conclusion": lambda: self._judge.conclusion(sample, thinking),
                "visual": lambda: self._judge.visual(sample, thinking),
            }
        asked = sorted(rubric.asks(inputs.task.name) & questions.keys())
        replies = await asyncio.gather(*(self._answered(questions[name]()) for name in asked))
        found = dict(zip(asked, replies, strict=True))
        claims: tuple[Claim, ...] | None = found.get("claims")
        similarity: np.ndarray | None = None
        if claims is not None:
            captions = [caption.text for caption in sample.captions]
            similarity = await asyncio.to_thread(self._similarity, [claim.text for claim in claims], captions)
        judgement = Judgement(**found, similarity=similarity)
        return replace(inputs, judgement=judgement), sum(reply is None for reply in replies)

    async def _answered(self, question: Awaitable[Any]) -> Any:
        """Return the judge's answer, or None if it has none."""
        try:
            answer = await question
        except Exception as error:  # a judge may raise anything
            self._faults.add("judge", error)
            count("vrl_reward_judge_questions_total", outcome="failed")
            return None
        count("vrl_reward_judge_questions_total", outcome="answered")
        return answer

    def _values(
        self, rubric: Rubric, inputs: list[RewardInput], shuffled: list[RewardInput]
    ) -> list[dict[str, float | None]]:
        """Return every reward of the rubric for every completion, those of single completions first."""
        names = rubric.names(inputs[0].task.name) if inputs else []
        grouped = [name for name in names if name in GROUP_REWARDS]
        values = [{name: _value(name, one) for name in names if name in REWARDS} for one in inputs]
        if grouped:
            group = GroupInput(
                inputs=tuple(inputs),
                accuracy=tuple(accuracy(one) for one in inputs),
                shuffled_accuracy=tuple(accuracy(one) for one in shuffled),
                config=self._config,
            )
            for name in grouped:
                for mine, value in zip(values, GROUP_REWARDS[name](group), strict=True):
                    mine[name] = value
        return values


def _value(name: str, inputs: RewardInput) -> float | None:
    where = f"reward {name}, sample {inputs.sample.sample_id} (task {inputs.sample.task})"
    try:
        value = REWARDS[name](inputs)
    except (Exception, SystemExit) as error:  # a reward may raise anything
        raise RewardError(f"{where}: {type(error).__name__}: {excerpt(error)}") from error
    if value is not None and not math.isfinite(value):
        raise RewardError(f"{where}: got {value}, wanted a finite number, or None for a missing value")
    return value


def _tokenizer(model_path: str) -> Tokenizer:
    file = Path(model_path) / "tokenizer.json"
    if not model_path or not file.is_file():
        raise ConfigError(
            f"model.path {model_path!r}: got no tokenizer.json, wanted one: a reward of the rubric counts tokens"
        )
    return Tokenizer.from_file(str(file))
