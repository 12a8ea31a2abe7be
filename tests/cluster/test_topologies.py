"""Placement of a run's actors on clusters of 1 to 64 nodes: Ray's multi-node test cluster with fake GPUs.

Nodes are real raylets on one machine. The agents that Ray starts with each raylet are not needed here and replaced by
sleeping processes, so that 64 nodes fit on a laptop.
"""

import importlib
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from vrl.actors.placement import Placement, Role, roles
from vrl.config import DataConfig, LearnerConfig, PushConfig, RewardConfig, RolloutConfig, RunConfig
from vrl.errors import ConfigError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
GPUS, CPUS = 8, 16  # of a node


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster whose head offers no resources."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(shutdown_at_exit=False)
    made.add_node(num_cpus=0, num_gpus=0, include_dashboard=False)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def light(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The same cluster; nodes added from here on cannot run actors."""
    from ray._private import services

    start = services.start_ray_process
    monkeypatch.setattr(
        services,
        "start_ray_process",
        lambda command, *rest, **options: start([_asleep(part) for part in command], *rest, **options),
    )
    return cluster


def _asleep(part: str) -> str:
    """Replace an agent's command by one that does nothing, and report the ports that the agent would report."""
    raylet: Any = importlib.import_module("ray._raylet")  # a Cython module, without types
    option, _, command = part.partition("=")
    if not option.endswith("_agent_command"):
        return part
    folder, node = (re.search(rf"--{name}=(\S+)", command)[1] for name in ("session-dir", "node-id"))
    for name in ("METRICS_AGENT", "METRICS_EXPORT", "DASHBOARD_AGENT_LISTEN", "RUNTIME_ENV_AGENT"):
        raylet.persist_port(folder, node, getattr(raylet, f"{name}_PORT_NAME"), 9)  # no process listens there
    return f"{option}=sleep 100000"


def grow(cluster: Any, nodes: Sequence[tuple[int, int]]) -> None:
    """Add nodes of (CPUs, GPUs) and wait until they are alive."""
    for cpus, gpus in nodes:
        cluster.add_node(wait=False, num_cpus=cpus, num_gpus=gpus, object_store_memory=80 * 2**20)
    cluster.wait_for_nodes(timeout=300)


def placed(placement: Placement) -> dict[str, list[str]]:
    """Return the node of every actor of every role, by index."""
    from ray.util import placement_group_table

    found = {}
    for role, asked in placement._roles.items():
        table = placement_group_table(placement._groups[asked.shares_with or role])
        assert table["state"] == "CREATED"
        found[role] = [table["bundles_to_node_id"][index] for index in range(asked.count)]
    return found


def used(placement: Placement, resource: str) -> Counter[str]:
    """Return the resources used on each node."""
    total: Counter[str] = Counter()
    for role, nodes in placed(placement).items():
        total.update(dict.fromkeys(nodes, 0))
        for node in nodes:
            total[node] += getattr(placement._roles[role], resource)
    return total


def run(nodes: int) -> RunConfig:
    """Return a run that fills `nodes`: half the GPUs for engines of 4, half for ranks; two small actors per node."""
    return RunConfig(
        rollout=RolloutConfig(engines=nodes, tensor_parallel=4, threads=4),
        learner=LearnerConfig(ranks=4 * nodes, threads=2),
        reward=RewardConfig(workers=nodes),
        data=DataConfig(workers=nodes),
    )


def join(cluster: Any, config: RunConfig) -> Placement:
    return Placement(cluster.address, lambda gpus: roles(config, gpus=gpus))


@pytest.mark.parametrize("nodes", [1, 2, 8, 64])
def test_engines_ranks_and_workers_fill_the_cluster_and_one_engine_more_is_refused(light: Any, nodes: int):
    grow(light, [(CPUS, GPUS)] * nodes)
    config = run(nodes)
    with join(light, config) as placement:
        assert placement.has_gpus
        gpus, cpus = used(placement, "num_gpus"), used(placement, "num_cpus")
        assert len(gpus) == nodes and set(gpus.values()) == {GPUS} and max(cpus.values()) <= CPUS
        assert placement.options("rollout", nodes - 1)["num_gpus"] == 4
        ranks = Counter(placed(placement)["learner"])
        assert len(ranks) <= nodes // 2 + 1  # packed, not spread over every node
    more = RunConfig(rollout=RolloutConfig(engines=nodes + 1, tensor_parallel=4, threads=4), learner=config.learner)
    with pytest.raises(ConfigError, match=f"asks for {8 * nodes + 4} GPU .*the cluster has {8 * nodes};"):
        join(light, more)
    wide = RunConfig(rollout=RolloutConfig(engines=1, tensor_parallel=12))
    wanted = "the cluster has 8;" if nodes == 1 else "one rollout actor asks for 12 GPU, the largest node has 8"
    with pytest.raises(ConfigError, match=wanted):
        join(light, wide)


class Where:
    """An actor that reports its GPU."""

    def gpu(self) -> tuple[str, list[str]]:
        import ray

        context = ray.get_runtime_context()
        return context.get_node_id(), context.get_accelerator_ids()["GPU"]


def test_an_engine_that_shares_memory_with_a_rank_lives_on_its_gpu(cluster: Any):
    import ray

    grow(cluster, [(2, 1), (2, 1)])
    sizes = RunConfig(rollout=RolloutConfig(engines=2), learner=LearnerConfig(ranks=2), push=PushConfig(backend="ipc"))
    with Placement(cluster.address, lambda gpus: roles(sizes, gpus=gpus)[1:3]) as placement:
        actors = [placement.start(role, Where, index) for role in ("learner", "rollout") for index in (0, 1)]
        learner_0, learner_1, engine_0, engine_1 = ray.get([actor.gpu.remote() for actor in actors], timeout=120)
    assert (learner_0, learner_1) == (engine_0, engine_1) and learner_0 != learner_1


def test_large_actors_are_placed_before_small_ones_fragment_the_nodes(light: Any):
    grow(light, [(4, 0), (2, 0)])
    asked = (Role(name="data", count=2, num_cpus=1), Role(name="learner", count=1, num_cpus=4))
    with Placement(light.address, lambda gpus: asked) as placement:
        nodes = placed(placement)
        assert len(set(nodes["data"])) == 1 and nodes["learner"][0] not in nodes["data"]
