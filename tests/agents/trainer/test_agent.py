"""The Trainer agent on the in-memory bus: a request in, a bundle out, and never a process left behind."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from agents.feed.synthetic import SyntheticConfig, SyntheticSource, synthetic_instruments
from agents.risk.instruments import instruments_by_name
from agents.trainer import TrainerAgent, TrainerConfig
from agents.trainer.config import LearnerConfig
from bundles import load_bundle
from bundles.features import TS
from bundles.signing import SigningKey, TrustStore
from messages import (
    TOPICS,
    BundleReady,
    Bus,
    NewRecord,
    Partition,
    TrainProgress,
    TrainRequest,
    TrainResult,
    VirtualClock,
    decode,
    encode,
)
from messages.bus.memory.broker import MemoryBroker

START_NS = 1_767_603_600_000_000_000
ANNOUNCE_NS = START_NS + 1_000 * 10**9
TICKS = list(SyntheticSource(SyntheticConfig(ticks=3000, instruments=2)))
MIDDLE_NS = TICKS[2200].ts_recv
REQUEST = TrainRequest(
    run_id="r1",
    strategy="momentum",
    instruments=("SYN-A", "SYN-B"),
    algorithm="dqn",
    timesteps=600,
    seed=1,
    sequence=4,
    ts=START_NS,
    data_to=MIDDLE_NS,
    announce_at=ANNOUNCE_NS,
)


class World(NamedTuple):
    broker: MemoryBroker
    clock: VirtualClock
    bus: Bus
    models: Path
    key: SigningKey
    agent: TrainerAgent

    async def publish(self, topic: str, key: str, message: msgspec.Struct) -> None:
        producer = await self.bus.producer()
        await producer.publish(topic, NewRecord(key=key.encode(), value=encode(message)))

    def read(self, topic: str, kind: type[Any]) -> list[Any]:
        records = [
            record
            for number in range(self.broker.count(topic))
            for record in self.broker.log(Partition(topic, number)).records
        ]
        return [message for record in records if isinstance(message := decode(topic, record.value), kind)]

    async def eventually(self, is_so: Callable[[], bool], timeout_s: float = 60.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not is_so():  # noqa: ASYNC110 - files of another process have no event
                await asyncio.sleep(0.01)


@asynccontextmanager
async def world(
    directory: Path, *, feed: bool = True, before_start: tuple[TrainRequest, ...] = ()
) -> AsyncIterator[World]:
    clock = VirtualClock(START_NS)
    broker = MemoryBroker(clock=clock)
    bus = broker.connect("trainer")
    await bus.create_topics(TOPICS.values(), shards=2)
    key = SigningKey.generate()
    key.write(directory / "trainer.key")
    config = TrainerConfig(
        models_dir=str(directory / "models"),
        signing_key=str(directory / "trainer.key"),
        registry_uri=str(directory / "registry"),
        learner=LearnerConfig(learning_starts=100, parallel_environments=4, batch_size=32),
        progress_every=200,
    )
    agent = TrainerAgent(config, bus=bus, clock=clock, instruments=instruments_by_name(synthetic_instruments(2)))
    here = World(broker, clock, bus, directory / "models", key, agent)
    if feed:
        for tick in TICKS:
            await here.publish("market", tick.instrument, tick)
    for request in before_start:
        await here.publish("training", request.run_id, request)
    await agent.start()
    running = asyncio.ensure_future(agent.run())
    try:
        yield here
    finally:
        await agent.stop()
        await asyncio.wait_for(running, 10)


async def test_a_request_ends_in_a_signed_bundle_announced_when_it_is_due(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.publish("training", "r1", REQUEST)
        await here.eventually(lambda: len(list((tmp_path / "registry").glob("*/metadata.json"))) == 1)
        await here.broker.settle()
        assert here.read("bundles", BundleReady) == []
        assert len(here.read("training", TrainProgress)) >= 2
        here.clock.set(ANNOUNCE_NS)
        await here.eventually(lambda: bool(here.read("training", TrainResult)))
        [ready], [result] = here.read("bundles", BundleReady), here.read("training", TrainResult)
        assert (result.outcome, result.bundle_id, result.uri) == ("published", ready.bundle_id, ready.uri)
        assert (ready.strategy, ready.sequence, ready.created) == ("momentum", 4, ANNOUNCE_NS)
        assert result.figures["flat_pnl_bps"] == 0.0
        bundle = load_bundle(ready.uri, trust=TrustStore.of([here.key]))
        assert bundle.manifest.instruments == ("SYN-A", "SYN-B")
        with np.load(here.models / "r1" / "ticks.npz") as data:
            rows = np.concatenate([data["SYN-A"], data["SYN-B"]])
        used = [tick for tick in TICKS if tick.ts_recv <= MIDDLE_NS]
        assert len(rows) == len(used)
        assert rows.view(np.int64)[:, TS].max() == MIDDLE_NS


async def test_requests_older_than_the_start_are_not_served_and_bad_ones_are_answered(tmp_path: Path) -> None:
    replace = msgspec.structs.replace
    async with world(tmp_path, before_start=(REQUEST,)) as here:
        await here.publish("training", "r2", replace(REQUEST, run_id="r2", instruments=("NOPE",)))
        await here.publish("training", "r3", replace(REQUEST, run_id="../escape"))
        await here.publish("training", "r4", replace(REQUEST, run_id="r4", data_to=START_NS))
        await here.eventually(lambda: len(here.read("training", TrainResult)) == 3)
        unknown, odd, empty = here.read("training", TrainResult)
        assert {unknown.outcome, odd.outcome, empty.outcome} == {"failed"}
        assert "NOPE" in unknown.reason
        assert "directory" in odd.reason
        assert "usable quotes" in empty.reason
        assert not (here.models / "r1").exists()


async def test_stopping_ends_the_worker(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.publish("training", "r1", msgspec.structs.replace(REQUEST, timesteps=10_000_000))
        pid_file = here.models / "r1" / "worker.pid"
        await here.eventually(lambda: pid_file.exists() and pid_file.read_text() != "")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


async def test_a_record_that_is_no_message_goes_to_the_dead_letters(tmp_path: Path) -> None:
    async with world(tmp_path, feed=False) as here:
        producer = await here.bus.producer()
        await producer.publish("training", NewRecord(key=b"x", value=b"{nonsense"))
        await producer.publish("market", NewRecord(key=b"SYN-A", value=b"{nonsense"))
        dead = Partition("dead-letters", 0)
        await here.eventually(lambda: len(here.broker.log(dead).records) == 1)
