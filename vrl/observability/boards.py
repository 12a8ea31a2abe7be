"""The Grafana panels as a table: one row per panel. Data only; vrl.observability.dashboards writes the files.

`$run` is the dashboard's run selector. `$__rate_interval` is Grafana's: a window that holds at least four scrapes.
"""

from dataclasses import dataclass
from typing import Literal

Queries = tuple[tuple[str, str], ...]  # (legend, PromQL)
_RUN = 'run=~"$run"'


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph or, with `kind="stat"`, one number. `unit` is Grafana's name for a unit."""

    board: str
    section: str
    title: str
    description: str
    unit: str
    queries: Queries
    kind: Literal["timeseries", "stat"] = "timeseries"


def latest(*names: str, legend: str = "{{run}}") -> Queries:
    """Return one query per metric for its latest value; several metrics carry their names in the legend."""
    prefix = len(names) > 1
    return tuple((f"{name.removeprefix('vrl_')} {legend}" if prefix else legend, chosen(name)) for name in names)


def chosen(name: str, *matchers: str) -> str:
    """Return the selector of a metric in the chosen runs."""
    return f"{name}{{{','.join((_RUN, *matchers))}}}"


def rate_of(name: str, *matchers: str, by: str = "run") -> str:
    """Return the per-second growth of a counter, summed over processes."""
    return f"sum by ({by}) (rate({chosen(name, *matchers)}[$__rate_interval]))"


def rates(name: str, label: str, *matchers: str, noun: str = "") -> Queries:
    """Return the per-second growth of a counter, one line per value of `label` and run."""
    return ((f"{noun} {{{{{label}}}}} {{{{run}}}}".strip(), rate_of(name, *matchers, by=f"{label}, run")),)


def quantiles(name: str, *matchers: str, by: str = "run") -> Queries:
    """Return the median and 95th percentile of a histogram, estimated from its buckets."""
    buckets = rate_of(f"{name}_bucket", *matchers, by=f"{by}, le")
    return tuple((f"p{int(q * 100)} {{{{{by}}}}}", f"histogram_quantile({q}, {buckets})") for q in (0.5, 0.95))


def seconds_of(call: str) -> tuple[str, Queries]:
    """Return unit and quantiles for the duration of a kind of call."""
    return "s", quantiles("vrl_call_seconds", f'call="{call}"')


_PARTS = ("rollout", "reward", "learn", "push", "idle")  # of a step
_PROCESS = "{{role}} {{rank}} {{run}}"
_ENGINE = "engine {{rank}} {{run}}"
_MISMATCH = (
    "Engine against learner",
    "KL divergence between the log-probs of engine and learner. In a healthy run it is rounding error.",
    "short",
    latest("vrl_loss_mismatch_kl", "vrl_loss_mismatch_kl_reverse"),
)
_AGE = (
    "Policy age",
    "Age of the oldest token in the step, and its bound (algo.max_policy_age).",
    "short",
    latest("vrl_rollout_policy_age_max", "vrl_run_max_policy_age"),
)
_LEFT_OUT = latest("vrl_data_bad_samples_total")

BOARDS = {  # title and description by uid, without its prefix vrl-
    "overview": ("vrl / overview", "Is the run alive, is it learning, and where does the time of a step go?"),
    "rollout": ("vrl / rollout", "The engines: throughput, length and shape of completions, vLLM's queues and caches."),
    "reward": ("vrl / reward", "Rewards by task and by part, and whether the judge answers."),
    "learner": ("vrl / learner", "Losses, gradients and weight pushes."),
    "video": ("vrl / video and data", "Decoding, unusable samples, and whether prompts arrive in time."),
    "faults": ("vrl / faults", "What failed, what was dropped and what is late."),
}

# fmt: off
PANELS = (
    Panel("overview", "Run", "Progress", "Finished steps as a fraction of the configured steps.", "percentunit",
          (("{{run}}", f"{chosen('vrl_step')} / {chosen('vrl_run_steps')}"),), "stat"),
    Panel("overview", "Run", "Processes up", "Endpoints that answer, by role.", "short",
          (("{{role}}", f"sum by (role, run) ({chosen('up')})"),), "stat"),
    Panel("overview", "Run", "Steps per hour", "At the pace of the last step.", "short",
          (("{{run}}", f"3600 / {chosen('vrl_step_seconds')}"),), "stat"),
    Panel("overview", "Learning", "Reward", "Mean reward of the step's rollouts.", "short", latest("vrl_reward_mean")),
    Panel("overview", "Learning", "Held-out reward", "Mean reward of the held-out samples at each validation.", "short",
          latest("vrl_val_reward")),
    Panel("overview", "Learning", *_MISMATCH),
    Panel("overview", "Time", "Where a step goes",
          "Seconds of each part of the last step. Parts overlap if algo.max_policy_age is above 0.", "s",
          tuple((part, chosen(f"vrl_{part}_seconds")) for part in _PARTS)),
    Panel("overview", "Time", "Calls in progress",
          "Mean number of calls in progress per role. A role near its number of actors is the bottleneck.", "short",
          rates("vrl_call_seconds_sum", "role")),
    Panel("overview", "Time", "Tokens", "Per second: sampled by the engines, and processed by the learner.", "short",
          (("sampled {{run}}", rate_of("vrl_rollout_generated_tokens_total")),
           ("learned {{run}}", rate_of("vrl_learner_tokens_total")))),

    Panel("rollout", "Throughput", "Sampled tokens per second", "By engine.", "short",
          rates("vrl_rollout_generated_tokens_total", "rank", noun="engine")),
    Panel("rollout", "Throughput", "Prompt tokens per second", "Including vision tokens, once per group.", "short",
          rates("vrl_rollout_prompt_tokens_total", "rank", noun="engine")),
    Panel("rollout", "Throughput", "Generation of a wave", "Seconds of a generate call inside the engine.",
          *seconds_of("generate")),
    Panel("rollout", "Completions", "Completions per second by finish reason",
          "length: truncated at rollout.max_tokens.", "short", rates("vrl_rollout_completions_total", "finish")),
    Panel("rollout", "Completions", "Completion length", "Mean tokens per completion.", "short",
          latest("vrl_rollout_completion_tokens")),
    Panel("rollout", "Completions", "Unparseable and truncated",
          "Completions that the task cannot parse, and completions truncated at max_tokens.", "percentunit",
          latest("vrl_rollout_parse_failure_ratio", "vrl_rollout_truncated_ratio")),
    Panel("rollout", "vLLM", "Requests in vLLM", "Running and waiting.", "short",
          (("running {{rank}}", f"sum by (rank, run) ({chosen('vllm_num_requests_running')})"),
           ("waiting {{rank}}", f"sum by (rank, run) ({chosen('vllm_num_requests_waiting')})"))),
    Panel("rollout", "vLLM", "KV cache in use", "Fraction of vLLM's blocks. vLLM preempts requests near 1.",
          "percentunit", ((_ENGINE, chosen("vllm_kv_cache_usage_perc")),)),
    Panel("rollout", "vLLM", "Preemptions per second", "Requests that vLLM put back because the KV cache was full.",
          "short", rates("vllm_num_preemptions_total", "rank", noun="engine")),
    Panel("rollout", "vLLM", "Prefix cache", "Fraction of prompt tokens found in vLLM's prefix cache since the start.",
          "percentunit", ((_ENGINE, f"{chosen('vllm_prefix_cache_hits_total')} / "
                                    f"{chosen('vllm_prefix_cache_queries_total')}"),)),
    Panel("rollout", "Weights", "Weights of the engines", "Policy version of each engine and of the learner.", "short",
          ((_ENGINE, chosen("vrl_rollout_policy_version")), ("learner {{run}}", chosen("vrl_policy_version")))),
    Panel("rollout", "Weights", *_AGE),

    Panel("reward", "Rewards", "Reward by task", "Mean over the step's rollouts.", "short",
          latest("vrl_reward_by_task", legend="{{task}} {{run}}")),
    Panel("reward", "Rewards", "Reward by part", "Mean over the rollouts to which the part applies.", "short",
          latest("vrl_reward_by_part", legend="{{part}} {{run}}")),
    Panel("reward", "Rewards", "Rewards of completions", "Median and 95th percentile by task.", "short",
          quantiles("vrl_reward_value", by="task")),
    Panel("reward", "Rewards", "Held-out reward by task", "At each validation.", "short",
          latest("vrl_val_reward_by_task", legend="{{task}} {{run}}")),
    Panel("reward", "Learning signal", "Spread within a group",
          "Standard deviation of a part within a group. A part whose spread is 0 gives no learning signal.", "short",
          latest("vrl_reward_spread_by_part", legend="{{part}} {{run}}")),
    Panel("reward", "Learning signal", "Groups without spread",
          "Groups whose rewards are all equal. They are left out of the loss.", "percentunit",
          latest("vrl_group_zero_spread_ratio")),
    Panel("reward", "Learning signal", "Missing values",
          "Rollouts without a value for a part: it does not apply, or the judge failed.", "percentunit",
          latest("vrl_reward_missing_by_part", legend="{{part}} {{run}}")),
    Panel("reward", "Scoring", "Scoring of a group", "Seconds of a score call, including the judge.",
          *seconds_of("score")),
    Panel("reward", "Scoring", "Judge questions per second", "By outcome; 0 if no reward uses a judge.", "short",
          (("{{outcome}} {{run}}",
            f"{rate_of('vrl_reward_judge_questions_total', by='outcome, run')} or vector(0)"),)),

    Panel("learner", "Loss", "Policy loss", "As configured by algo.policy_loss.", "short", latest("vrl_loss_policy")),
    Panel("learner", "Loss", *_MISMATCH),
    Panel("learner", "Loss", "Entropy", "In nats, at the sampled tokens.", "short", latest("vrl_loss_entropy")),
    Panel("learner", "Loss", "Clipped and corrected",
          "Tokens whose ratio was clipped, and tokens whose engine weight was truncated or rejected.", "percentunit",
          latest("vrl_loss_clip_ratio", "vrl_loss_corrected_ratio")),
    Panel("learner", "Optimizer", "Gradient norm", "Before clipping.", "short", latest("vrl_learner_grad_norm")),
    Panel("learner", "Optimizer", "Learning rate", "Of the last step.", "sci", latest("vrl_learner_lr")),
    Panel("learner", "Optimizer", "Updates per second", "By outcome; dropped: a loss or gradient was not finite.",
          "short", rates("vrl_learner_updates_total", "outcome", 'rank="0"')),
    Panel("learner", "Throughput", "Tokens per second", "Through forward and backward, by rank.", "short",
          rates("vrl_learner_tokens_total", "rank", noun="rank")),
    Panel("learner", "Throughput", "Forward and backward of a micro-batch", "Seconds.",
          *seconds_of("forward_backward")),
    Panel("learner", "Throughput", "Tokens saved by sharing",
          "Fraction of tokens that are not computed because each prompt runs once per group.", "percentunit",
          latest("vrl_pack_shared_token_ratio")),
    Panel("learner", "Weight push", "Push time", "Pause, send, verify, resume.", "s", latest("vrl_push_seconds")),
    Panel("learner", "Weight push", "Push bandwidth", "Bytes of weights per second, to each engine.", "Bps",
          latest("vrl_push_bytes_per_second")),

    Panel("video", "Samples", "Samples per second", "By outcome: prepared, or why they cannot be used.", "short",
          rates("vrl_data_samples_total", "outcome")),
    Panel("video", "Samples", "Samples left out", "Since the start. The run ends above data.max_bad_fraction.", "short",
          _LEFT_OUT),
    Panel("video", "Decoding", "Patches per second", "Vision patches cut from frames, by worker.", "short",
          rates("vrl_data_patches_total", "rank", noun="worker")),
    Panel("video", "Decoding", "Preparing a sample", "Seconds of decoding and processing.", *seconds_of("prepare")),
    Panel("video", "Decoding", "Decoding, mean over the step's prompts", "Seconds.", "s",
          latest("vrl_data_decode_seconds")),
    Panel("video", "Decoding", "Busy data workers",
          "Mean number of samples in preparation. Decoding is the bottleneck if it reaches data.workers.", "short",
          (("{{run}}", rate_of("vrl_call_seconds_sum", 'role="data"')),)),

    Panel("faults", "Actors", "Processes up", "Endpoints that answer, by role.", "short",
          (("{{role}} {{run}}", f"sum by (role, run) ({chosen('up')})"),)),
    Panel("faults", "Actors", "Actors replaced", "By fleet, since the run was started or resumed.", "short",
          latest("vrl_fault_restarts_by_fleet_total", legend="{{fleet}} {{run}}")),
    Panel("faults", "Actors", "Actors lost for good",
          "Restarts used up (fault.max_restarts), or no node with room (fault.placement_timeout_s).", "short",
          latest("vrl_fault_lost_actors")),
    Panel("faults", "Repeated work", "Calls and pushes repeated",
          "Calls lost with an actor and retried elsewhere, and restarted pushes, since the start or resume.", "short",
          latest("vrl_fault_lost_calls_total", "vrl_fault_failed_pushes_total")),
    Panel("faults", "Repeated work", "Resumes",
          "Times that the run resumed from its last checkpoint after a learner rank died.", "short",
          latest("vrl_fault_resumes_total")),
    Panel("faults", "Dropped work", "Steps dropped", "A loss or gradient was not finite. Since the start.", "short",
          latest("vrl_learner_nonfinite_steps_total")),
    Panel("faults", "Dropped work", "Samples left out", "Since the start.", "short", _LEFT_OUT),
    Panel("faults", "Dropped work", "Judge", "Questions of the last step without a usable answer.", "short",
          latest("vrl_judge_failures")),
    Panel("faults", "Age", "Since the last checkpoint", "Seconds since the last complete checkpoint or the start.", "s",
          (("{{run}}", f"time() - {chosen('vrl_checkpoint_last_success_timestamp_seconds')}"),)),
    Panel("faults", "Age", *_AGE),
    Panel("faults", "Processes", "Memory", "Resident memory by process.", "bytes",
          ((_PROCESS, chosen("process_resident_memory_bytes")),)),
    Panel("faults", "Processes", "CPU", "Cores in use by process.", "short",
          ((_PROCESS, f"rate({chosen('process_cpu_seconds_total')}[$__rate_interval])"),)),
    Panel("faults", "Processes", "Open files", "Descriptors by process. A steady rise is a leak.", "short",
          ((_PROCESS, chosen("process_open_fds")),)),
)
# fmt: on
