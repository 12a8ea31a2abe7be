"""Translates our configuration into vLLM's and starts its AsyncLLM, whose sockets get a folder of their own."""

import os
from tempfile import TemporaryDirectory
from typing import Any, cast

from vrl.config import ModelConfig, RolloutConfig
from vrl.network import socket_folder
from vrl.rollout.parent_watchdog import record_engine_pid

_MIN_BATCH_TOKENS = 8192  # of one forward; at least a whole prompt, so that any clip fits the encoder cache
_CPU_BLOCK_TOKENS = 32  # vLLM's 128 would keep short prompts out of the prefix cache
_CPU_ENV = {
    "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads make a shared machine ten times slower
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # otherwise engines and learner share the first cores
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # model and scheduler in one process: one import of vLLM less
    "TORCHDYNAMO_DISABLE": "1",  # otherwise the sampler compiles C++ for 20 s and needs a compiler
}


def start_llm(
    model: ModelConfig,
    rollout: RolloutConfig,
    *,
    seed: int,
    stats: bool,
    push_backend: str = "gloo",
    raw_logprobs: bool = False,
) -> Any:
    """Start an AsyncLLM that takes processed inputs and new weights. `stats`: report vLLM's own metrics."""
    record_engine_pid()
    os.environ["OMP_NUM_THREADS"] = str(rollout.threads)
    if push_backend == "ipc":
        os.environ["VLLM_ALLOW_INSECURE_SERIALIZATION"] = "1"  # IPC handles reach the worker as pickles
    from vllm import AsyncEngineArgs
    from vllm.config import WeightTransferConfig
    from vllm.platforms import current_platform
    from vllm.v1.engine.async_llm import AsyncLLM

    import vrl.rollout.extension  # noqa: F401  (registers the gloo transport in this process too, where vLLM checks its name)

    on_cpu = current_platform.is_cpu()
    device: dict[str, Any] = {"gpu_memory_utilization": rollout.gpu_memory_utilization}
    if on_cpu:
        os.environ.update(_CPU_ENV)
        device = {"kv_cache_memory_bytes": int(rollout.kv_cache_gib * 2**30), "block_size": _CPU_BLOCK_TOKENS}
    args = AsyncEngineArgs(
        model=model.path,
        served_model_name="policy",  # the label in vLLM's metrics; by default the path
        dtype=cast(Any, model.dtype),
        trust_remote_code=model.trust_remote_code,
        load_format="safetensors",
        max_model_len=model.max_context_tokens,
        max_num_seqs=rollout.max_num_seqs,
        max_num_batched_tokens=max(_MIN_BATCH_TOKENS, model.max_context_tokens),
        tensor_parallel_size=rollout.tensor_parallel,
        enforce_eager=rollout.enforce_eager or on_cpu,
        seed=seed,
        enable_prefix_caching=True,
        # processed: at the sampling temperature, over the tokens that may be sampled
        logprobs_mode="raw_logprobs" if raw_logprobs else "processed_logprobs",
        mm_processor_cache_gb=0,  # inputs are already processed
        skip_mm_profiling=on_cpu,
        disable_log_stats=not stats,
        weight_transfer_config=WeightTransferConfig(backend=push_backend),
        enable_sleep_mode=push_backend == "ipc",  # a learner rank takes turns on the same GPU
        worker_extension_cls="vrl.rollout.extension.EngineExtension",
        **device,
    )
    return AsyncLLM.from_engine_args(args)


class RpcDir:
    """A private folder for the unix sockets of the next engine that this process starts.

    By default vLLM binds them in /tmp and leaves one file per engine. A connected socket needs no file, so the folder
    is removed while the engine runs and nothing remains even after a kill. Only its owner can enter it.
    """

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="vrl-", dir=socket_folder(), ignore_cleanup_errors=True)
        self._removed = False
        os.environ["VLLM_RPC_BASE_PATH"] = self._folder.name

    async def remove(self, llm: Any) -> None:
        """Remove the folder on the first call; an answer from the engine shows that all sockets are connected."""
        if not self._removed:
            await llm.is_paused()
            self._folder.cleanup()
            self._removed = True
