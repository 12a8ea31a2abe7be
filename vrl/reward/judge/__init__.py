"""Judges read what a completion says: claims with times, a conclusion, how much it looks.

Three kinds, one set of questions: `rules` needs no model, `openai` asks any endpoint that speaks the OpenAI protocol,
`vllm` engines of the run's own.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from vrl.config import JudgeConfig
from vrl.reward.record import Claim
from vrl.types import Sample


class Judge(Protocol):
    """Every question raises JudgeError where there is no usable answer: never a made-up one."""

    async def claims(self, thinking: str) -> tuple[Claim, ...]:
        """What the thinking says is to be seen at a time; none is an answer too."""
        ...

    async def agrees(self, sample: Sample, thinking: str, answer: str) -> bool:
        """Does the thinking come to the same conclusion as the answer? What cannot be decided does not."""
        ...

    async def conclusion(self, sample: Sample, thinking: str) -> str:
        """The thinking's last explicit conclusion as an answer (a letter for options); empty where it has none."""
        ...

    async def visual(self, sample: Sample, thinking: str) -> float:
        """How much the thinking leans on concrete visual evidence, in [0, 1]."""
        ...

    async def same(self, sample: Sample, answer: str) -> bool:
        """Does the answer say what the sample's true answer says?"""
        ...


def make_judge(config: JudgeConfig, engines: Sequence[Any] = ()) -> Judge:
    """The configured judge; `engines` are the actors of kind `vllm`. Raises ConfigError where its key is named but not
    in the environment.
    """
    if config.kind == "rules":
        from vrl.reward.judge.rules import RuleJudge

        return RuleJudge()
    from vrl.reward.judge.service import ServiceJudge

    if config.kind == "vllm":
        from vrl.reward.judge.engines import OwnEngines

        return ServiceJudge(config, OwnEngines(engines))
    from vrl.reward.judge.endpoint import Endpoint  # loads the openai client

    return ServiceJudge(config, Endpoint(config))
