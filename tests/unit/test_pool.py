import asyncio

from vrl.pool import ActorPool


def test_an_empty_fleet_is_ready_and_closes():
    async def scenario():
        pool = ActorPool("rollout", [], timeout_s=1)
        await pool.ready(1)
        assert await pool.broadcast("pause") == [] and len(pool) == 0
        await pool.close("shutdown")

    asyncio.run(scenario())
