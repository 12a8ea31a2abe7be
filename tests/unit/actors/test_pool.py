import asyncio

from ray.exceptions import ActorDiedError, RayTaskError

from vrl.actors.pool import ActorPool
from vrl.actors.ray_errors import unwrap
from vrl.config import FaultConfig
from vrl.errors import ConfigError


def test_an_empty_fleet_is_ready_and_closes():
    async def scenario():
        pool = ActorPool("rollout", lambda index: None, 0, timeout_s=1, fault=FaultConfig())
        await pool.ready()
        assert pool.alive == () and len(pool) == 0 and await pool.ask((), "pause") == []
        await pool.close("shutdown")

    asyncio.run(scenario())


def test_what_a_constructor_raised_is_found_in_the_death_of_its_actor():
    cause = ConfigError("learner.lora.targets: got 'x'")
    task = RayTaskError("__init__", "trace", cause)
    assert unwrap(ActorDiedError(task)) is cause and unwrap(task) is cause
    assert unwrap(ActorDiedError()) is None
