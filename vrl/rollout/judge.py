"""One engine of a run's own judge: a language model on vLLM that answers questions in text.

Independent of the policy: its weights never change. Does not write the questions: vrl.reward.judge does.
"""

import itertools
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from vrl.config import JudgeConfig, ModelConfig, RolloutConfig
from vrl.errors import JudgeError, excerpt
from vrl.observability.telemetry import start_telemetry
from vrl.rollout.llm import RpcDir, start_llm


class JudgeEngine:
    """One judge engine. A plain class; the run makes it an async actor."""

    def __init__(self, config: JudgeConfig) -> None:
        """Start vLLM and wait until it is ready."""
        from transformers import AutoTokenizer  # imported late: the driver imports this module, and it takes seconds

        stats, engine = start_telemetry(), config.engine
        self._requests = itertools.count()
        self._tokenizer: Any = AutoTokenizer.from_pretrained(config.model, trust_remote_code=False)
        self._rpc_dir = RpcDir()
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
        """Return the pid of this process once the engine can answer."""
        await self._llm.check_health()
        await self._rpc_dir.remove(self._llm)
        return os.getpid()

    async def chat(self, request: dict[str, Any]) -> str:
        """Answer a request of the OpenAI protocol: messages, temperature, seed, max_tokens.

        Raises JudgeError for a question that does not fit the context, or if vLLM fails.
        """
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            temperature=request["temperature"],
            seed=request["seed"],
            max_tokens=request["max_tokens"],
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        try:
            ids = chat_ids(self._tokenizer, request["messages"])
            async for output in self._llm.generate({"prompt_token_ids": ids}, params, str(next(self._requests))):
                return output.outputs[0].text
        except Exception as error:  # any failure of vLLM: the question stays unanswered, the run continues
            raise JudgeError(f"{type(error).__name__}: {excerpt(error)}") from error
        raise JudgeError("got no output")

    def shutdown(self) -> None:
        """Stop vLLM's processes; the engine cannot be used afterwards."""
        self._llm.shutdown()
        del self._llm


def chat_ids(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """Return the token ids of a chat: special tokens from the chat template alone, contents as plain text.

    The template is rendered with a placeholder for each content, so that text that spells a special token stays text.
    Raises JudgeError if a content still holds one.
    """
    blank = [{**message, "content": f"vrlcontent{i}x"} for i, message in enumerate(messages)]
    rendered = tokenizer.apply_chat_template(blank, add_generation_prompt=True, tokenize=False)
    special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    ids: list[int] = []
    for i, piece in enumerate(re.split(r"vrlcontent(\d+)x", rendered)):
        if i % 2 == 0:
            ids += tokenizer.encode(piece, add_special_tokens=False)
            continue
        content = messages[int(piece)]["content"]
        plain = tokenizer.encode(content, add_special_tokens=False, split_special_tokens=True)
        if special & set(plain):
            raise JudgeError(f"got a special token in the text '{excerpt(content)}', wanted plain text")
        ids += plain
    return ids
