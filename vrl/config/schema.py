"""The configuration of a run: every key, its default, its meaning and its range.

Does not read files (vrl.config.load does), compare keys (vrl.config.checks) or touch hardware (vrl.actors.placement).
"""

from dataclasses import dataclass, field
from pathlib import Path

from vrl.config.fields import MISSING, above_zero, at_least, band, fraction, one_of


@dataclass(frozen=True)
class ModelConfig:
    """The policy."""

    path: str = MISSING  # a Hugging Face folder, or a vrl run folder (its newest exported checkpoint)
    dtype: str = one_of("bfloat16", "float32")
    max_context_tokens: int = at_least(16, 16384)  # prompt + completion
    trust_remote_code: bool = False
    freeze: list[str] = field(default_factory=list)  # parameter-name prefixes that do not train, e.g. model.visual


@dataclass(frozen=True)
class OverlayConfig:
    """What is drawn into the frames of a clip before they are resized (Video-R2)."""

    time: bool = False  # HH:MM:SS from the start of the clip, top left
    index: bool = False  # the frame's number, counted from 1, top right
    subtitles: bool = False  # of the moment, along the bottom, from the .srt beside the clip where there is one
    font: str = ""  # a TrueType file; empty: the one that ships with Pillow, which knows Latin letters only


@dataclass(frozen=True)
class FrameConfig:
    """Which frames of a clip the model sees, chosen by time."""

    fps: float = above_zero(2.0)  # wished frames a second
    min_frames: int = at_least(2, 4)
    max_frames: int = at_least(2, 32)  # longer clips are spread over this many; even: Qwen merges frames in pairs
    min_pixels: int = at_least(1, 128 * 28 * 28)  # of one frame after resizing
    max_pixels: int = at_least(1, 128 * 28 * 28)
    overlay: OverlayConfig = field(default_factory=OverlayConfig)


@dataclass(frozen=True)
class MediaLimitsConfig:
    """What one media file may be and cost. A file that goes beyond is a bad sample, refused before it is decoded."""

    file_gib: float = above_zero(8.0)  # size on disk
    frame_pixels: int = at_least(1, 4096 * 4096)  # width x height as coded
    duration_s: float = above_zero(4 * 3600.0)  # of a clip, cut or not
    memory_gib: float = above_zero(4.0)  # address space of the decode process, beyond its start
    cpu_s: float = at_least(1, 60.0)  # CPU time of one decode, over all its threads


@dataclass(frozen=True)
class CacheConfig:
    """Processed clips and pictures on disk; workers, runs and restarts may share a folder."""

    dir: str = ""  # empty: no cache, every epoch decodes again
    gib: float = above_zero(20.0)  # of entries; the least recently used go


@dataclass(frozen=True)
class DataConfig:
    """Where samples come from and how their media are read."""

    train: str = MISSING  # parquet or jsonl
    val: str = ""  # empty: no validation
    root: str = ""  # media paths are relative to it; empty: the folder of the dataset file
    frames: FrameConfig = field(default_factory=FrameConfig)
    shuffle: bool = True
    tasks: list[str] = field(default_factory=list)  # keep only rows of these tasks; empty: all
    expand: dict[str, list[str]] = field(default_factory=dict)  # roll rows of a task out under each of these tasks
    repeat: dict[str, int] = field(default_factory=dict)  # training rows of a task come so often an epoch; others once
    workers: int = at_least(1, 1)  # decode worker actors
    prefetch: int = at_least(1, 16)  # prompts decoded ahead of the engines
    decode_timeout_s: float = above_zero(30.0)  # a clip that takes longer is dropped and its decoder killed
    limits: MediaLimitsConfig = field(default_factory=MediaLimitsConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    max_bad_fraction: float = fraction(0.05)  # of the last 200 samples; more ends the run
    bad_media: str = ""  # list of media that failed and are not tried again; empty: bad_media.jsonl in the run folder


@dataclass(frozen=True)
class RewardTermConfig:
    """One term of a task's rubric."""

    reward: str = MISSING  # name of a function in vrl.reward
    weight: float = 1.0  # 0: measured and shown, not part of the reward
    when: list[str] = field(default_factory=list)  # counts only where these hold, else 0: ["accuracy>=0.6", ...]


@dataclass(frozen=True)
class TaskConfig:
    """The rubric of one task: the reward is the weighted sum of its terms."""

    task: str = MISSING  # name of a module in vrl.tasks
    rewards: list[RewardTermConfig] = field(default_factory=list)


@dataclass(frozen=True)
class EngineConfig:
    """The vLLM engines."""

    engines: int = at_least(1, 1)
    tensor_parallel: int = at_least(1, 1)  # GPUs an engine
    top_p: float = fraction(1.0)
    top_k: int = -1  # -1: all
    max_tokens: int = at_least(1, 768)  # of a completion
    max_num_seqs: int = at_least(1, 128)  # completions an engine runs at once
    kv_cache_gib: float = above_zero(1.0)  # CPU engines
    gpu_memory_utilization: float = fraction(0.85)  # GPU engines
    enforce_eager: bool = False
    threads: int = at_least(1, 1)  # CPU threads an engine
    timeout_s: float = above_zero(600.0)  # a call that takes longer fails


@dataclass(frozen=True)
class RolloutConfig(EngineConfig):
    """The engines of a training run, and the groups they sample."""

    group_size: int = at_least(1, 8)
    temperature: float = above_zero(1.0)  # greedy tokens have no log-probs to learn from


@dataclass(frozen=True)
class JudgeEngineConfig:
    """The vLLM engines of a run's own judge (kind vllm)."""

    engines: int = at_least(1, 1)
    tensor_parallel: int = at_least(1, 1)  # GPUs an engine
    dtype: str = one_of("bfloat16", "float16", "float32")
    max_context_tokens: int = at_least(1, 8192)  # of a question and its reply
    kv_cache_gib: float = above_zero(1.0)  # on CPUs
    gpu_memory_utilization: float = fraction(0.85)  # on GPUs
    threads: int = at_least(1, 1)  # CPU threads an engine


@dataclass(frozen=True)
class JudgeConfig:
    """Who reads what a completion says, for the rewards that need it."""

    # rules: by form, without a model | openai: any endpoint of that protocol | vllm: engines of the run's own
    kind: str = one_of("rules", "openai", "vllm")
    base_url: str = ""  # of the endpoint, e.g. http://localhost:8000/v1
    model: str = ""  # its name there; vllm: the folder of a language model with a chat template
    api_key_env: str = ""  # the environment variable that holds the key (never the key); empty: none is needed
    timeout_s: float = above_zero(30.0)  # of one question, waiting and retries included; then it is missing
    retries: int = at_least(0, 2)
    concurrency: int = at_least(1, 16)  # questions under way, a reward worker
    max_tokens: int = at_least(1, 1024)  # of a reply
    cache_dir: str = ""  # keep replies here, by content; empty: do not
    engine: JudgeEngineConfig = field(default_factory=JudgeEngineConfig)


@dataclass(frozen=True)
class RewardConfig:
    """The reward workers, and what the rewards' formulas leave open."""

    workers: int = at_least(1, 1)
    modules: list[str] = field(default_factory=list)  # import paths of your own rewards, e.g. my_package.rewards
    timeout_s: float = above_zero(60.0)  # scoring one group
    number_tolerance: float = at_least(0, 0.0)  # relative; 0: equal to two decimals (Video-R1)
    regression: str = one_of("relative", "mra", "mra_inclusive")  # accuracy of answers that may be near; see there
    max_cited: float = fraction(1.0)  # of the frames: more citations count as invalid; 1: as many as you like (RLER)
    # think_transparency is 0 at these two lengths, in tokens, and 1 in the middle
    thinking_tokens: list[int] = band(0, 768)
    repetition_n: int = at_least(1, 3)  # words of a gram
    length_band: list[int] = band(320, 512)  # tokens of a completion
    order_margin: float = at_least(0, 1.0)  # T-GRPO: accuracy on ordered frames over that on permuted ones
    order_draws: int = at_least(1, 4)  # T-GRPO: completions on permuted frames, for tasks that reward temporal_order
    temporal_slack_s: float = at_least(0, 2.0)  # by which claims and captions are widened on either side
    temporal_score: str = one_of("precision", "f1")
    min_similarity: float = fraction(0.75)  # of a claim and the caption that confirms it
    similarity: str = one_of("embedding", "lexical")  # cosine of sentence embeddings, or of word counts
    embedding_model: str = "sentence-transformers/all-MiniLM-L6-v2"  # a mean-pooling encoder: folder or name
    judge: JudgeConfig = field(default_factory=JudgeConfig)


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters that train in place of the weights (arXiv 2106.09685). The reference is the model without."""

    rank: int = at_least(0, 0)  # 0: the weights themselves train
    alpha: float = above_zero(32.0)  # the weights change by alpha / rank x B A
    dropout: float = fraction(0.0)  # of an adapter's input, where it trains
    # Linears of the language model, by the last part of their name; all others stay as they are, the vision tower too.
    targets: list[str] = field(
        default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )


@dataclass(frozen=True)
class LearnerConfig:
    """The DeepSpeed learner."""

    ranks: int = at_least(1, 1)
    zero_stage: int = one_of(2, 0, 1, 3)
    offload: bool = False  # optimizer state (and ZeRO-3 parameters) to the host
    lora: LoraConfig = field(default_factory=LoraConfig)
    feature_cache_gib: float = at_least(0, 2.0)  # host memory a rank: features of clips, kept where the tower is frozen
    lr: float = at_least(0, 1e-6)
    lr_schedule: str = one_of("constant", "cosine", "linear")  # over all updates, after the warm-up
    warmup_steps: int = at_least(0, 0)  # optimizer updates
    weight_decay: float = at_least(0, 0.01)  # of matrices; norms, biases and embeddings do not decay
    beta1: float = fraction(0.9)
    beta2: float = fraction(0.999)
    eps: float = above_zero(1e-8)
    max_grad_norm: float = above_zero(1.0)
    max_nonfinite_steps: int = at_least(1, 3)  # in a row; one is dropped and counted, this many end the run
    # Language tokens of one forward on one rank, its patches counted as the tokens whose activation bytes they take; a
    # group is never split.
    micro_batch_tokens: int = at_least(1, 16384)
    gradient_checkpointing: bool = False
    threads: int = at_least(1, 1)  # CPU threads a rank
    timeout_s: float = above_zero(1800.0)  # one call


@dataclass(frozen=True)
class AlgoConfig:
    """The group-relative update."""

    groups_per_step: int = at_least(1, 16)
    max_policy_age: int = at_least(0, 0)  # steps a rollout's oldest token may lag behind the learner; 0 is synchronous
    # grpo, grpo_no_std, rloo, pass_at_k: against the group; reinforce_batch, reinforce_plus_plus: against the step;
    # reinforce_plus_plus_baseline: against the group, over the deviation of the step
    advantage: str = one_of(
        "grpo",
        "grpo_no_std",
        "rloo",
        "pass_at_k",
        "reinforce_batch",
        "reinforce_plus_plus",
        "reinforce_plus_plus_baseline",
    )
    pass_k: int = at_least(1, 2)  # of pass_at_k: rollouts of which the best counts
    std_eps: float = above_zero(1e-4)  # added to the deviation that an advantage is divided by
    mini_batches: int = at_least(1, 1)  # optimizer updates that one pass over a step's groups is split into
    epochs: int = at_least(1, 1)  # passes over a step's groups; weights are pushed once a step
    max_refills: int = at_least(0, 0)  # zero-spread groups that are replaced, a step (dynamic sampling); 0: none
    # Completions that ran into rollout.max_tokens: train | count in the baseline only | train with a reward of 0.
    truncated: str = one_of("keep", "mask", "zero_reward")
    overlong_tokens: int = at_least(0, 0)  # the last ones before rollout.max_tokens cost reward; 0: they do not
    overlong_coef: float = at_least(0, 1.0)  # reward that a completion of rollout.max_tokens loses by that
    policy_loss: str = one_of("clip", "dual_clip", "gspo", "cispo", "reinforce")
    clip_low: float = at_least(0, 0.2)  # the ratio policy / old counts within [1 - clip_low, 1 + clip_high]
    clip_high: float = at_least(0, 0.2)
    dual_clip: float = at_least(1, 3.0)  # of dual_clip: no token with advantage A < 0 has a loss above dual_clip x |A|
    old_logprobs: str = one_of("learner", "rollout")  # of the ratio: recomputed before the step, or the engine's
    # Of the weight old / engine, a token's own or its completion's.
    correction: str = one_of("none", "token_truncate", "sequence_truncate", "token_mask", "sequence_mask")
    correction_low: float = fraction(0.5)  # a mask rejects weights below it
    correction_high: float = at_least(1, 2.0)  # weights above it are truncated to it, or rejected
    kl_coef: float = at_least(0, 0.0)  # of the KL to the reference, the starting weights; 0: no reference
    kl_in: str = one_of("loss", "reward")  # its gradient, or its sum over a completion taken off the reward
    kl_estimator: str = one_of("k3", "k1", "k2")  # k2 and k3 for the loss, k1 for the reward
    kl_clamp: float = at_least(0, 0.0)  # nats: log reference - log policy counts within +-this; 0: as it is
    entropy_coef: float = at_least(0, 0.0)  # of the entropy that is taken off the loss
    loss_aggregation: str = one_of("token_mean", "sequence_mean", "fixed_length")
    fixed_length: int = at_least(1, 768)  # of fixed_length: tokens that every completion is divided by

    @property
    def updates_per_step(self) -> int:
        """Optimizer updates of a step, at most: a step whose groups are fewer than mini_batches has fewer."""
        return self.mini_batches * self.epochs

    @property
    def step_wide_baseline(self) -> bool:
        """Whether the baseline of an advantage is the step's, so that equal rewards within a group still teach."""
        return self.advantage in ("reinforce_batch", "reinforce_plus_plus")


@dataclass(frozen=True)
class PushConfig:
    """How weights reach the engines."""

    backend: str = one_of("auto", "gloo", "nccl", "ipc")  # auto: nccl with GPUs, gloo without
    timeout_s: float = above_zero(300.0)
    verify: bool = True  # compare checksums of all tensors after every push


@dataclass(frozen=True)
class FaultConfig:
    """What a run survives by itself, and how often."""

    heartbeat_interval_s: float = above_zero(5.0)  # between two looks at an actor
    heartbeat_timeout_s: float = above_zero(60.0)  # an actor that does not answer a heartbeat for so long is replaced
    max_restarts: int = at_least(0, 3)  # of one actor within window_s; then it stays dead
    window_s: float = above_zero(3600.0)
    backoff_s: float = at_least(0, 1.0)  # before a restart; doubles with every other one in the window, to a minute
    placement_timeout_s: float = above_zero(600.0)  # a lost actor for which no node has room in this time stays dead
    max_resumes: int = at_least(0, 2)  # of the run from its last checkpoint, after a learner rank died


@dataclass(frozen=True)
class GateConfig:
    """The engine-against-learner parity check before the first step."""

    enabled: bool = True
    prompts: int = at_least(0, 4)  # samples of the training set to compare on
    max_logprob_gap: float = at_least(0, 0.0)  # 0: 1e-5 in float32 (or 3x the learner's own rounding), 0.15 in bfloat16


@dataclass(frozen=True)
class ValConfig:
    """Validation: mean reward on held-out samples, greedy."""

    every: int = at_least(0, 0)  # steps; 0: only before the first and after the last
    first: int = at_least(0, 0)  # step before which none of these is worth its time
    samples: int = at_least(1, 256)
    temperature: float = at_least(0, 0.0)

    def due(self, step: int) -> bool:
        """Is there a validation after this step of many?"""
        return bool(self.every) and step >= self.first and step % self.every == 0


@dataclass(frozen=True)
class SftConfig:
    """Cold start."""

    batch_size: int = at_least(1, 32)  # samples a step
    train_prefix: bool = True  # the assistant prefix is part of the target (VideoReasoner)
    generate: bool = True  # measure reward and format rate with a live engine at validation
    stop_at_reward: float = at_least(0, 0.0)  # end when the held-out mean reward is here: the rest is for RL; 0: never


@dataclass(frozen=True)
class CheckpointConfig:
    """What is kept on disk."""

    every: int = at_least(0, 0)  # steps; 0: only at the end (and when the run is stopped)
    keep_last: int = at_least(1, 2)
    export: bool = True  # write the Hugging Face folder beside the last checkpoint


@dataclass(frozen=True)
class LogConfig:
    """What a run shows."""

    samples_every: int = at_least(0, 10)  # steps between two sample files; 0: none
    samples_groups: int = at_least(0, 4)  # groups in a sample file
    tensorboard: bool = True  # when installed
    spans: bool = True  # of every process, for `vrl trace` and the report's time line
    wandb: str = one_of("", "offline", "online")  # Weights & Biases; offline: in the run folder, for `wandb sync`
    wandb_project: str = "vrl"
    prometheus_port: int = at_least(0, 0)  # of the driver; actors take free ones; 0: no process serves metrics
    prometheus_host: str = "127.0.0.1"  # not loopback: the driver serves here, actors on their nodes' addresses


@dataclass(frozen=True)
class RunConfig:
    """Everything. A component gets its own section, never the whole."""

    name: str = MISSING  # the run folder is runs_dir/name
    runs_dir: str = "runs"
    seed: int = 0
    steps: int = at_least(1, 100)  # of RL: algo.updates_per_step updates on groups_per_step groups; of SFT: one update
    resume: str = "never"  # never | auto | must | a checkpoint folder
    ray_address: str = ""  # empty: a private local Ray; "auto": the cluster this process belongs to
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    tasks: list[TaskConfig] = field(default_factory=list)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    algo: AlgoConfig = field(default_factory=AlgoConfig)
    sft: SftConfig = field(default_factory=SftConfig)
    push: PushConfig = field(default_factory=PushConfig)
    fault: FaultConfig = field(default_factory=FaultConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    val: ValConfig = field(default_factory=ValConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    log: LogConfig = field(default_factory=LogConfig)

    @property
    def run_dir(self) -> Path:
        return Path(self.runs_dir) / self.name
