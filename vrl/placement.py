"""Where actors live: starts or joins Ray, compares what a run asks for with what is there, places every role.

Starts nothing when the comparison fails. Does not know what the actors do.
"""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from vrl.config import RunConfig
from vrl.errors import ConfigError
from vrl.observability.watch import Watch, environment

# What every worker process needs in its environment, wherever it runs.
_WORKER_ENV = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Role:
    """Equal actors: how many, and what each asks Ray for."""

    name: str
    count: int
    num_cpus: float
    num_gpus: float = 0.0


def roles(config: RunConfig, *, gpus: bool, engines: bool = True) -> tuple[Role, ...]:
    """What a run asks for. `gpus`: the cluster has any. `engines`: the run generates (RL, and SFT with validation)."""
    shared = config.push.backend == "ipc"  # learner and engine on one GPU, half of it each as far as Ray is concerned
    learner_gpus = (0.5 if shared else 1.0) if gpus else 0.0
    engine_gpus = (0.5 if shared else float(config.rollout.tensor_parallel)) if gpus else 0.0
    found = [
        Role(name="data", count=config.data.workers, num_cpus=1),
        Role(name="learner", count=config.learner.ranks, num_cpus=config.learner.threads, num_gpus=learner_gpus),
    ]
    if engines:
        found += [
            Role(name="rollout", count=config.rollout.engines, num_cpus=config.rollout.threads, num_gpus=engine_gpus),
            Role(name="reward", count=config.reward.workers, num_cpus=1),
        ]
    return tuple(found)


class Placement:
    """A connection to Ray and the room reserved on it. Use as a context manager: leaving it frees everything."""

    def __init__(
        self,
        ray_address: str,
        wanted: Callable[[bool], tuple[Role, ...]],
        watch: Callable[[str, int], Watch] | None = None,
    ) -> None:
        """Join the cluster at `ray_address`, or start a private Ray on this machine, and reserve room for every role.

        `wanted` tells the roles, given whether there are GPUs. A private Ray offers as many logical CPUs as they ask
        for: a laptop may oversubscribe its cores. `watch(role, index)` tells what an actor shows of its work, if
        anything. Raises ConfigError with both numbers when a cluster has less.
        """
        self._watch = watch
        self._private = not ray_address
        if self._private:
            self._start_private(wanted(_local_gpus() > 0))
        else:
            # What a submitted job brings along it may not be told twice: Ray refuses, whatever the values are.
            env = {name: value for name, value in _WORKER_ENV.items() if name not in os.environ}
            ray.init(address=ray_address, log_to_driver=False, runtime_env={"env_vars": env})
        try:
            self.has_gpus = ray.cluster_resources().get("GPU", 0) > 0
            self._roles = {role.name: role for role in wanted(self.has_gpus)}
            _compare(tuple(self._roles.values()), dict(ray.cluster_resources()))
            self._groups = {name: _reserve(role) for name, role in self._roles.items()}
        except BaseException:
            ray.shutdown()
            raise

    def options(self, role: str, index: int) -> dict[str, Any]:
        """Ray actor options for actor `index` of `role`."""
        asked = self._roles[role]
        env = environment(self._watch(role, index)) if self._watch is not None else {}
        strategy = PlacementGroupSchedulingStrategy(self._groups[role], placement_group_bundle_index=index)
        return {
            "num_cpus": asked.num_cpus,
            "num_gpus": asked.num_gpus,
            "scheduling_strategy": strategy,
            "runtime_env": {"env_vars": env},  # beside what the job's has
            "max_restarts": 0,  # a restarted actor would have no weights; whoever restarts it must push them first
        }

    def start(self, role: str, actor_class: type, index: int, /, **keywords: Any) -> Any:
        """Actor `index` of a role, new or in the place of one that is gone; `keywords` go to the constructor."""
        return ray.remote(actor_class).options(**self.options(role, index)).remote(**keywords)

    def close(self) -> None:
        for group in self._groups.values():
            remove_placement_group(group)
        ray.shutdown()

    def __enter__(self) -> "Placement":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start_private(self, asked: tuple[Role, ...]) -> None:
        num_cpus = sum(role.count * role.num_cpus for role in asked)
        ray.init(
            num_cpus=max(int(num_cpus), os.cpu_count() or 1),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": _WORKER_ENV},
        )


def _local_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _compare(asked: tuple[Role, ...], present: Mapping[str, float]) -> None:
    for resource, field in (("CPU", "num_cpus"), ("GPU", "num_gpus")):
        wanted = sum(role.count * getattr(role, field) for role in asked)
        if wanted > present.get(resource, 0):
            parts = ", ".join(f"{role.name} {role.count} x {getattr(role, field):g}" for role in asked)
            raise ConfigError(
                f"resources: the run asks for {wanted:g} {resource} ({parts}), the cluster has "
                f"{present.get(resource, 0):g}; lower rollout.engines, learner.ranks or their threads, or add nodes"
            )


def _reserve(role: Role, timeout_s: float = 120.0) -> PlacementGroup:
    bundle = {"CPU": role.num_cpus} | ({"GPU": role.num_gpus} if role.num_gpus else {})
    group = placement_group([dict(bundle) for _ in range(role.count)], strategy="PACK")
    if not group.wait(timeout_s):
        raise ConfigError(
            f"resources: no node has room for {role.count} {role.name} actors of {bundle} within {timeout_s:g} s; "
            f"free: {ray.available_resources()}"
        )
    return group
