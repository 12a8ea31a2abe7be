"""One rollout engine: vLLM's AsyncLLM behind our records. Imports vLLM late, because that takes seconds.

Prompts arrive already processed (token ids and raw uint8 patches), so pixels are decoded and cut into patches once for
engine and learner. Cache keys contain the policy version: after a weight push no cache is cleared and no stale entry
is hit. Does not choose samples, score, or decide when weights change.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from vrl.algo.positions import PositionRule, position_rule
from vrl.algo.vocabulary import banned_token_ids
from vrl.config import ModelConfig, RolloutConfig
from vrl.errors import RolloutError, VrlError, WeightPushError, WorkerError
from vrl.observability.series import count, set_gauge
from vrl.observability.spans import timed
from vrl.observability.telemetry import start_telemetry
from vrl.rollout.core_death import CoreDeath, CoreDiedError
from vrl.rollout.inputs import Observation, Rendering, media_spans, media_tensors, read_media
from vrl.rollout.llm import RpcDir, start_llm
from vrl.rollout.shuffled import in_order
from vrl.types import Completion, Prompt, RawPrompt, VersionSpan
from vrl.weights.sender import differences
from vrl.weights.wire import Digest

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.inputs.engine import EngineInput
    from vllm.outputs import CompletionOutput

_LOADED = "default"  # vLLM's name for the weights it started with: our version 0
_SLEEPING = ("weights", "kv_cache")  # vLLM's tags of what leaves the GPU in sleep mode, in waking order


class RolloutEngine:
    """Generates groups of completions and receives weights. A plain class; the pool makes it an async actor.

    Example: `completions = await RolloutEngine(model, rollout).generate((prompt,), patches)`.
    """

    def __init__(
        self,
        model: ModelConfig,
        rollout: RolloutConfig,
        *,
        push_backend: str = "gloo",
        seed: int = 0,
        index: int = 0,
        raw_logprobs: bool = False,
        vision_trains: bool = True,
    ) -> None:
        """Start vLLM and wait until it is ready. Engines of one run differ in `index`, and thus in their samples.

        `raw_logprobs`: report the model's log-probs, at temperature 1 over all tokens, instead of the sampler's.
        `vision_trains`: cached features of a clip are valid for one policy version; otherwise they survive every push.
        """
        stats = start_telemetry()
        self._index = index
        self._rollout = rollout
        self._version = 0
        self._requests = 0
        self._seed = seed
        self._calls: Counter[str] = Counter()  # number of equal calls with the current weights
        self._admission = asyncio.Lock()
        self._paused = False
        self._asleep: list[str] = []
        self._vision_trains = vision_trains
        self._rpc_dir = RpcDir()
        self._llm = start_llm(
            model, rollout, seed=seed, stats=stats, push_backend=push_backend, raw_logprobs=raw_logprobs
        )
        self._core = CoreDeath(self._llm)
        hf_config = self._llm.model_config.hf_config
        self._rule = position_rule(hf_config)
        self._banned = banned_token_ids(hf_config)

    async def ready(self) -> None:
        """Return once the engine can generate."""
        await self._guarded(self._llm.check_health())
        await self._rpc_dir.remove(self._llm)

    @timed("generate")
    async def generate(
        self,
        prompts: Sequence[Prompt],
        *patches: np.ndarray,
        group_size: int | Sequence[int] | None = None,
        temperature: float | None = None,
    ) -> tuple[tuple[Completion, ...], ...]:
        """Sample `group_size` completions for every prompt, or `group_size[i]` for prompt i.

        `patches[i]` belong to `prompts[i]`, uint8 [num_patches, patch_dim]. Prompts of one call are admitted together.
        What an idle engine samples is determined by the seed, its index, its policy version, the call, and the number
        of equal calls before it at that version: a resumed run samples what the interrupted one would have. Raises
        RolloutError for a request that vLLM refuses or aborts, DataError for a prompt whose grids do not match its
        ids, WorkerError if the engine is dead.
        """
        group_size = group_size or self._rollout.group_size
        sizes = [group_size] * len(prompts) if isinstance(group_size, int) else group_size
        params = [self._sampling(size, temperature) for size in sizes]
        admitted: list[Any] = []
        try:
            async with self._admission:
                requests = [self._request(prompt, pixels) for prompt, pixels in zip(prompts, patches, strict=True)]
                seed = self._call_seed(prompts, sizes, temperature)
                await self._guarded(self._admit(requests, params, admitted, seed))
            finished = await asyncio.gather(*(self._guarded(output.get()) for output in admitted))
        except BaseException:  # one failed or the caller was cancelled: abort the rest
            await self._llm.abort([output.request_id for output in admitted], internal=True)
            raise
        completions = tuple(tuple(map(self._completion, output.outputs)) for output in finished)
        _count(prompts, completions)
        return completions

    @timed("pause")
    async def pause(self) -> None:
        """Freeze running requests, which keep their tokens, and admit no new ones until `resume`.

        Does nothing if the engine is already paused, because a retried push starts with it. Of a sleeping engine only
        the weights return to the GPU.
        """
        if not self._paused:
            await self._stop_admission()
            await self._guarded(self._llm.pause_generation(mode="keep", clear_cache=False))
        if "weights" in self._asleep:
            await self._wake("weights")

    @timed("sleep")
    async def sleep(self) -> None:
        """Leave the GPU to the learner until `resume`: weights move to the host, keys and values are dropped.

        Running requests finish first; there are none if learner and engines take turns.
        """
        await self._stop_admission()
        await self._guarded(self._llm.sleep(level=1, mode="wait"))
        self._asleep = list(_SLEEPING)

    @timed("resume")
    async def resume(self) -> None:
        """Continue with the current weights. Does nothing if the engine is running."""
        for part in list(self._asleep):
            await self._wake(part)
        if self._paused:
            await self._guarded(self._llm.resume_generation())
            self._paused = False
            self._admission.release()

    async def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """Join the learner's group and abort an unfinished push. vLLM calls this and the next three methods."""
        from vllm.distributed.weight_transfer.base import WeightTransferInitRequest

        await self._transfer(self._llm.collective_rpc("vrl_abandon_update"))
        await self._transfer(self._llm.init_weight_transfer_engine(WeightTransferInitRequest(init_info=init_info)))

    async def start_weight_update(self) -> None:
        await self._transfer(self._llm.start_weight_update())

    @timed("receive")
    async def update_weights(self, update_info: Any) -> None:
        from vllm.distributed.weight_transfer.base import WeightTransferUpdateRequest

        await self._transfer(self._llm.update_weights(WeightTransferUpdateRequest(update_info=update_info)))

    async def finish_weight_update(self, weight_version: str) -> None:
        await self._transfer(self._llm.finish_weight_update(weight_version))
        self._version = int(weight_version)
        set_gauge("vrl_rollout_policy_version", self._version)
        self._calls.clear()

    @timed("verify")
    async def verify_weights(self, policy_version: int, digests: Mapping[str, Digest]) -> None:
        """Compare every parameter of the live model with the learner's digests (by sent name, in the order sent).

        Raises WeightPushError naming the first parameter that differs, or the version if the engine holds another.
        """
        if self._version != policy_version:
            raise WeightPushError(
                f"engine {self._index}: got policy version {self._version}, wanted {policy_version}: it missed a push"
            )
        held = await self._guarded(self._llm.collective_rpc("vrl_weight_digests"))
        names = await self._guarded(self._llm.collective_rpc("vrl_parameter_names", args=(list(digests),)))
        wrong = differences(digests, names[0], held)
        if wrong:
            raise WeightPushError(
                f"engine {self._index}: {len(wrong)} of {len(held[0])} parameters differ from the learner's at policy "
                f"version {policy_version}, the first is {wrong[0]}; the engine must not sample"
            )

    async def rule(self) -> PositionRule:
        """Return how the loaded model family places vision slots and positions."""
        return self._rule

    async def render(self, raw: RawPrompt) -> Rendering:
        """Run vLLM's own processor on text and decoded frames; our rendering must equal it."""
        from PIL import Image
        from vllm.renderers.inputs.preprocess import parse_model_prompt

        from vrl.data.prompt import clock_metadata

        media: dict[str, list[Any]] = {}
        for kind, frames in raw.media:
            clip = (frames.pixels_THWC, {**clock_metadata(frames), "do_sample_frames": False})
            media.setdefault(kind, []).append(clip if kind == "video" else Image.fromarray(frames.pixels_THWC[0]))
        prompt: dict[str, Any] = {"prompt": raw.text}
        if media:
            prompt["multi_modal_data"] = media
            prompt["mm_processor_kwargs"] = {"videos_kwargs": raw.clip_kwargs, "images_kwargs": raw.image_kwargs}
        parsed = parse_model_prompt(self._llm.model_config, prompt)
        (rendered,) = await self._guarded(self._llm.renderer.render_cmpl_async([parsed]))
        places = [
            (place.offset, kind, i)
            for kind, ps in rendered.get("mm_placeholders", {}).items()
            for i, place in enumerate(ps)
        ]
        items = [read_media(kind, rendered["mm_kwargs"][kind][i].get_data()) for _, kind, i in sorted(places)]
        return Rendering(
            token_ids=np.array(rendered["prompt_token_ids"], dtype=np.int64),
            vision=tuple(grid for grid, _ in items),
            patches=np.concatenate([patches for _, patches in items]) if items else np.zeros((0, 0), dtype=np.uint8),
        )

    async def observe(self, prompt: Prompt, patches: np.ndarray, group_size: int) -> Observation:
        """Generate for one uncached prompt and return the positions and pixels that the model used."""
        await self._guarded(self._llm.collective_rpc("vrl_start_tap"))
        (completions,) = await self.generate((prompt,), patches, group_size=group_size)
        positions, rows = (await self._guarded(self._llm.collective_rpc("vrl_read_tap")))[0]
        return Observation(completions=completions, positions_3P=np.array(positions), pixel_rows=rows)

    async def vision_runs(self) -> int:
        """Return the number of images and clips encoded since the last call; the first call starts the count."""
        return max(await self._guarded(self._llm.collective_rpc("vrl_vision_runs")))

    def shutdown(self) -> None:
        """Stop vLLM's processes; the engine cannot be used afterwards."""
        self._llm.shutdown()
        del self._llm  # its finaliser fails during interpreter shutdown

    async def _stop_admission(self) -> None:
        if not self._paused:
            await self._admission.acquire()
            self._paused = True

    async def _wake(self, part: str) -> None:
        await self._guarded(self._llm.wake_up(tags=[part]))
        self._asleep.remove(part)

    def _sampling(self, group_size: int, temperature: float | None) -> "SamplingParams":
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        rollout = self._rollout
        temperature = rollout.temperature if temperature is None else temperature
        if temperature == 0 and group_size > 1:
            raise RolloutError(
                f"got group_size {group_size} at temperature 0, wanted 1: greedy completions are all equal"
            )
        return SamplingParams(
            n=group_size,
            temperature=temperature,
            top_p=rollout.top_p,
            top_k=rollout.top_k,
            max_tokens=rollout.max_tokens,
            logprobs=0,  # of the sampled token only
            flat_logprobs=True,
            logit_bias=dict.fromkeys(self._banned, float("-inf")),
            output_kind=RequestOutputKind.FINAL_ONLY,
            skip_special_tokens=False,
            spaces_between_special_tokens=False,
            include_stop_str_in_output=True,
        )

    def _request(self, prompt: Prompt, patches: np.ndarray) -> "EngineInput":
        """Return a prompt in the form that vLLM's own processor returns."""
        from vllm.inputs.engine import mm_input, tokens_input
        from vllm.multimodal.inputs import MultiModalKwargsItems, PlaceholderRange

        token_ids, salt = prompt.token_ids.tolist(), f"v{self._version}"
        if not prompt.vision:
            return tokens_input(token_ids, cache_salt=salt)
        tower = salt if self._vision_trains else "frozen"
        spans = media_spans(prompt, self._rule)
        tensors: Any = media_tensors(prompt.vision, in_order(prompt, patches))
        processor = self._llm.renderer.get_mm_processor()
        fields = processor._get_mm_fields_config(tensors, {})
        hashes: dict[str, list[str]] = {}
        places: dict[str, list[PlaceholderRange]] = {}
        for i, span in enumerate(spans):
            hashes.setdefault(span.grid.kind, []).append(f"{prompt.media_key}-{i}-{tower}")
            place = PlaceholderRange(offset=span.start, length=len(span.is_slot_L), is_embed=_partial(span.is_slot_L))
            places.setdefault(span.grid.kind, []).append(place)
        items = MultiModalKwargsItems.from_hf_inputs(tensors, fields)
        return mm_input(token_ids, items, hashes, places, cache_salt=salt)

    def _call_seed(self, prompts: Sequence[Prompt], sizes: Sequence[int], temperature: float | None) -> int:
        """Return the seed of a call. Our definition: a hash of all that the docstring of `generate` lists."""
        digest = blake2b(repr((self._seed, self._index, self._version, list(sizes), temperature)).encode())
        for prompt in prompts:
            digest.update(prompt.media_key.encode())
            digest.update(prompt.token_ids.tobytes())
        call = digest.hexdigest()
        self._calls[call] += 1
        digest.update(str(self._calls[call]).encode())
        return int.from_bytes(digest.digest()[:7], "little")

    async def _admit(
        self, requests: "Sequence[EngineInput]", params: "Sequence[SamplingParams]", admitted: list[Any], seed: int
    ) -> None:
        """Add requests in order and collect their outputs in `admitted`.

        An idle engine is reseeded, and paused meanwhile so that its first batch holds all requests.
        """
        idle = self._llm.get_num_unfinished_requests() == 0
        if idle:
            await self._llm.pause_generation(mode="keep", clear_cache=False)
            await self._llm.collective_rpc("vrl_seed", args=(seed,))
        try:
            for request, wanted in zip(requests, params, strict=True):
                self._requests += 1
                admitted.append(await self._llm.add_request(str(self._requests), request, wanted))
        finally:
            if idle:
                await self._llm.resume_generation()

    async def _guarded(self, call: Any) -> Any:
        """Await a call of vLLM and translate its errors into ours."""
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            return await self._core.or_result(call)
        except (EngineDeadError, CoreDiedError) as error:
            raise WorkerError(f"engine {self._index}: vLLM's core process died; its log says why") from error
        except VLLMClientError as error:
            raise RolloutError(f"engine {self._index}: vLLM refuses the request: {error}") from error

    async def _transfer(self, call: Any) -> None:
        """Await a step of the weight transfer. Raises WeightPushError if it fails."""
        try:
            await self._guarded(call)
        except VrlError:
            raise
        except Exception as error:  # vLLM re-raises a worker's error as a bare Exception with its text
            raise WeightPushError(f"engine {self._index}: {error}") from error

    def _completion(self, output: "CompletionOutput") -> Completion:
        if output.finish_reason not in ("stop", "length"):
            raise RolloutError(f"engine {self._index}: got a completion with finish reason {output.finish_reason!r}")
        sampled: Any = output.logprobs  # one per token, because of logprobs=0
        logprobs = np.array(sampled.logprobs, dtype=np.float32)
        if len(logprobs) != len(output.token_ids) or not np.isfinite(logprobs).all():
            raise RolloutError(
                f"engine {self._index}: got {len(logprobs)} log-probs for {len(output.token_ids)} tokens, wanted one "
                "finite number each"
            )
        return Completion(
            token_ids=np.array(output.token_ids, dtype=np.int64),
            rollout_logprobs=logprobs,
            text=output.text,
            finish_reason=output.finish_reason,
            versions=tuple(
                VersionSpan(start=s.start, end=s.end, policy_version=0 if s.version == _LOADED else int(s.version))
                for s in output.weight_versions or ()
            ),
        )


def _count(prompts: Sequence[Prompt], completions: Sequence[Sequence[Completion]]) -> None:
    count("vrl_rollout_prompt_tokens_total", sum(len(prompt.token_ids) for prompt in prompts))
    for completion in (one for group in completions for one in group):
        count("vrl_rollout_generated_tokens_total", len(completion.token_ids))
        count("vrl_rollout_completions_total", finish=completion.finish_reason)


def _partial(is_slot_L: np.ndarray) -> Any:
    """Return the mask of a span if only some of its tokens are slots; None if all are."""
    import torch

    return None if is_slot_L.all() else torch.from_numpy(is_slot_L)
