"""A replica that another owner has fenced ends, whatever else happens at that moment."""

import asyncio
from pathlib import Path

import pytest

from agents.execution.ownership import take_ownership
from bundles.loader import load_bundle
from bundles.signing import SigningKey, TrustStore
from messages import Partition, ProducerFenced
from tests.agents.execution.one_replica import WAIT_S, World
from tests.bundles.samples import export_sample


async def test_a_fenced_replica_ends_though_its_shard_is_revoked_while_it_lets_go(tmp_path: Path) -> None:
    key = SigningKey.generate()
    trust = TrustStore.of([key])
    directory = export_sample(tmp_path, key)
    world = World(load_bundle(directory, trust=trust), directory.as_uri(), trust)
    await world.start()
    runner = world.agent.live[0]
    letting_go, release = asyncio.Event(), runner.release

    async def release_slowly() -> None:
        letting_go.set()
        try:
            await asyncio.Event().wait()  # as long as a broker that does not answer: until somebody cancels
        finally:
            await release()

    runner.release = release_slowly  # type: ignore[method-assign]
    thief = await take_ownership(world._broker.connect("thief"), 0, "thief")
    world.show()
    async with asyncio.timeout(WAIT_S):
        await letting_go.wait()
        await world.agent.on_revoked([Partition("market", 0)])
        running, world._running = world._running, None
        assert running is not None
        with pytest.raises(ProducerFenced):
            await running
    await thief.release()
    await world.stop()
