"""Judges read a completion: its claims with times, its conclusion, its use of visual evidence.

Three kinds answer the same questions: `rules` needs no model, `openai` asks any endpoint of the OpenAI protocol, `vllm`
asks the run's own engines.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from vrl.config import JudgeConfig
from vrl.reward.inputs import Claim
from vrl.types import Sample


class Judge(Protocol):
    """A reader of completions. Every method raises JudgeError if the judge has no usable answer."""

    async def claims(self, thinking: str) -> tuple[Claim, ...]:
        """Return what the thinking claims to see, and when; empty if nothing."""
        ...

    async def agrees(self, sample: Sample, thinking: str, answer: str) -> bool:
        """Return whether the thinking reaches the same conclusion as the answer; False if undecidable."""
        ...

    async def conclusion(self, sample: Sample, thinking: str) -> str:
        """Return the last explicit conclusion of the thinking, as an answer (a letter for options); empty if none."""
        ...

    async def visual(self, sample: Sample, thinking: str) -> float:
        """Return how much the thinking relies on concrete visual evidence, in [0, 1]."""
        ...

    async def same(self, sample: Sample, answer: str) -> bool:
        """Return whether the answer means the same as the sample's true answer."""
        ...


async def require_judge(config: JudgeConfig) -> None:
    """Raise ConfigError if the judge's endpoint refuses our requests, before a run that needs it starts."""
    if config.kind == "openai":
        from vrl.reward.judge.endpoint import require_accepted

        await require_accepted(config)


def make_judge(config: JudgeConfig, engines: Sequence[Any] = ()) -> Judge:
    """Return the configured judge; `engines` are the actors of kind `vllm`. Raises ConfigError if its key is unset."""
    if config.kind == "rules":
        from vrl.reward.judge.rules import RuleJudge

        return RuleJudge()
    from vrl.reward.judge.service import ServiceJudge

    if config.kind == "vllm":
        from vrl.reward.judge.engines import OwnEngines

        return ServiceJudge(config, OwnEngines(engines))
    from vrl.reward.judge.endpoint import Endpoint  # loads the HTTP client

    return ServiceJudge(config, Endpoint(config))
