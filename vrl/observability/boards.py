"""The dashboards: overview, rollout, reward, learner, video and data, faults. Data only: dashboards.py writes them."""

from vrl.observability.panels import AGE, CALLS, MISMATCH, Dashboard, Panel, chosen, latest, quantiles, rate_of

_SHARES = ("vrl_rollout_seconds", "vrl_reward_seconds", "vrl_learn_seconds", "vrl_push_seconds", "vrl_idle_seconds")

OVERVIEW = Dashboard(
    uid="vrl-overview",
    title="vrl / overview",
    description="Is the run alive, is it learning, and where does a step go.",
    panels=(
        Panel(
            title="Progress",
            description="Steps done of those the run will take.",
            queries=(("{{run}}", f"{chosen('vrl_step')} / {chosen('vrl_run_steps')}"),),
            unit="percentunit",
            kind="stat",
        ),
        Panel(
            title="Processes up",
            description="Endpoints that answer, by role.",
            queries=(("{{role}}", f"sum by (role, run) ({chosen('up')})"),),
            kind="stat",
        ),
        Panel(
            title="Steps an hour",
            description="At the pace of the last step.",
            queries=(("{{run}}", f"3600 / {chosen('vrl_step_seconds')}"),),
            kind="stat",
        ),
        Panel(
            title="Reward",
            description="Mean reward of a step's rollouts.",
            queries=latest("vrl_reward_mean"),
        ),
        Panel(
            title="Held-out reward",
            description="Mean reward of the held-out samples, at validations.",
            queries=latest("vrl_val_reward"),
        ),
        Panel(
            title="Where a step goes",
            description="Seconds of each part of the last step; they overlap when algo.max_policy_age is above 0.",
            queries=tuple((name.removeprefix("vrl_").removesuffix("_seconds"), chosen(name)) for name in _SHARES),
            unit="s",
        ),
        CALLS,
        Panel(
            title="Tokens",
            description="Sampled by the engines, and through the learner.",
            queries=(
                ("sampled {{run}}", rate_of("vrl_rollout_generated_tokens_total")),
                ("learned {{run}}", rate_of("vrl_learner_tokens_total")),
            ),
        ),
        MISMATCH,
    ),
)

ROLLOUT = Dashboard(
    uid="vrl-rollout",
    title="vrl / rollout",
    description="The engines: throughput, length and shape of completions, vLLM's queues and caches.",
    panels=(
        Panel(
            title="Sampled tokens a second",
            description="By engine.",
            queries=(("engine {{rank}} {{run}}", rate_of("vrl_rollout_generated_tokens_total", by="rank, run")),),
        ),
        Panel(
            title="Prompt tokens a second",
            description="Vision slots included, once a group.",
            queries=(("engine {{rank}} {{run}}", rate_of("vrl_rollout_prompt_tokens_total", by="rank, run")),),
        ),
        Panel(
            title="Completions a second, by how they ended",
            description="length: cut at rollout.max_tokens.",
            queries=(("{{finish}} {{run}}", rate_of("vrl_rollout_completions_total", by="finish, run")),),
        ),
        Panel(
            title="Generation of a wave",
            description="Seconds of a generate call inside the engine.",
            queries=quantiles("vrl_call_seconds", 'call="generate"'),
            unit="s",
        ),
        Panel(
            title="Completion length",
            description="Mean tokens of a completion.",
            queries=latest("vrl_rollout_completion_tokens"),
        ),
        Panel(
            title="Unreadable and cut off",
            description="Completions that their task cannot parse, and those that ran into max_tokens.",
            queries=latest("vrl_rollout_parse_failure_ratio", "vrl_rollout_truncated_ratio"),
            unit="percentunit",
        ),
        Panel(
            title="Requests in vLLM",
            description="Running and waiting.",
            queries=(
                ("running {{rank}}", f"sum by (rank, run) ({chosen('vllm_num_requests_running')})"),
                ("waiting {{rank}}", f"sum by (rank, run) ({chosen('vllm_num_requests_waiting')})"),
            ),
        ),
        Panel(
            title="KV cache in use",
            description="Share of vLLM's blocks; near 1 it preempts.",
            queries=(("engine {{rank}} {{run}}", chosen("vllm_kv_cache_usage_perc")),),
            unit="percentunit",
        ),
        Panel(
            title="Prefix cache",
            description="Share of prompt tokens found in vLLM's prefix cache since the engine started.",
            queries=(
                (
                    "engine {{rank}} {{run}}",
                    f"{chosen('vllm_prefix_cache_hits_total')} / {chosen('vllm_prefix_cache_queries_total')}",
                ),
            ),
            unit="percentunit",
        ),
        Panel(
            title="Weights of the engines",
            description="Policy version that each engine holds, and the learner's.",
            queries=(
                ("engine {{rank}} {{run}}", chosen("vrl_rollout_policy_version")),
                ("learner {{run}}", chosen("vrl_policy_version")),
            ),
        ),
        AGE,
        Panel(
            title="Preemptions a second",
            description="Requests that vLLM put back for want of KV cache.",
            queries=(("engine {{rank}} {{run}}", rate_of("vllm_num_preemptions_total", by="rank, run")),),
        ),
    ),
)

REWARD = Dashboard(
    uid="vrl-reward",
    title="vrl / reward",
    description="What is rewarded, on which task, by which part, and whether the judge answers.",
    panels=(
        Panel(
            title="Reward by task",
            description="Mean of a step's rollouts.",
            queries=latest("vrl_reward_by_task", legend="{{task}} {{run}}"),
        ),
        Panel(
            title="Reward by part",
            description="Mean over the rollouts to which the part applies.",
            queries=latest("vrl_reward_by_part", legend="{{part}} {{run}}"),
        ),
        Panel(
            title="Spread within a group",
            description="Standard deviation of a part within a group; a part of spread 0 has_signal nothing.",
            queries=latest("vrl_reward_spread_by_part", legend="{{part}} {{run}}"),
        ),
        Panel(
            title="Rewards of completions",
            description="Median and 95th percentile by task.",
            queries=quantiles("vrl_reward_value", by="task"),
        ),
        Panel(
            title="Missing values",
            description="Rollouts without a value of a part: it does not apply, or the judge failed.",
            queries=latest("vrl_reward_missing_by_part", legend="{{part}} {{run}}"),
            unit="percentunit",
        ),
        Panel(
            title="Groups without spread",
            description="Groups whose rewards are all equal; they are left out of the loss.",
            queries=latest("vrl_group_zero_spread_ratio"),
            unit="percentunit",
        ),
        Panel(
            title="Scoring of a group",
            description="Seconds of a score call, the judge included.",
            queries=quantiles("vrl_call_seconds", 'call="score"'),
            unit="s",
        ),
        Panel(
            title="Questions to the judge a second",
            description="By outcome; 0 where no reward asks a judge.",
            queries=(
                (
                    "{{outcome}} {{run}}",
                    f"{rate_of('vrl_reward_judge_questions_total', by='outcome, run')} or vector(0)",
                ),
            ),
        ),
        Panel(
            title="Held-out reward by task",
            description="At validations.",
            queries=latest("vrl_val_reward_by_task", legend="{{task}} {{run}}"),
        ),
    ),
)

LEARNER = Dashboard(
    uid="vrl-learner",
    title="vrl / learner",
    description="Losses, gradients, the push of weights.",
    panels=(
        Panel(title="Policy loss", description="By algo.policy_loss.", queries=latest("vrl_loss_policy")),
        MISMATCH,
        Panel(title="Entropy", description="Nats, at the sampled tokens.", queries=latest("vrl_loss_entropy")),
        Panel(
            title="Gradient norm",
            description="Before clipping.",
            queries=latest("vrl_learner_grad_norm"),
        ),
        Panel(title="Learning rate", description="Of the step.", queries=latest("vrl_learner_lr"), unit="sci"),
        Panel(
            title="Clipped and corrected",
            description="Tokens whose ratio was clipped, and whose engine weight was truncated or rejected.",
            queries=latest("vrl_loss_clip_ratio", "vrl_loss_corrected_ratio"),
            unit="percentunit",
        ),
        Panel(
            title="Tokens a second",
            description="Through forward and backward, by rank.",
            queries=(("rank {{rank}} {{run}}", rate_of("vrl_learner_tokens_total", by="rank, run")),),
        ),
        Panel(
            title="Forward and backward of a micro-batch",
            description="Seconds.",
            queries=quantiles("vrl_call_seconds", 'call="forward_backward"'),
            unit="s",
        ),
        Panel(
            title="Tokens saved by sharing",
            description="Share of tokens not computed because each prompt runs once a group.",
            queries=latest("vrl_pack_shared_token_ratio"),
            unit="percentunit",
        ),
        Panel(
            title="Updates a second",
            description="By outcome; dropped: a loss or gradient was not finite.",
            queries=(("{{outcome}} {{run}}", rate_of("vrl_learner_updates_total", 'rank="0"', by="outcome, run")),),
        ),
        Panel(
            title="Push of weights",
            description="Pause, send, verify, resume.",
            queries=latest("vrl_push_seconds"),
            unit="s",
        ),
        Panel(
            title="Push bandwidth",
            description="Bytes of weights a second, to each engine.",
            queries=latest("vrl_push_bytes_per_second"),
            unit="Bps",
        ),
    ),
)

VIDEO = Dashboard(
    uid="vrl-video",
    title="vrl / video and data",
    description="Decoding, samples that cannot be used, and whether prompts come in time.",
    panels=(
        Panel(
            title="Samples a second",
            description="By outcome: prepared, or why they cannot be used.",
            queries=(("{{outcome}} {{run}}", rate_of("vrl_data_samples_total", by="outcome, run")),),
        ),
        Panel(
            title="Samples left out",
            description="Since the start; more than data.max_bad_fraction end the run.",
            queries=latest("vrl_data_bad_samples_total"),
        ),
        Panel(
            title="Patches a second",
            description="Vision patches cut from frames, by worker.",
            queries=(("worker {{rank}} {{run}}", rate_of("vrl_data_patches_total", by="rank, run")),),
        ),
        Panel(
            title="Preparing a sample",
            description="Seconds of decoding and processing.",
            queries=quantiles("vrl_call_seconds", 'call="prepare"'),
            unit="s",
        ),
        Panel(
            title="Decoding, mean of the step's prompts",
            description="Seconds.",
            queries=latest("vrl_data_decode_seconds"),
            unit="s",
        ),
        Panel(
            title="Data workers at work",
            description="Samples being prepared, on average; at data.workers decoding is the bottleneck.",
            queries=(("{{run}}", rate_of("vrl_call_seconds_sum", 'role="data"')),),
        ),
    ),
)

FAULTS = Dashboard(
    uid="vrl-faults",
    title="vrl / faults",
    description="What broke, what was dropped, what is late.",
    panels=(
        Panel(
            title="Processes up",
            description="Endpoints that answer, by role.",
            queries=(("{{role}} {{run}}", f"sum by (role, run) ({chosen('up')})"),),
        ),
        Panel(
            title="Actors replaced",
            description="By fleet, since the run was started or resumed.",
            queries=latest("vrl_fault_restarts_by_fleet_total", legend="{{fleet}} {{run}}"),
        ),
        Panel(
            title="Actors lost for good",
            description="Restarts used up (fault.max_restarts) or no node with room (fault.placement_timeout_s).",
            queries=latest("vrl_fault_lost_actors"),
        ),
        Panel(
            title="Calls and pushes repeated",
            description="Calls lost with an actor and given to another, pushes begun again; since the start or resume.",
            queries=latest("vrl_fault_lost_calls_total", "vrl_fault_failed_pushes_total"),
        ),
        Panel(
            title="Resumes",
            description="Times that the run went on from its last checkpoint after a learner rank died.",
            queries=latest("vrl_fault_resumes_total"),
        ),
        Panel(
            title="Steps dropped",
            description="A loss or gradient was not finite; since the start.",
            queries=latest("vrl_learner_nonfinite_steps_total"),
        ),
        Panel(
            title="Samples left out",
            description="Since the start.",
            queries=latest("vrl_data_bad_samples_total"),
        ),
        Panel(
            title="Judge",
            description="Questions of the last step without a usable answer.",
            queries=latest("vrl_judge_failures"),
        ),
        Panel(
            title="Since the last checkpoint",
            description="Seconds since the last whole checkpoint, or since the start.",
            queries=(("{{run}}", f"time() - {chosen('vrl_checkpoint_last_success_timestamp_seconds')}"),),
            unit="s",
        ),
        AGE,
        Panel(
            title="Memory",
            description="Resident, by process.",
            queries=(("{{role}} {{rank}} {{run}}", chosen("process_resident_memory_bytes")),),
            unit="bytes",
        ),
        Panel(
            title="CPU",
            description="Cores in use, by process.",
            queries=(("{{role}} {{rank}} {{run}}", f"rate({chosen('process_cpu_seconds_total')}[$__rate_interval])"),),
        ),
        Panel(
            title="Open files",
            description="Descriptors, by process: a steady climb is a leak.",
            queries=(("{{role}} {{rank}} {{run}}", chosen("process_open_fds")),),
        ),
    ),
)

DASHBOARDS = (OVERVIEW, ROLLOUT, REWARD, LEARNER, VIDEO, FAULTS)
