import asyncio

from ray.exceptions import ActorDiedError, RayTaskError

from vrl.actors.pool import ActorPool
from vrl.actors.ray_errors import unwrap
from vrl.config import FaultConfig
from vrl.errors import ConfigError


def test_an_empty_pool_is_ready_and_closes():
    async def scenario():
        pool = ActorPool("rollout", lambda index: None, 0, timeout_s=1, fault=FaultConfig(), shutdown="shutdown")
        await pool.ready()
        assert pool.alive == () and len(pool) == 0 and await pool.ask((), "pause") == []
        await pool.close()

    asyncio.run(scenario())


def test_the_error_of_a_constructor_is_unwrapped_from_the_death_of_its_actor():
    cause = ConfigError("learner.lora.targets: got 'x'")
    task = RayTaskError("__init__", "trace", cause)
    assert unwrap(ActorDiedError(task)) is cause and unwrap(task) is cause
    assert unwrap(ActorDiedError()) is None
