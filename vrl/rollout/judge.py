"""One engine of a run's own judge: a language model that answers questions in words, on vLLM.

Has nothing to do with the policy: its weights never change. Knows no question; vrl.reward.judge asks them.
"""

import itertools
import os
from typing import Any

from vrl.config import JudgeConfig, ModelConfig, RolloutConfig
from vrl.errors import JudgeError
from vrl.observability.watch import watch_actor
from vrl.rollout.llm import start_llm
from vrl.rollout.rpc_dir import RpcDir


class JudgeEngine:
    """One engine. A plain class: the run makes an async actor of it."""

    def __init__(self, config: JudgeConfig) -> None:
        """Starts vLLM and waits until it is ready."""
        from transformers import AutoTokenizer  # takes seconds: not for the driver, which starts this class

        stats, engine = watch_actor(), config.engine
        self._requests = itertools.count()
        self._tokenizer: Any = AutoTokenizer.from_pretrained(config.model)
        self._sockets = RpcDir()
        self._llm = start_llm(
            ModelConfig(path=config.model, dtype=engine.dtype, max_context_tokens=engine.max_context_tokens),
            RolloutConfig(
                tensor_parallel=engine.tensor_parallel,
                max_num_seqs=config.concurrency,
                kv_cache_gib=engine.kv_cache_gib,
                gpu_memory_utilization=engine.gpu_memory_utilization,
                threads=engine.threads,
            ),
            seed=0,
            stats=stats,
        )

    async def ready(self) -> int:
        """The process that holds the model, once it can answer."""
        await self._llm.check_health()
        await self._sockets.leave(self._llm)
        return os.getpid()

    async def chat(self, request: dict[str, Any]) -> str:
        """The reply to a request in the words of the OpenAI protocol: messages, temperature, seed, max_tokens.

        Raises JudgeError for a question that does not fit the context, and where vLLM fails.
        """
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        ids = self._tokenizer.apply_chat_template(request["messages"], add_generation_prompt=True)["input_ids"]
        params = SamplingParams(
            temperature=request["temperature"],
            seed=request["seed"],
            max_tokens=request["max_tokens"],
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        try:
            async for output in self._llm.generate({"prompt_token_ids": ids}, params, str(next(self._requests))):
                return output.outputs[0].text
        except Exception as error:  # whatever vLLM raises: the question has no answer, the run goes on
            raise JudgeError(f"{type(error).__name__}: {error}") from error
        raise JudgeError("got no output")

    def shutdown(self) -> None:
        """End vLLM's processes; the engine cannot be used after."""
        self._llm.shutdown()
        del self._llm
