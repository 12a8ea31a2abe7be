"""Requested against available resources. Real placement: tests/cluster/test_topologies.py."""

from vrl.actors.placement import Role, bundles, misfits, roles
from vrl.config import LearnerConfig, PushConfig, RewardConfig, RolloutConfig, RunConfig

ENGINES = Role(name="rollout", count=2, num_cpus=1, num_gpus=4)
RANKS = Role(name="learner", count=8, num_cpus=2, num_gpus=1)


def test_a_run_that_fits_has_no_misfits():
    assert misfits(bundles((ENGINES, RANKS)), [{"CPU": 16, "GPU": 8}, {"CPU": 2, "GPU": 8, "memory": 1.0}]) == []
    assert misfits(bundles([Role(name="data", count=2, num_cpus=1)]), [{"CPU": 2}]) == []


def test_too_few_cpus_and_gpus_are_two_problems_with_both_numbers():
    cpus, gpus = misfits(bundles((ENGINES, RANKS)), [{"CPU": 8, "GPU": 8}, {"CPU": 8}])
    assert "asks for 18 CPU (rollout 2 x 1, learner 8 x 2), the cluster has 16" in cpus
    assert "asks for 16 GPU (rollout 2 x 4, learner 8 x 1), the cluster has 8" in gpus


def test_an_actor_larger_than_any_node_is_named_with_the_key_to_lower():
    (problem,) = misfits(bundles((ENGINES, RANKS)), [{"CPU": 6, "GPU": 2}] * 8)
    assert "one rollout actor asks for 4 GPU, the largest node has 2" in problem
    assert "rollout.tensor_parallel" in problem
    (problem,) = misfits(bundles([Role(name="learner", count=1, num_cpus=4)]), [{"CPU": 3}, {"CPU": 2}])
    assert "one learner actor asks for 4 CPU, the largest node has 3" in problem and "learner.threads" in problem


def test_a_role_without_actors_needs_no_resources():
    assert misfits(bundles([Role(name="retrieval", count=0, num_cpus=64, num_gpus=8)]), [{"CPU": 1}]) == []


def test_the_roles_of_a_run_with_gpus_without_and_with_shared_ones():
    config = RunConfig(
        rollout=RolloutConfig(engines=3, tensor_parallel=2, threads=5),
        learner=LearnerConfig(ranks=4, threads=6),
        reward=RewardConfig(workers=7),
    )
    assert [(r.name, r.count, r.num_cpus, r.num_gpus) for r in roles(config, gpus=True)] == [
        ("data", 1, 1, 0), ("learner", 4, 6, 1), ("rollout", 3, 5, 2), ("reward", 7, 1, 0),
    ]  # fmt: skip
    assert {r.num_gpus for r in roles(config, gpus=False)} == {0}
    assert [r.name for r in roles(config, gpus=True, engines=False)] == ["data", "learner"]
    shared = RunConfig(push=PushConfig(backend="ipc"), rollout=RolloutConfig(engines=4), learner=LearnerConfig(ranks=4))
    found = bundles(roles(shared, gpus=True))
    assert found == {"learner": [{"CPU": 2, "GPU": 1.0}] * 4, "data": [{"CPU": 1}], "reward": [{"CPU": 1}]}


def test_the_largest_rooms_are_reserved_first():
    small, cpus = Role(name="data", count=9, num_cpus=1), Role(name="learner", count=1, num_cpus=8)
    assert list(bundles((small, cpus, ENGINES))) == ["rollout", "learner", "data"]
