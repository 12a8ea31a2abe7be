"""P9: a whole node dies, and with it an engine. On Ray's test cluster, with the placement of a real run."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import ray
from chaos.world import FAULT, World, live, require_complete
from ray.cluster_utils import Cluster

from vrl.actors.placement import Placement, Role
from vrl.errors import WorkerError
from vrl.lifecycle import first_cause

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]
STORE = {"object_store_memory": 100 * 2**20, "include_dashboard": False}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head with room for two reward workers and one engine; the other engine needs a second node."""
    if ray.is_initialized():
        ray.shutdown()
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))  # for the workers of all nodes
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 3, **STORE})
    yield cluster
    cluster.shutdown()


def two_engines(_gpus: bool) -> tuple[Role, ...]:
    """One engine has room next to the reward workers, the other needs the second node."""
    return Role(name="reward", count=2, num_cpus=1), Role(name="rollout", count=2, num_cpus=1)


def test_p9_the_engine_of_a_dead_node_restarts_on_another_node(tmp_path: Path, cluster: Cluster):
    second = cluster.add_node(num_cpus=1, **STORE)
    cluster.wait_for_nodes()

    async def scenario(world: World) -> None:
        await world.at_step(3)
        cluster.remove_node(second, allow_graceful=False)
        await world.at_step(world.driver.progress.step + 5)  # on the remaining engine
        assert world.engines.restarts == 0
        cluster.add_node(num_cpus=1, **STORE)
        await world.restarted()
        world.driver.stop_soon()

    with Placement(str(cluster.address), two_engines) as placement:
        world = live(tmp_path, scenario, steps=10**6, start=placement.start)
    require_complete(world, steps=world.driver.progress.step)
    assert world.engines.restarts == 1 and world.driver.counts.dropped == {}


NO_ROOM = replace(FAULT, placement_timeout_s=4.0)


def test_p9_without_another_node_the_run_continues_with_the_remaining_engine(tmp_path: Path, cluster: Cluster):
    second = cluster.add_node(num_cpus=1, **STORE)
    cluster.wait_for_nodes()

    async def scenario(world: World) -> None:
        await world.at_step(3)
        cluster.remove_node(second, allow_graceful=False)
        while not world.engines.num_lost:
            await asyncio.sleep(0.1)
        await world.at_step(world.driver.progress.step + 5)
        assert (world.engines.num_lost, world.engines.restarts) == (1, 0)
        world.driver.stop_soon()

    with Placement(str(cluster.address), two_engines) as placement:
        room_for = partial(placement.room_for, "rollout")
        world = live(tmp_path, scenario, steps=10**6, start=placement.start, fault=NO_ROOM, room_for=room_for)
    require_complete(world, steps=world.driver.progress.step)


def test_p9_without_another_node_the_last_engine_ends_the_run_and_says_why(tmp_path: Path, cluster: Cluster):
    second = cluster.add_node(num_cpus=4, **STORE)
    cluster.wait_for_nodes()

    def wanted(_gpus: bool) -> tuple[Role, ...]:
        return Role(name="reward", count=2, num_cpus=1), Role(name="rollout", count=1, num_cpus=4)

    async def scenario(world: World) -> None:
        await world.at_step(3)
        cluster.remove_node(second, allow_graceful=False)

    with Placement(str(cluster.address), wanted) as placement, pytest.raises(BaseExceptionGroup) as caught:
        room_for = partial(placement.room_for, "rollout")
        live(tmp_path, scenario, steps=10**6, num_engines=1, start=placement.start, fault=NO_ROOM, room_for=room_for)
    cause = first_cause(caught.value)
    assert isinstance(cause, WorkerError) and "no node had room for it in 4 s (fault.placement_timeout_s)" in str(cause)


def test_a_private_ray_is_separate_from_a_running_cluster(cluster: Cluster):
    with Placement("", lambda _gpus: (Role(name="reward", count=1, num_cpus=1),)):
        assert ray.get_runtime_context().gcs_address != cluster.address and len(ray.nodes()) == 1
