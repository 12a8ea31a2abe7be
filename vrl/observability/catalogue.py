"""The catalogue of metrics: name, unit and meaning of everything that a run reports at a step."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of the catalogue. A name ending in /* is a family whose members differ in `label`."""

    name: str
    unit: str
    meaning: str
    label: str = "part"
    kind: Literal["gauge", "counter"] = "gauge"  # a counter grows from the start of the run

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


# fmt: off
CATALOGUE = (
    Metric("step", "steps", "finished steps; losses and gradient norm are means over the updates of the step"),
    Metric("policy_version", "version", "version of the learner's weights; grows by one per step that changed them"),
    Metric("reward/mean", "reward", "mean reward of the step's rollouts, including zero-spread and replaced groups"),
    Metric("reward/*", "reward", "mean of one part of the reward over the rollouts to which it applies"),
    Metric("reward/spread/*", "reward", "standard deviation of one part within a group, mean over groups"),
    Metric("reward/missing/*", "fraction", "rollouts without a value for a part: not applicable, or the judge failed"),
    Metric("judge/failures", "questions", "questions of the step without a usable answer from the judge"),
    Metric("reward/task/*", "reward", "mean reward of one task's rollouts", label="task"),
    Metric("reward/seconds", "s", "scoring time per wave"),
    Metric("loss/policy", "nats", "policy loss as set by algo.policy_loss, corrected and aggregated"),
    Metric("loss/sft", "nats", "cross-entropy per target token"),
    Metric("loss/kl", "nats", "KL to the reference policy per token, estimated by algo.kl_estimator"),
    Metric("loss/mismatch_kl", "nats", "k3 KL between engine and learner per token; rounding error in a healthy run"),
    Metric("loss/mismatch_kl_reverse", "nats", "the same divergence from learner to engine"),
    Metric("loss/clip_frac", "fraction", "tokens whose ratio was clipped"),
    Metric("loss/ratio_gap", "1", "mean distance of the policy / old ratio from 1: how far the step's updates moved"),
    Metric("loss/corrected_frac", "fraction", "tokens whose old / engine weight was truncated or rejected "
           "by algo.correction"),
    Metric("loss/ess_frac", "fraction", "effective sample size of these weights over the trained tokens"),
    Metric("loss/entropy", "nats", "mean entropy of the policy at the sampled tokens"),
    Metric("learner/lr", "1", "learning rate of the step"),
    Metric("learner/grad_norm", "1", "global gradient norm before clipping"),
    Metric("learner/nonfinite_steps", "steps", "updates dropped because a loss or gradient was not finite",
           kind="counter"),
    Metric("learner/tokens_per_s", "tokens/s", "tokens through the learner divided by its busy seconds"),
    Metric("learn/seconds", "s", "forward, backward and optimizer"),
    Metric("rollout/tokens_per_s", "tokens/s", "the step's sampled tokens divided by the seconds of sampling"),
    Metric("rollout/shuffled_frac", "fraction", "tokens sampled on permuted frames and never trained on (T-GRPO)"),
    Metric("rollout/seconds", "s", "time from dispatch to the last completion, mean over the step's groups"),
    Metric("rollout/completion_tokens", "tokens", "mean length of a completion"),
    Metric("rollout/parse_failure_frac", "fraction", "completions that their task could not parse"),
    Metric("rollout/truncated_frac", "fraction", "completions truncated at max_tokens"),
    Metric("rollout/policy_age_max", "steps", "age of the step's oldest token"),
    Metric("group/zero_spread_frac", "fraction", "groups whose rewards are all equal; left out of the loss if the "
           "baseline is the group's"),
    Metric("group/refills", "groups", "zero-spread groups that were replaced (algo.max_refills)"),
    Metric("pack/loss_tokens", "tokens", "tokens trained on in the step"),
    Metric("pack/shared_token_frac", "fraction", "tokens saved by computing each prompt once per group"),
    Metric("pack/pad_frac", "fraction", "learner time, in units of work, that ranks spend waiting for the rank with "
           "the most expensive micro-batch"),
    Metric("push/seconds", "s", "pause, send, verify, resume"),
    Metric("push/bytes_per_s", "bytes/s", "weight bytes divided by push/seconds"),
    Metric("step/seconds", "s", "wall time of the step"),
    Metric("idle/seconds", "s", "time of the step in which none of its parts was in progress"),
    Metric("data/decode_seconds", "s", "decoding and processing, mean over the step's prompts"),
    Metric("data/bad_samples", "samples", "samples left out", kind="counter"),
    Metric("data/cache_hit_frac", "fraction", "clips and images of the step's prompts found in data.cache"),
    Metric("fault/restarts/*", "actors", "actors replaced since the run was started or resumed", "fleet", "counter"),
    Metric("fault/lost_actors", "actors", "actors that are not restarted: restarts used up, or no node with room"),
    Metric("fault/lost_calls", "calls", "calls that were lost with an actor, then retried elsewhere or dropped",
           kind="counter"),
    Metric("fault/resumes", "resumes", "times that the run resumed from its last checkpoint after a learner rank died",
           kind="counter"),
    Metric("fault/failed_pushes", "pushes", "weight pushes that failed and were repeated", kind="counter"),
    Metric("val/reward", "reward", "mean reward on held-out samples"),
    Metric("val/reward/*", "reward", "mean reward on held-out samples of one task", label="task"),
    Metric("val/*", "reward", "mean of one part of the reward on held-out samples of one task: val/<part>/<task>"),
    Metric("val/tac", "percent", "think-answer consistency: correct answers whose thinking concludes the same"),
    Metric("val/vas", "percent", "how far the thinking refers to visual evidence, as rated by the judge"),
    Metric("val/loss", "nats", "cross-entropy on held-out targets"),
)
# fmt: on
_SINGLE = {metric.name: metric for metric in CATALOGUE if not metric.name.endswith("/*")}
_FAMILIES = sorted((m for m in CATALOGUE if m.name.endswith("/*")), key=lambda m: -len(m.name))  # longest prefix first


def find(name: str) -> tuple[Metric, str]:
    """Return the entry of CATALOGUE for a metric and its member of the family, "" if the entry is not a family.

    Raise KeyError if the metric is not listed.
    """
    if name in _SINGLE:
        return _SINGLE[name], ""
    for metric in _FAMILIES:
        if name.startswith(metric.name[:-1]):
            return metric, name[len(metric.name) - 1 :]
    raise KeyError(f"metric {name}: wanted it listed in {__name__}.CATALOGUE with its unit and meaning")
