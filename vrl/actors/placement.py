"""Starts or joins Ray, compares the resources that a run asks for with the cluster, and reserves them by role.

Starts nothing when the comparison fails. Does not know what the actors do.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from vrl.actors.pool import ActorPool
from vrl.config import FaultConfig, RunConfig
from vrl.errors import ConfigError
from vrl.network import socket_folder
from vrl.observability.telemetry import TelemetryConfig, telemetry_env

# Environment of every worker process, on every node.
_WORKER_ENV = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Role:
    """Equal actors: their number and the resources that each asks Ray for."""

    name: str
    count: int
    num_cpus: float
    num_gpus: float = 0.0
    shares_with: str = ""  # actor i shares the resources of actor i of this role, on the same GPU


def roles(config: RunConfig, *, gpus: bool, engines: bool = True) -> tuple[Role, ...]:
    """Return the roles of a run. `gpus`: the cluster has any. `engines`: the run generates (RL, or validates)."""
    shared = config.push.backend == "ipc" and gpus  # rank and engine on one GPU: to Ray, half of it each
    learner_gpus = (0.5 if shared else 1.0) if gpus else 0.0
    engine_gpus = (0.5 if shared else float(config.rollout.tensor_parallel)) if gpus else 0.0
    found = [
        Role(name="data", count=config.data.workers, num_cpus=1),
        Role(name="learner", count=config.learner.ranks, num_cpus=config.learner.threads, num_gpus=learner_gpus),
    ]
    if engines:
        engine = {"num_cpus": config.rollout.threads, "num_gpus": engine_gpus}
        found += [
            Role(name="rollout", count=config.rollout.engines, shares_with="learner" if shared else "", **engine),
            Role(name="reward", count=config.reward.workers, num_cpus=1),
        ]
        judge = config.reward.judge.engine
        if config.reward.judge.kind == "vllm":
            own = float(judge.tensor_parallel) if gpus else 0.0
            found.append(Role(name="judge", count=judge.engines, num_cpus=judge.threads, num_gpus=own))
    return tuple(found)


def bundles(asked: Sequence[Role]) -> dict[str, list[dict[str, float]]]:
    """Return the resources to reserve for each role, one bundle per actor; a role that shares is added to its partner.

    The role with the largest actors comes first: small actors placed first could leave no node with enough room.
    """
    made = {role.name: [_bundle(role)] * role.count for role in asked if not role.shares_with}
    for role in asked:
        for index in range(role.count if role.shares_with else 0):
            there, here = made[role.shares_with][index], _bundle(role)
            made[role.shares_with][index] = {key: there.get(key, 0) + here.get(key, 0) for key in there | here}
    sizes = {name: (own[0].get("GPU", 0), own[0]["CPU"]) for name, own in made.items() if own}
    return {name: made[name] for name in sorted(sizes, key=lambda name: sizes[name], reverse=True)}


def _bundle(role: Role) -> dict[str, float]:
    return {"CPU": role.num_cpus} | ({"GPU": role.num_gpus} if role.num_gpus else {})


class Placement:
    """A connection to Ray and the resources reserved on it. A context manager that frees everything on exit."""

    def __init__(
        self,
        ray_address: str,
        wanted: Callable[[bool], tuple[Role, ...]],
        telemetry: Callable[[str, int], TelemetryConfig] | None = None,
    ) -> None:
        """Join the cluster at `ray_address`, or start a private Ray on this machine, and reserve room for every role.

        `wanted(has_gpus)` returns the roles. A private Ray offers as many logical CPUs as they ask for: a laptop may
        oversubscribe its cores. `telemetry(role, index)` returns what an actor reports, if anything. Raises ConfigError
        with both numbers if a cluster has less.
        """
        self._telemetry = telemetry
        self._private = not ray_address
        if self._private:
            self._start_private(wanted(_local_gpus() > 0))
        else:
            # Ray refuses variables that a submitted job has already set, even to equal values.
            env = {name: value for name, value in _WORKER_ENV.items() if name not in os.environ}
            ray.init(address=ray_address, log_to_driver=False, runtime_env={"env_vars": env})
        try:
            self.has_gpus = ray.cluster_resources().get("GPU", 0) > 0
            self._roles = {role.name: role for role in wanted(self.has_gpus)}
            wanted_bundles = bundles(tuple(self._roles.values()))
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            if problems := misfits(wanted_bundles, nodes):
                raise ConfigError(*problems)
            self._groups = {name: _reserve(name, own) for name, own in wanted_bundles.items()}
        except BaseException:
            ray.shutdown()
            raise

    def options(self, role: str, index: int) -> dict[str, Any]:
        """Return Ray's options for actor `index` of `role`."""
        asked = self._roles[role]
        env = telemetry_env(self._telemetry(role, index)) if self._telemetry is not None else {}
        return {
            "num_cpus": asked.num_cpus,
            "num_gpus": asked.num_gpus,
            "scheduling_strategy": self._strategy(role, index),
            "runtime_env": {"env_vars": env},  # in addition to the job's
            "max_restarts": 0,  # the pool restarts it; Ray would restart it without weights
        }

    def start(self, role: str, actor_class: type, index: int, /, *, max_restarts: int = 0, **keywords: Any) -> Any:
        """Start actor `index` of a role, or its replacement; `keywords` go to the constructor.

        `max_restarts`: by Ray, for an actor with no state besides its constructor's arguments.
        """
        options = self.options(role, index) | {"max_restarts": max_restarts}
        return ray.remote(actor_class).options(**options).remote(**keywords)

    def start_pool(
        self,
        role: str,
        actor_class: type,
        keywords: Mapping[str, Any],
        *,
        timeout_s: float,
        fault: FaultConfig,
        with_index: bool = False,
        **options: Any,
    ) -> ActorPool:
        """Start all actors of a role, none if it was not reserved, and return their pool.

        `keywords` go to the constructor, together with `index` if `with_index`; `options` go to the pool.
        """

        def start(index: int) -> Any:
            return self.start(role, actor_class, index, **keywords, **({"index": index} if with_index else {}))

        count, room_for = self._roles[role].count if role in self._roles else 0, partial(self.room_for, role)
        return ActorPool(role, start, count, timeout_s=timeout_s, fault=fault, room_for=room_for, **options)

    def room_for(self, role: str, index: int) -> Any:
        """Return a reference that resolves once some node has room for this actor, for example a replacement node."""
        strategy = self._strategy(role, index)
        return ray.remote(lambda: None).options(num_cpus=0, scheduling_strategy=strategy).remote()

    def close(self) -> None:
        for group in self._groups.values():
            remove_placement_group(group)
        ray.shutdown()

    def __enter__(self) -> "Placement":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _strategy(self, role: str, index: int) -> PlacementGroupSchedulingStrategy:
        group = self._groups[self._roles[role].shares_with or role]
        return PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index)

    def _start_private(self, asked: tuple[Role, ...]) -> None:
        num_cpus = sum(role.count * role.num_cpus for role in asked)
        ray.init(
            address="local",  # even if a cluster runs on this machine
            num_cpus=max(int(num_cpus), os.cpu_count() or 1),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": _WORKER_ENV},
            _temp_dir=str(socket_folder() / "ray"),
        )


def _local_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def misfits(bundles: Mapping[str, Sequence[Mapping[str, float]]], nodes: Sequence[Mapping[str, float]]) -> list[str]:
    """Return why these bundles do not fit on these nodes, with both numbers; empty if they may fit.

    Every actor must fit on one node, and all actors on all nodes together.
    """
    found = []
    for resource, key in (("CPU", "threads"), ("GPU", "tensor_parallel")):
        total, largest = (measure([node.get(resource, 0) for node in nodes]) for measure in (sum, max))
        asked = {name: [bundle.get(resource, 0) for bundle in own] for name, own in bundles.items()}
        wanted = sum(map(sum, asked.values()))
        if wanted > total:
            parts = ", ".join(f"{name} {len(own)} x {own[0]:g}" for name, own in asked.items())
            found.append(
                f"resources: the run asks for {wanted:g} {resource} ({parts}), the cluster has {total:g}; lower "
                "rollout.engines, learner.ranks or their threads, or add nodes"
            )
            continue
        found += [
            f"resources: one {name} actor asks for {own[0]:g} {resource}, the largest node has {largest:g}; an actor "
            f"runs on one node: lower {name}.{key}, or add a larger node"
            for name, own in asked.items()
            if own[0] > largest
        ]
    return found


def _reserve(name: str, own: Sequence[Mapping[str, float]], timeout_s: float = 120.0) -> PlacementGroup:
    group = placement_group([dict(bundle) for bundle in own], strategy="PACK")
    if not group.wait(timeout_s):
        raise ConfigError(
            f"resources: no room for {len(own)} {name} actors of {dict(own[0])} each on one node within {timeout_s:g} "
            f"s; free: {ray.available_resources()}"
        )
    return group
