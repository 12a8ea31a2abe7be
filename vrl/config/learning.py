"""The keys of the update: the DeepSpeed learner, the group-relative objective, and the cold start."""

from dataclasses import dataclass

from vrl.config.fields import above_zero, at_least, fraction, key, one_of, section

_LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters that train in place of the weights (arXiv 2106.09685); the reference policy has none."""

    rank: int = at_least(0, 0, doc="Rank of the adapters; 0: no adapters, the weights themselves train.")
    alpha: float = above_zero(32.0, doc="Scale: an adapter changes its weight by alpha / rank x B A.")
    dropout: float = fraction(0.0, doc="Dropout of an adapter's input during training.")
    targets: list[str] = key(
        _LINEARS, doc="Linears of the language model that get adapters, by the last part of their names."
    )


@dataclass(frozen=True)
class LearnerConfig:
    """The DeepSpeed learner."""

    ranks: int = at_least(1, 1, doc="Number of learner processes, one GPU each.")
    zero_stage: int = one_of(2, 0, 1, 3, doc="Stage of ZeRO partitioning.")
    offload: bool = key(False, doc="Keep the optimizer state (and ZeRO-3 parameters) in host memory.")
    lora: LoraConfig = section(LoraConfig)
    feature_cache_gib: float = at_least(
        0, 2.0, doc="Host memory of a rank for clip features, used if the vision tower is frozen, in GiB."
    )
    lr: float = at_least(0, 1e-6, doc="Peak learning rate.")
    lr_schedule: str = one_of("constant", "cosine", "linear", doc="Learning rate after the warm-up, over all updates.")
    schedule_updates: int = at_least(0, 0, doc="Updates over which the rate decays; 0: all updates of the run.")
    warmup_steps: int = at_least(0, 0, doc="Optimizer updates of the linear warm-up.")
    weight_decay: float = at_least(0, 0.01, doc="Weight decay of matrices; norms, biases and embeddings do not decay.")
    beta1: float = fraction(0.9, doc="AdamW's decay rate of the first moment.")
    beta2: float = fraction(0.999, doc="AdamW's decay rate of the second moment.")
    eps: float = above_zero(1e-8, doc="Term added to AdamW's denominator.")
    max_grad_norm: float = above_zero(1.0, doc="Norm to which gradients are clipped.")
    max_nonfinite_steps: int = at_least(1, 3, doc="Consecutive updates dropped for non-finite values that end the run.")
    micro_batch_tokens: int = at_least(
        1,
        16384,
        doc="Tokens of one forward pass on a rank; patches count by their activation bytes, groups are not split.",
    )
    gradient_checkpointing: bool = key(False, doc="Recompute activations in the backward pass to save memory.")
    threads: int = at_least(1, 1, doc="CPU threads of a rank.")
    timeout_s: float = above_zero(1800.0, doc="Seconds for one call to the learner.")


@dataclass(frozen=True)
class AlgoConfig:
    """The group-relative update."""

    groups_per_step: int = at_least(1, 16, doc="Groups (prompts) per step.")
    max_policy_age: int = at_least(
        0, 0, doc="Steps by which a rollout's oldest token may lag behind the learner; 0: synchronous."
    )
    advantage: str = one_of(
        "grpo",
        "grpo_no_std",
        "rloo",
        "pass_at_k",
        "reinforce_batch",
        "reinforce_plus_plus",
        "reinforce_plus_plus_baseline",
        doc="Advantage estimator; reinforce_batch and reinforce_plus_plus use the step's baseline, others the group's.",
    )
    pass_k: int = at_least(1, 2, doc="pass_at_k: number of rollouts, of which the best counts.")
    std_eps: float = above_zero(1e-4, doc="Added to the standard deviation that an advantage is divided by.")
    mini_batches: int = at_least(1, 1, doc="Optimizer updates into which one pass over a step's groups is split.")
    epochs: int = at_least(1, 1, doc="Passes over a step's groups; weights are synced once per step.")
    max_refills: int = at_least(0, 0, doc="Most zero-spread groups to replace in a step (dynamic sampling); 0: none.")
    truncated: str = one_of(
        "keep",
        "mask",
        "zero_reward",
        doc="Completions cut off by rollout.max_tokens train, count in the baseline only, or train with reward 0.",
    )
    overlong_tokens: int = at_least(
        0, 0, doc="Tokens before rollout.max_tokens over which the length penalty grows; 0: none."
    )
    overlong_coef: float = at_least(0, 1.0, doc="Length penalty of a completion of rollout.max_tokens tokens.")
    policy_loss: str = one_of("clip", "dual_clip", "gspo", "cispo", "reinforce", doc="Policy loss.")
    clip_low: float = at_least(0, 0.2, doc="Clip the ratio policy / old from below at 1 - clip_low.")
    clip_high: float = at_least(0, 0.2, doc="Clip the ratio policy / old from above at 1 + clip_high.")
    dual_clip: float = at_least(
        1, 3.0, doc="dual_clip: upper bound of the loss of a token with advantage A < 0, in units of |A|."
    )
    old_logprobs: str = one_of(
        "learner", "rollout", doc="Old log-probs of the ratio: recomputed before the step, or the engine's."
    )
    correction: str = one_of(
        "none",
        "token_truncate",
        "sequence_truncate",
        "token_mask",
        "sequence_mask",
        doc="Weight old / engine probability of a token or of its completion, truncated or masked.",
    )
    correction_low: float = fraction(0.5, doc="Weight below which a mask rejects tokens.")
    correction_high: float = at_least(1, 2.0, doc="Weight above which it is truncated, or a mask rejects tokens.")
    kl_coef: float = at_least(
        0, 0.0, doc="Coefficient of the KL to the reference policy, the starting weights; 0: no reference policy."
    )
    kl_in: str = one_of(
        "loss", "reward", doc="Add the KL to the loss, or subtract its sum over a completion from the reward."
    )
    kl_estimator: str = one_of("k3", "k1", "k2", doc="Estimator of the KL: k2 or k3 for the loss, k1 for the reward.")
    kl_clamp: float = at_least(0, 0.0, doc="Bound of |log reference - log policy| in nats; 0: no bound.")
    entropy_coef: float = at_least(0, 0.0, doc="Coefficient of the entropy bonus, subtracted from the loss.")
    loss_aggregation: str = one_of("token_mean", "sequence_mean", "fixed_length", doc="How token losses are averaged.")
    fixed_length: int = at_least(1, 768, doc="fixed_length: tokens by which every completion's loss is divided.")

    @property
    def updates_per_step(self) -> int:
        """Most optimizer updates per step; a step with fewer groups than mini_batches has fewer."""
        return self.mini_batches * self.epochs

    @property
    def step_wide_baseline(self) -> bool:
        """Whether the baseline is the step's, so that a group of equal rewards has advantages."""
        return self.advantage in ("reinforce_batch", "reinforce_plus_plus")


@dataclass(frozen=True)
class SftConfig:
    """Cold start by supervised fine-tuning."""

    batch_size: int = at_least(1, 32, doc="Samples per step.")
    train_prefix: bool = key(True, doc="Include the assistant prefix in the target (VideoReasoner).")
    add_tokens: list[str] = key(
        [],
        doc="Special tokens that are added to the tokenizer and trained, such as <|event_start|>; the full model only.",
    )
    generate: bool = key(True, doc="Measure reward and format rate with a live engine during validation.")
    stop_at_reward: float = at_least(0, 0.0, doc="Held-out mean reward at which training ends early; 0: never.")
