"""Cross-field validation of a run's configuration."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from vrl.config import AlgoConfig, JudgeConfig, RunConfig
from vrl.config.fields import out_of_range


def check(config: RunConfig) -> list[str]:
    """Return every range and cross-field fault of a complete configuration, as 'key: got, wanted'."""
    problems = out_of_range(config)
    frames = config.data.frames
    if frames.min_frames > frames.max_frames:
        problems.append(
            f"data.frames.min_frames: got {frames.min_frames}, wanted at most max_frames={frames.max_frames}"
        )
    if frames.min_frames % 2 or frames.max_frames % 2:
        problems.append(
            f"data.frames: got min_frames={frames.min_frames}, max_frames={frames.max_frames}, wanted even numbers "
            "(the vision tower merges frames in pairs)"
        )
    if frames.min_pixels > frames.max_pixels:
        problems.append(
            f"data.frames.min_pixels: got {frames.min_pixels}, wanted at most max_pixels={frames.max_pixels}"
        )
    if frames.image_max_pixels and frames.image_min_pixels > frames.image_max_pixels:
        problems.append(
            f"data.frames.image_min_pixels: got {frames.image_min_pixels}, wanted at most "
            f"image_max_pixels={frames.image_max_pixels}"
        )
    font = frames.overlay.font
    if font and not Path(font).is_file():
        problems.append(f"data.frames.overlay.font: got {font!r}, which is no file, wanted a TrueType file")
    if config.rollout.max_tokens >= config.model.max_context_tokens:
        problems.append(
            f"rollout.max_tokens: got {config.rollout.max_tokens}, wanted less than "
            f"model.max_context_tokens={config.model.max_context_tokens}"
        )
    if config.rollout.temperature > 2:
        problems.append(f"rollout.temperature: got {config.rollout.temperature}, wanted at most 2 (vLLM's bound)")
    if config.rollout.top_p < 1 or config.rollout.top_k != -1:
        problems.append(
            f"rollout: got top_p={config.rollout.top_p}, top_k={config.rollout.top_k}, wanted 1.0 and -1 (all): the "
            "engine would report log-probs over the tokens it kept, the learner over all of them"
        )
    if config.sft.stop_at_reward and not (config.sft.generate and config.data.val):
        problems.append("sft.stop_at_reward: wanted sft.generate=true and data.val, to measure the held-out reward")
    if (frames.overlay.time or frames.overlay.index) and any(
        term.reward == "temporal_order" for task in config.tasks for term in task.rewards
    ):
        problems.append(
            "data.frames.overlay: got time or index with the reward temporal_order, wanted neither: permuted frames "
            "would show their true position"
        )
    judge = config.reward.judge
    problems += judge_problems(judge)
    if judge.timeout_s >= config.reward.timeout_s:
        problems.append(
            f"reward.judge.timeout_s: got {judge.timeout_s}, wanted less than "
            f"reward.timeout_s={config.reward.timeout_s}, or a slow judge ends the run"
        )
    if config.learner.offload and config.learner.zero_stage == 0:
        problems.append("learner.offload: got true with learner.zero_stage=0, wanted zero_stage 1, 2 or 3")
    if config.learner.zero_stage == 0 and config.model.dtype == "bfloat16":
        problems.append(
            "learner.zero_stage: got 0 with model.dtype=bfloat16, wanted 1, 2 or 3: stage 0 would add up gradients in "
            "bfloat16"
        )
    lora = config.learner.lora
    if lora.rank and not lora.targets:
        problems.append("learner.lora.targets: got an empty list, wanted at least one linear of the language model")
    names = [task.task for task in config.tasks]
    problems += [
        f"tasks: {name!r} is configured twice, wanted once" for name in {n for n in names if names.count(n) > 1}
    ]
    overlong, max_tokens = config.algo.overlong_tokens, config.rollout.max_tokens
    if overlong > max_tokens:
        problems.append(f"algo.overlong_tokens: got {overlong}, wanted at most rollout.max_tokens={max_tokens}")
    return problems + _group_problems(config) + _ipc_problems(config) + _algo_problems(config.algo)


def _group_problems(config: RunConfig) -> list[str]:
    """Return the faults of groups in which every rollout has an advantage of 0, so that nothing would train."""
    algo, size = config.algo, config.rollout.group_size
    rules = (
        (
            algo.advantage == "pass_at_k" and algo.pass_k >= size > 1,
            f"algo.pass_k: got {algo.pass_k}, wanted less than rollout.group_size={size}: the best of all rollouts is "
            "the same for each of them",
        ),
        (
            size == 1 and not algo.step_wide_baseline,
            f"rollout.group_size: got 1 with algo.advantage={algo.advantage}, wanted at least 2, or "
            "algo.advantage=reinforce_batch or reinforce_plus_plus: a rollout compared with itself alone has no "
            "advantage, and nothing would train",
        ),
        (
            size * algo.groups_per_step == 1 and algo.step_wide_baseline,
            "algo.groups_per_step: got 1 with rollout.group_size=1, wanted two rollouts a step or more: one alone has "
            "no advantage",
        ),
    )
    return [text for wrong, text in rules if wrong]


def _ipc_problems(config: RunConfig) -> list[str]:
    """Return the faults of push.backend=ipc: memory handles are valid on one GPU, so engines share the ranks' GPUs."""
    if config.push.backend != "ipc":
        return []
    engines, ranks, tensor_parallel = config.rollout.engines, config.learner.ranks, config.rollout.tensor_parallel
    age, stage = config.algo.max_policy_age, config.learner.zero_stage
    rules = (
        (
            tensor_parallel > 1 or engines > ranks,
            f"push.backend: got ipc with rollout.engines={engines} of tensor_parallel={tensor_parallel} and "
            f"learner.ranks={ranks}, wanted engines of one GPU and at most one per rank; or push.backend=nccl",
        ),
        (
            age > 0,
            f"algo.max_policy_age: got {age} with push.backend=ipc, wanted 0: learner and engines share GPUs, and the "
            "engines sleep while the learner works; or push.backend=nccl",
        ),
        (
            stage != 2 and not config.learner.offload,
            f"learner.zero_stage: got {stage} with push.backend=ipc, wanted 2, or learner.offload=true: otherwise "
            "DeepSpeed keeps the learner's state on the GPU while the engines generate",
        ),
    )
    return [text for wrong, text in rules if wrong]


def judge_problems(judge: JudgeConfig) -> list[str]:
    """Return missing keys of the judge, and secrets that config.yaml would store; messages do not repeat secrets."""
    problems = []
    if judge.kind == "openai" and not (judge.base_url and judge.model):
        problems.append(
            f"reward.judge: got base_url={judge.base_url!r}, model={judge.model!r}, wanted both (kind=openai)"
        )
    if judge.kind == "vllm" and not judge.model:
        problems.append("reward.judge.model: got nothing, wanted the folder of a language model (kind=vllm)")
    if judge.api_key_env and not re.fullmatch(r"[A-Z][A-Z0-9_]*", judge.api_key_env):
        problems.append(
            "reward.judge.api_key_env: wanted the name of an environment variable, as in JUDGE_API_KEY; never the key"
        )
    address = urlsplit(judge.base_url)
    if address.username or address.password or address.query:
        problems.append(
            "reward.judge.base_url: got a user, a password or a query, wanted none; put the key into the environment "
            "variable that reward.judge.api_key_env names"
        )
    return problems


def _algo_problems(algo: AlgoConfig) -> list[str]:
    """Return the faults of objectives whose parts contradict each other."""
    rules = (
        (
            algo.step_wide_baseline and algo.max_refills > 0,
            f"algo.max_refills: got {algo.max_refills}, wanted 0: with algo.advantage={algo.advantage} a group of "
            "equal rewards carries signal",
        ),
        (
            algo.kl_coef > 0 and algo.kl_in == "loss" and algo.kl_estimator == "k1",
            "algo.kl_estimator: got k1, wanted k2 or k3: the gradient of k1 does not depend on the reference",
        ),
        (
            algo.kl_coef > 0 and algo.kl_in == "reward" and algo.kl_estimator != "k1",
            f"algo.kl_estimator: got {algo.kl_estimator} with algo.kl_in=reward, wanted k1: as a reward, only k1 gives "
            "the gradient of the KL",
        ),
        (
            algo.kl_clamp > 0 and algo.kl_in == "reward",
            f"algo.kl_clamp: got {algo.kl_clamp} with algo.kl_in=reward, wanted 0: it bounds the KL in the loss",
        ),
        (
            algo.mini_batches > algo.groups_per_step,
            f"algo.mini_batches: got {algo.mini_batches}, wanted at most algo.groups_per_step={algo.groups_per_step}",
        ),
        (
            algo.updates_per_step > 1 and algo.policy_loss == "reinforce",
            f"algo: got mini_batches={algo.mini_batches}, epochs={algo.epochs} with policy_loss=reinforce, wanted one "
            "update a step: it has no ratio to the policy before the step",
        ),
        (
            algo.correction != "none" and algo.old_logprobs == "rollout",
            f"algo.correction: got {algo.correction} with algo.old_logprobs=rollout, wanted learner: the weight is old "
            "over rollout",
        ),
        (
            algo.correction.startswith("token") and algo.policy_loss == "gspo",
            f"algo.correction: got {algo.correction}, wanted sequence_truncate or sequence_mask: gspo has one ratio "
            "per completion",
        ),
        (
            algo.policy_loss == "reinforce" and algo.old_logprobs == "rollout",
            "algo.old_logprobs: got rollout, wanted learner: reinforce has no ratio; weight it with algo.correction",
        ),
    )
    return [text for wrong, text in rules if wrong]
