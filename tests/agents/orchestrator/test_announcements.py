"""What the Orchestrator makes of a BundleReady: a Rollout, or a Rejected with the code and nothing on `control`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from agents.orchestrator.agent import OrchestratorAgent
from agents.orchestrator.config import OrchestratorConfig
from bundles.loader import LoadedBundle, load_bundle
from bundles.manifest import MANIFEST_NAME, POLICY_NAME
from bundles.signing import SigningKey, TrustStore
from messages import (
    TOPICS,
    BundleReady,
    Heartbeat,
    NewRecord,
    Partition,
    RejectCode,
    Rejected,
    Rollout,
    SystemClock,
    decode,
    encode,
)
from messages.bus.memory.broker import MemoryBroker
from messages.control import LogStarted, control_key
from tests.bundles.samples import CREATED, export_sample, tiny_module

WAIT_S = 20.0
CONTROL, STATUS, BUNDLES = Partition("control", 0), Partition("status", 0), Partition("bundles", 0)


class World:
    """An Orchestrator on the bus in memory, and whoever announces bundles."""

    def __init__(self, home: Path) -> None:
        self.home, self.key = home, SigningKey.generate()
        self.broker = MemoryBroker(clock=SystemClock())
        self._seen = dict.fromkeys((CONTROL, STATUS), 0)
        self._agent: OrchestratorAgent | None = None
        self._running: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self.broker.connect("test").create_topics(TOPICS.values(), shards=1)
        started = LogStarted(log_id="L")
        self.broker.append(CONTROL, [NewRecord(key=control_key(started).encode(), value=encode(started))])

    async def start(self) -> None:
        self._agent = OrchestratorAgent(
            config=OrchestratorConfig(),
            bus=self.broker.connect("orchestrator"),
            clock=SystemClock(),
            strategies={"AAA": "momentum"},
            trust=TrustStore.of([self.key]),
        )
        await self._agent.start()
        self._running = asyncio.create_task(self._agent.run())

    async def stop(self) -> None:
        if self._agent is not None and self._running is not None:
            await self._agent.stop()
            with suppress(asyncio.CancelledError):
                await self._running

    def made(self, sequence: int, **changes: Any) -> LoadedBundle:
        """A good bundle of this sequence, in `home`."""
        name = f"bundle-{sequence}"
        facts = {"run_name": name, "module": tiny_module(sequence), "sequence": sequence, **changes}
        return load_bundle(export_sample(self.home, self.key, **facts), trust=TrustStore.of([self.key]))

    def announce(self, bundle: LoadedBundle, **changes: Any) -> None:
        facts: dict[str, Any] = {
            "bundle_id": bundle.bundle_id,
            "strategy": bundle.manifest.strategy,
            "uri": (self.home / bundle.manifest.run_name).as_uri(),
            "sha256": bundle.digest,
            "sequence": bundle.manifest.sequence,
            "created": bundle.manifest.created,
        }
        ready = BundleReady(**{**facts, **changes})
        self.broker.append(BUNDLES, [NewRecord(key=ready.bundle_id.encode(), value=encode(ready))])

    async def answer(self) -> Rollout | Rejected:
        """The next Rollout or Rejected."""
        consumer = await self.broker.connect("observer").consumer()
        await consumer.assign(self._seen)
        try:
            async with asyncio.timeout(WAIT_S):
                while True:
                    for record in await consumer.poll(max_records=1, timeout_s=WAIT_S):
                        self._seen[Partition(record.topic, record.partition)] = record.offset + 1
                        message = decode(record.topic, record.value)
                        if isinstance(message, Rollout | Rejected):
                            return message
                        assert isinstance(message, LogStarted | Heartbeat)
        finally:
            await consumer.stop()

    async def refusal(self) -> RejectCode:
        answer = await self.answer()
        assert isinstance(answer, Rejected), answer
        return answer.code

    async def accepted(self) -> str:
        answer = await self.answer()
        assert isinstance(answer, Rollout), answer
        return answer.sha256


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    await world.open()
    await world.start()
    yield world
    await world.stop()


async def test_an_older_sequence_announced_again_is_refused_and_a_newer_one_is_not(world: World) -> None:
    old, new, newest = (world.made(sequence) for sequence in (7, 8, 9))
    world.announce(old)
    assert await world.accepted() == old.digest
    world.announce(new)
    assert await world.accepted() == new.digest
    world.announce(old)
    assert await world.refusal() is RejectCode.OLD_SEQUENCE
    world.announce(newest)
    assert await world.accepted() == newest.digest


async def test_the_sequence_that_counts_is_the_signed_one_whatever_the_announcement_says(world: World) -> None:
    old, new = world.made(7), world.made(8)
    world.announce(new)
    assert await world.accepted() == new.digest
    world.announce(old, sequence=99)
    assert await world.refusal() is RejectCode.OLD_SEQUENCE


async def test_an_older_sequence_is_still_refused_after_a_restart(world: World) -> None:
    old, new = world.made(7), world.made(8)
    world.announce(old)
    assert await world.accepted() == old.digest
    world.announce(new)
    assert await world.accepted() == new.digest
    await world.stop()
    await world.start()
    world.announce(old)
    assert await world.refusal() is RejectCode.OLD_SEQUENCE


async def test_an_announcement_that_says_other_than_what_is_signed_is_refused(world: World) -> None:
    bundle = world.made(7)
    for lie in ({"sequence": 2**62}, {"sequence": 0}, {"bundle_id": "another"}):
        world.announce(bundle, **lie)
        assert await world.refusal() is RejectCode.BAD_METADATA
    world.announce(bundle)
    assert await world.accepted() == bundle.digest


@pytest.mark.parametrize("sequence", [0, 2**62])
async def test_after_a_restart_a_forged_announcement_of_what_is_live_neither_opens_nor_shuts_the_door(
    world: World, sequence: int
) -> None:
    old, live, new = (world.made(sequence) for sequence in (7, 8, 9))
    world.announce(live)
    assert await world.accepted() == live.digest
    await world.stop()
    world.announce(live, sequence=sequence, bundle_id="forged")
    await world.start()
    world.announce(old)
    assert await world.refusal() is RejectCode.OLD_SEQUENCE
    world.announce(new)
    assert await world.accepted() == new.digest


async def test_after_a_restart_without_its_store_the_announced_sequence_has_to_do(world: World) -> None:
    old, live = world.made(7), world.made(8)
    world.announce(live)
    assert await world.accepted() == live.digest
    await world.stop()
    (world.home / "bundle-8").rename(world.home / "away")
    await world.start()
    world.announce(old)
    assert await world.refusal() is RejectCode.OLD_SEQUENCE


async def test_an_expired_bundle_is_refused(world: World) -> None:
    world.announce(world.made(7, expires=CREATED + 1))
    assert await world.refusal() is RejectCode.EXPIRED


async def test_one_that_expires_later_is_accepted(world: World) -> None:
    bundle = world.made(7, expires=SystemClock().now_ns() + 3_600_000_000_000)
    world.announce(bundle)
    assert await world.accepted() == bundle.digest


async def test_what_was_changed_after_it_was_announced_is_refused(world: World) -> None:
    bundle, other = world.made(7), world.made(8)
    (world.home / "bundle-7" / POLICY_NAME).write_bytes(other.files[POLICY_NAME])
    world.announce(bundle)
    assert await world.refusal() is RejectCode.DIGEST_MISMATCH
    (world.home / "bundle-7" / MANIFEST_NAME).write_bytes(other.files[MANIFEST_NAME])
    world.announce(bundle)
    assert await world.refusal() is RejectCode.DIGEST_MISMATCH


async def test_strangers_and_other_strategies_are_refused(world: World) -> None:
    bundle = world.made(7)
    world.announce(bundle, strategy="other")
    assert await world.refusal() is RejectCode.WRONG_STRATEGY
    unsigned = load_bundle(export_sample(world.home, None, run_name="unsigned"), allow_unsigned=True)
    world.announce(unsigned)
    assert await world.refusal() is RejectCode.UNSIGNED
    stranger = load_bundle(export_sample(world.home, SigningKey.generate(), run_name="stranger"), allow_unsigned=True)
    world.announce(stranger)
    assert await world.refusal() is RejectCode.UNTRUSTED_KEY
