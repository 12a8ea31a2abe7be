"""The configuration of a training run: every key, its default, its meaning and its range.

Does not read files (vrl.config.load does), compare keys (vrl.config.checks) or touch hardware (vrl.actors.placement).
"""

from dataclasses import dataclass
from pathlib import Path

from vrl.config.data import DataConfig
from vrl.config.fields import MISSING, above_zero, at_least, fraction, key, one_of, path_key, run_name, section
from vrl.config.learning import AlgoConfig, LearnerConfig, SftConfig
from vrl.config.prompt import PromptConfig
from vrl.config.reward import RewardConfig, TaskConfig


@dataclass(frozen=True)
class ModelConfig:
    """The policy."""

    path: str = path_key(
        MISSING, doc="Hugging Face folder or hub name, or a vrl run folder (its newest exported checkpoint)."
    )
    dtype: str = one_of("bfloat16", "float32", doc="Number format of the weights.")
    max_context_tokens: int = at_least(16, 16384, doc="Most tokens of prompt and completion together.")
    trust_remote_code: bool = key(False, doc="Run Python code that comes with the model.")
    freeze: list[str] = key([], doc="Prefixes of parameter names that do not train, such as model.visual.")


@dataclass(frozen=True)
class EngineConfig:
    """The vLLM engines."""

    engines: int = at_least(1, 1, doc="Number of engines.")
    tensor_parallel: int = at_least(1, 1, doc="GPUs per engine.")
    top_p: float = fraction(1.0, doc="Probability mass that is sampled from; 1 in training.")
    top_k: int = key(-1, doc="Number of most likely tokens that are sampled from; -1: all, as in training.")
    max_tokens: int = at_least(1, 768, doc="Most tokens of a completion.")
    max_num_seqs: int = at_least(1, 128, doc="Completions that an engine generates concurrently.")
    kv_cache_gib: float = above_zero(1.0, doc="Key-value cache of an engine on a CPU, in GiB.")
    gpu_memory_utilization: float = fraction(0.85, doc="Fraction of the GPU's memory that an engine uses.")
    enforce_eager: bool = key(False, doc="Run without CUDA graphs.")
    threads: int = at_least(1, 1, doc="CPU threads of an engine.")
    timeout_s: float = above_zero(600.0, doc="Seconds after which a call to an engine fails.")


@dataclass(frozen=True)
class RolloutConfig(EngineConfig):
    """The engines of a training run, and the groups that they sample."""

    group_size: int = at_least(1, 8, doc="Completions per prompt.")
    temperature: float = above_zero(1.0, doc="Sampling temperature; greedy tokens have no log-probs to learn from.")


@dataclass(frozen=True)
class PushConfig:
    """The weight sync from the learner to the engines."""

    backend: str = one_of("auto", "gloo", "nccl", "ipc", doc="Transport; auto: nccl with GPUs, gloo without.")
    timeout_s: float = above_zero(300.0, doc="Seconds for one weight sync.")
    verify: bool = key(True, doc="Compare digests of all tensors after every weight sync.")


@dataclass(frozen=True)
class FaultConfig:
    """Recovery from failures: heartbeats, restarts of actors and resumes of a run."""

    heartbeat_interval_s: float = above_zero(5.0, doc="Seconds between two heartbeats of an actor.")
    heartbeat_timeout_s: float = above_zero(60.0, doc="Seconds without a heartbeat after which an actor is replaced.")
    max_restarts: int = at_least(0, 3, doc="Restarts of one actor within window_s; after that it is not replaced.")
    window_s: float = above_zero(3600.0, doc="Seconds over which restarts are counted.")
    backoff_s: float = at_least(0, 1.0, doc="Seconds before a restart, doubled with every further one, up to a minute.")
    placement_timeout_s: float = above_zero(
        600.0, doc="Seconds to find a node for a lost actor; after that it is not replaced."
    )
    max_resumes: int = at_least(0, 2, doc="Resumes from the newest checkpoint after deaths of learner ranks.")


@dataclass(frozen=True)
class GateConfig:
    """The parity gate between engine and learner before the first step."""

    enabled: bool = key(True, doc="Run the gate.")
    prompts: int = at_least(0, 4, doc="Training samples to compare on.")
    max_logprob_gap: float = at_least(
        0, 0.0, doc="Largest accepted gap in nats; 0: 1e-5 in float32 (or 3x the learner's rounding), 0.15 in bfloat16."
    )


@dataclass(frozen=True)
class ValConfig:
    """Validation: mean reward on held-out samples."""

    every: int = at_least(0, 0, doc="Steps between validations; 0: only before the first and after the last step.")
    first: int = at_least(0, 0, doc="Step before which the periodic validations are skipped.")
    samples: int = at_least(1, 256, doc="Largest number of held-out samples.")
    temperature: float = at_least(0, 0.0, doc="Sampling temperature; 0: greedy.")

    def due(self, step: int) -> bool:
        """Return whether a periodic validation follows this step."""
        return bool(self.every) and step >= self.first and step % self.every == 0


@dataclass(frozen=True)
class CheckpointConfig:
    """Checkpoints and exported models on disk."""

    every: int = at_least(0, 0, doc="Steps between checkpoints; 0: only at the end and when the run is stopped.")
    keep_last: int = at_least(1, 2, doc="Number of checkpoints to keep.")
    export: bool = key(True, doc="Write the Hugging Face folder next to the last checkpoint.")


@dataclass(frozen=True)
class LogConfig:
    """Samples, spans, charts and metrics of a run."""

    samples_every: int = at_least(0, 10, doc="Steps between two sample files; 0: none.")
    samples_groups: int = at_least(0, 4, doc="Groups in a sample file.")
    tensorboard: bool = key(True, doc="Write TensorBoard events if TensorBoard is installed.")
    spans: bool = key(True, doc="Record spans of every process, for `vrl trace` and the report's timeline.")
    wandb: str = one_of("", "offline", "online", doc="Weights & Biases; offline: in the run folder, for `wandb sync`.")
    wandb_project: str = key("vrl", doc="Project at Weights & Biases.")
    prometheus_port: int = at_least(
        0, 0, doc="Port of the driver's metrics; actors use free ports; 0: no metrics server."
    )
    prometheus_host: str = key(
        "127.0.0.1", doc="Address of the driver's metrics; unless loopback, actors serve on their nodes' addresses."
    )


@dataclass(frozen=True)
class RunConfig:
    """All keys of `vrl train` and `vrl sft`; a component gets only its own section."""

    name: str = run_name()
    runs_dir: str = path_key("runs", doc="Folder of all runs.")
    seed: int = key(0, doc="Seed of all random draws.")
    steps: int = at_least(
        1, 100, doc="Number of steps; an SFT step is one optimizer update, an RL step at most mini_batches x epochs."
    )
    epochs: float = at_least(0, 0.0, doc="Passes over the training samples, which set `steps`; 0: `steps` counts.")
    resume: str = path_key("never", doc="never, auto, must, or a checkpoint folder.")
    ray_address: str = key("", doc='Ray cluster; empty: a private local Ray, "auto": the cluster of this process.')
    model: ModelConfig = section(ModelConfig)
    data: DataConfig = section(DataConfig)
    tasks: list[TaskConfig] = key([], doc="Rubrics, one per task; empty: every task with its own rewards.")
    prompt: PromptConfig = section(PromptConfig)
    rollout: RolloutConfig = section(RolloutConfig)
    reward: RewardConfig = section(RewardConfig)
    learner: LearnerConfig = section(LearnerConfig)
    algo: AlgoConfig = section(AlgoConfig)
    sft: SftConfig = section(SftConfig)
    push: PushConfig = section(PushConfig)
    fault: FaultConfig = section(FaultConfig)
    gate: GateConfig = section(GateConfig)
    val: ValConfig = section(ValConfig)
    checkpoint: CheckpointConfig = section(CheckpointConfig)
    log: LogConfig = section(LogConfig)

    @property
    def run_dir(self) -> Path:
        return Path(self.runs_dir) / self.name
