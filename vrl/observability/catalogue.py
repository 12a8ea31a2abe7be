"""The catalogue of metrics: name, unit and meaning of everything that a run reports at a step."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """One series of the catalogue. A name ending in /* stands for a family, whose members differ in `label`."""

    name: str
    unit: str
    meaning: str
    label: str = "part"
    kind: str = "gauge"  # or counter: grows from the start of the run on

    @property
    def prometheus_name(self) -> str:
        """`rollout/tokens_per_s` -> `vrl_rollout_tokens_per_second`, `reward/task/*` -> `vrl_reward_by_task`."""
        name = self.name
        if name.endswith("/*"):
            name = f"{name.removesuffix('/*').removesuffix(f'/{self.label}')}_by_{self.label}"
        for short, full in (("_per_s", "_per_second"), ("_frac", "_ratio")):
            if name.endswith(short):
                name = name.removesuffix(short) + full
        return "vrl_" + name.replace("/", "_").replace("-", "_") + "_total" * (self.kind == "counter")


CATALOGUE = (
    Metric("step", "steps", "steps done; losses and gradient norm are means over the updates of a step"),
    Metric("policy_version", "version", "version of the learner's weights; one more a step that moved them"),
    Metric("reward/mean", "reward", "mean reward of the step's rollouts, zero-spread and replaced groups included"),
    Metric("reward/*", "reward", "mean of one part of the reward over the rollouts to which it applies"),
    Metric("reward/spread/*", "reward", "standard deviation of one part within a group, mean over groups"),
    Metric("reward/missing/*", "share", "rollouts without a value of one part: it does not apply, or a judge failed"),
    Metric("judge/failures", "questions", "questions of the step to which the judge gave no usable answer"),
    Metric("reward/task/*", "reward", "mean reward of one task's rollouts", label="task"),
    Metric("reward/seconds", "s", "scoring, per wave"),
    Metric("loss/policy", "nats", "policy loss by algo.policy_loss, corrected and aggregated"),
    Metric("loss/sft", "nats", "cross-entropy per target token"),
    Metric("loss/kl", "nats", "KL to the reference policy per token, by algo.kl_estimator"),
    Metric("loss/mismatch_kl", "nats", "k3 KL between engine and learner per token; rounding alone when all is well"),
    Metric("loss/clip_frac", "share", "tokens whose ratio was clipped"),
    Metric("loss/ratio_gap", "1", "mean distance of the ratio policy / old from 1: how far the step's updates went"),
    Metric("loss/corrected_frac", "share", "tokens whose old / engine weight algo.correction truncated or rejected"),
    Metric("loss/ess_frac", "share", "effective sample size of those weights over the tokens that train"),
    Metric("loss/entropy", "nats", "mean entropy of the policy at the sampled tokens"),
    Metric("learner/lr", "1", "learning rate of the step"),
    Metric("learner/grad_norm", "1", "global gradient norm before clipping"),
    Metric("learner/nonfinite_steps", "steps", "updates dropped: a loss or gradient was not finite", kind="counter"),
    Metric("learner/tokens_per_s", "tokens/s", "tokens through the learner over its seconds"),
    Metric("learn/seconds", "s", "forward, backward and optimizer"),
    Metric("rollout/tokens_per_s", "tokens/s", "the step's sampled tokens over the seconds in which any were sampled"),
    Metric("rollout/shuffled_frac", "share", "sampled tokens on permuted frames: what T-GRPO costs, never trained on"),
    Metric("rollout/seconds", "s", "from dispatch to the last completion, mean over the step's groups"),
    Metric("rollout/completion_tokens", "tokens", "mean length of a completion"),
    Metric("rollout/parse_failure_frac", "share", "completions that their task could not parse"),
    Metric("rollout/truncated_frac", "share", "completions that ran into max_tokens"),
    Metric("rollout/policy_age_max", "steps", "age of the step's oldest token"),
    Metric(
        "group/zero_spread_frac",
        "share",
        "groups whose rewards are all equal; left out where the baseline is the group's",
    ),
    Metric("group/refills", "groups", "zero-spread groups that were replaced (algo.max_refills)"),
    Metric("loss/mismatch_kl_reverse", "nats", "the same divergence, learner against engine"),
    Metric("pack/loss_tokens", "tokens", "tokens that trained in the step"),
    Metric("pack/shared_token_frac", "share", "tokens saved by computing each prompt once per group"),
    Metric(
        "pack/pad_frac", "share", "learner time in which ranks wait for the one with the dearest micro-batch, by work"
    ),
    Metric("push/seconds", "s", "pause, send, verify, resume"),
    Metric("push/bytes_per_s", "bytes/s", "weight bytes over push/seconds"),
    Metric("step/seconds", "s", "wall time of the step"),
    Metric("idle/seconds", "s", "step time in which no part of it was under way"),
    Metric("data/decode_seconds", "s", "decode and processor, mean over the step's prompts"),
    Metric("data/bad_samples", "samples", "samples left out", kind="counter"),
    Metric("data/cache_hit_frac", "share", "clips and pictures of the step's prompts that data.cache had"),
    Metric("fault/restarts/*", "actors", "actors replaced since the run was started or resumed", "fleet", "counter"),
    Metric("fault/lost_actors", "actors", "actors that stay dead: restarts used up, or no node with room"),
    Metric(
        "fault/lost_calls",
        "calls",
        "calls that were lost with an actor, and given to another or dropped",
        kind="counter",
    ),
    Metric(
        "fault/resumes",
        "resumes",
        "times that the run went on from its last checkpoint after a learner rank died",
        kind="counter",
    ),
    Metric("fault/failed_pushes", "pushes", "weight pushes that failed and were repeated", kind="counter"),
    Metric("val/reward", "reward", "mean reward on held-out samples"),
    Metric("val/reward/*", "reward", "the same, one task", label="task"),
    Metric("val/*", "reward", "mean of one part of the reward on held-out samples of one task: val/<part>/<task>"),
    Metric("val/tac", "percent", "think-answer consistency: of right answers, those whose thinking concludes so too"),
    Metric("val/vas", "percent", "how much the thinking claims visual evidence, by the judge's word"),
    Metric("val/loss", "nats", "cross-entropy on held-out targets"),
)


def find(name: str) -> tuple[Metric, str]:
    """The entry of CATALOGUE for a metric of a row, and the member of its family, "" where it stands for itself.

    Raises KeyError for a metric that is not listed.
    """
    if name in _SINGLE:
        return _SINGLE[name], ""
    for metric in _FAMILIES:
        if name.startswith(metric.name[:-1]):
            return metric, name[len(metric.name) - 1 :]
    raise KeyError(f"metric {name}: wanted it listed in {__name__}.CATALOGUE with its unit and meaning")


_SINGLE = {metric.name: metric for metric in CATALOGUE if not metric.name.endswith("/*")}


_FAMILIES = sorted((m for m in CATALOGUE if m.name.endswith("/*")), key=lambda m: -len(m.name))  # the closest first
