"""Whatever `control` names, Execution answers on `status` and trades on with the bundle that it has."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from agents.execution.agent import ExecutionAgent
from agents.execution.config import ExecutionConfig
from agents.execution.scope import Scope
from agents.risk.instruments import Instrument
from agents.risk.limits import Limits
from bundles.actions import ActionMapping
from bundles.errors import BundleRefused
from bundles.loader import LoadedBundle, load_bundle
from bundles.manifest import MANIFEST_NAME, POLICY_NAME, Expectation, bundle_id, decode_manifest
from bundles.registry import read_files
from bundles.signing import SigningKey, TrustStore
from bundles.verifier import Verifier
from messages import (
    TOPICS,
    Activate,
    DecisionBatch,
    DenialCode,
    ExecutionReport,
    Heartbeat,
    NewRecord,
    Observation,
    Order,
    Partition,
    Quote,
    RejectCode,
    Rejected,
    ReportStatus,
    Rollout,
    Staged,
    Swapped,
    SystemClock,
    control_key,
    decode,
    encode,
)
from messages.bus.memory.broker import MemoryBroker
from messages.control import ControlMessage, LogStarted
from messages.reports import OrderPosition
from tests.bundles.attacks import ATTACKS
from tests.bundles.attacks_code import CODE_ATTACKS
from tests.bundles.hostile import Attack, Prey, announced_digest, place
from tests.bundles.samples import OBS, export_sample, resigned, tiny_module, write_all

WAIT_S = 60.0
T = TypeVar("T")
LOST = SigningKey.generate()


def classes() -> list[Attack]:
    """One attack of each group and code that Execution judges, and what only a whole agent can be shown."""
    found: dict[tuple[str, RejectCode], Attack] = {}
    for attack in [*ATTACKS, *CODE_ATTACKS]:
        is_judged_here = attack.expected == Expectation() and attack.code is not RejectCode.REVOKED_KEY
        if is_judged_here and (not attack.endless or attack.code is RejectCode.TIMED_OUT):
            found.setdefault((attack.name.partition(":")[0], attack.code), attack)
    return [
        *found.values(),
        _signed("signature: by a revoked key", RejectCode.REVOKED_KEY, lambda prey: resigned(prey.files, LOST)),
        _signed(
            "unfit: another strategy",
            RejectCode.WRONG_STRATEGY,
            lambda prey: resigned(prey.files, prey.key, strategy="other"),
        ),
        _signed(
            "unfit: another instrument",
            RejectCode.WRONG_INSTRUMENTS,
            lambda prey: resigned(prey.files, prey.key, instruments=("BBB",)),
        ),
        _signed(
            "unfit: actions that mean no position",
            RejectCode.WRONG_SHAPE,
            lambda prey: resigned(prey.files, prey.key, actions=None),
        ),
        _signed(
            "unfit: limits that nobody knows",
            RejectCode.BAD_METADATA,
            lambda prey: resigned(prey.files, prey.key, limits={"max_positoin": 1.0}),
        ),
        _signed(
            "unfit: limits that make no sense",
            RejectCode.BAD_METADATA,
            lambda prey: resigned(prey.files, prey.key, limits={"max_position": -1.0}),
        ),
    ]


def _signed(name: str, code: RejectCode, make: Callable[[Prey], dict[str, bytes]]) -> Attack:
    return Attack(name=name, code=code, make=make)


def known_id(uri: str) -> str:
    """The bundle's id where it has one, so that it is refused for what is wrong with it."""
    try:
        return bundle_id(decode_manifest(read_files(uri)[MANIFEST_NAME]))
    except (BundleRefused, KeyError):
        return "unknown"


class World:
    """One replica on the bus in memory, its venue that fills at once, and whoever writes `control`."""

    def __init__(self, good: LoadedBundle, uri: str, trust: TrustStore) -> None:
        self.good, self._uri = good, uri
        self._clock = SystemClock()
        self._broker = MemoryBroker(clock=self._clock)
        self.agent = ExecutionAgent(
            config=ExecutionConfig(flush_interval_ms=5, risk_timeout_ms=600_000, staging_timeout_ms=1_500),
            scope=Scope(
                instruments={"AAA": Instrument(instrument="AAA", price_step=0.5, quantity_step=1.0)},
                strategies={"AAA": "momentum"},
                limits=Limits.convert({"defaults": {"duplicate_window_ms": 0}}),
                trust=trust,
            ),
            bus=self._broker.connect("execution"),
            clock=self._clock,
            verifier=Verifier(),
        )
        self._seen: dict[str, int] = {}
        self._running: asyncio.Task[None] | None = None
        self._rollout_at = self._active_at = -1
        rows = np.random.default_rng(0).standard_normal((256, OBS)).astype(np.float32) * 3
        by_action = {int(good.runtime.act(row)[0]): row for row in rows}
        self._turns = deque([by_action[2], by_action[0]])

    async def start(self) -> None:
        await self._broker.connect("operator").create_topics(TOPICS.values(), shards=1)
        self._control(LogStarted(log_id="L"))
        self.roll_out(self._uri, self.good.digest, self.good.bundle_id)
        self.activate(self.good.digest, self.good.bundle_id)
        await self.agent.start()
        self._running = asyncio.create_task(self.agent.run())
        beat = Heartbeat(agent_id="risk-1", agent="risk", ts=self._clock.now_ns(), state="live")
        self._append("status", b"risk-1/Heartbeat", encode(beat))
        await self.next("status", Swapped)

    async def stop(self) -> None:
        await self.agent.stop()
        if self._running is not None:
            with suppress(asyncio.CancelledError):
                await self._running

    def roll_out(self, uri: str, sha256: str, bundle_id: str) -> None:
        self._rollout_at = self._control(
            Rollout(
                strategy="momentum",
                bundle_id=bundle_id,
                uri=uri,
                sha256=sha256,
                expects=self._rollout_at,
                ts=self._clock.now_ns(),
                who="test",
            )
        )

    def activate(self, sha256: str, bundle_id: str) -> None:
        self._active_at = self._control(
            Activate(
                strategy="momentum",
                instrument="AAA",
                bundle_id=bundle_id,
                sha256=sha256,
                expects=self._active_at,
                ts=self._clock.now_ns(),
                who="test",
            )
        )

    def show(self) -> int:
        """Show the policy what it answers otherwise; return the time of it."""
        now = self._clock.now_ns()
        self._turns.rotate()
        values = tuple(float(value) for value in self._turns[0])
        quote = Quote(instrument="AAA", ts_recv=now, bid=100.0, bid_size=5.0, ask=100.5, ask_size=5.0)
        self._append("market", b"AAA", encode(quote))
        self._append("market", b"AAA", encode(Observation(instrument="AAA", ts_recv=now, values=values)))
        return now

    async def trade(self) -> Order:
        """Return the order that follows what the policy is shown, filled."""
        now = self.show()
        offset, order = await self.next("orders", Order)
        report = ExecutionReport(
            exec_id=order.order_id,
            order_id=order.order_id,
            instrument="AAA",
            ts_event=now,
            side=order.side,
            strategy="momentum",
            bundle_id=order.bundle_id,
            status=ReportStatus.FILLED,
            report_seq=0,
            cumulative_quantity=order.quantity,
            average_price=100.0,
            cumulative_fee=0.0,
            leaves_quantity=0.0,
            order=OrderPosition(partition=0, offset=offset),
        )
        self._append("reports", b"AAA", encode(report))
        await self._broker.settle()
        return order

    async def next(self, topic: str, *kinds: type[T]) -> tuple[int, T]:
        """Wait for the next message of that kind, and skip others."""
        consumer = await self._broker.connect("observer").consumer()
        await consumer.assign({Partition(topic, 0): self._seen.get(topic, 0)})
        try:
            async with asyncio.timeout(WAIT_S):
                while True:
                    for record in await consumer.poll(max_records=1, timeout_s=WAIT_S):
                        self._seen[topic] = record.offset + 1
                        message = decode(topic, record.value)
                        if isinstance(message, kinds):
                            return record.offset, message
        finally:
            await consumer.stop()

    def _control(self, message: ControlMessage) -> int:
        return self._append("control", control_key(message).encode(), encode(message))

    def _append(self, topic: str, key: bytes, value: bytes) -> int:
        return self._broker.append(Partition(topic, 0), [NewRecord(key=key, value=value)])


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
async def world(tmp_path: Path, key: SigningKey) -> AsyncIterator[World]:
    good = export_sample(tmp_path / "good", key)
    trust = TrustStore.of([key, LOST], revoked=[LOST.key_id])
    world = World(load_bundle(good, trust=trust), good.as_uri(), trust)
    await world.start()
    yield world
    await world.stop()


@pytest.mark.timeout(120)  # each class in turn, and an endless one costs a new verifier process
async def test_after_each_class_of_attack_the_old_bundle_trades_and_the_code_is_on_status(
    world: World, tmp_path: Path, key: SigningKey
) -> None:
    files = read_files(str(export_sample(tmp_path / "new", key, module=tiny_module(1), sequence=8)))
    other = read_files(str(export_sample(tmp_path / "other", key, module=tiny_module(2), sequence=9)))
    assert (await world.trade()).bundle_id == world.good.bundle_id
    for number, attack in enumerate(classes()):
        prey = Prey(files=files, other=other, key=key, trust=TrustStore.of([key]), room=tmp_path / f"room-{number}")
        prey.room.mkdir()
        uri = place(attack, prey)
        digest = announced_digest(uri)
        world.roll_out(uri, digest, known_id(uri))
        _, rejected = await world.next("status", Rejected, Staged)
        assert isinstance(rejected, Rejected), attack.name
        assert (rejected.code, rejected.sha256) == (attack.code, digest), f"{attack.name}: {rejected.detail}"
        order = await world.trade()
        assert order.bundle_id == world.good.bundle_id, attack.name
        assert not prey.marker.exists(), attack.name


async def test_activating_a_refused_bundle_moves_nothing_until_it_is_whole_again(
    world: World, tmp_path: Path, key: SigningKey
) -> None:
    new = export_sample(tmp_path / "new", key, module=tiny_module(1), sequence=8)
    loaded = load_bundle(new, trust=TrustStore.of([key]))
    policy = new / POLICY_NAME
    policy.write_bytes(policy.read_bytes()[:-1])
    world.roll_out(new.as_uri(), loaded.digest, loaded.bundle_id)
    _, rejected = await world.next("status", Rejected, Staged)
    assert isinstance(rejected, Rejected)
    assert rejected.code is RejectCode.DIGEST_MISMATCH
    world.activate(loaded.digest, loaded.bundle_id)
    assert (await world.trade()).bundle_id == world.good.bundle_id

    policy.write_bytes(loaded.files[POLICY_NAME])
    world.roll_out(new.as_uri(), loaded.digest, loaded.bundle_id)
    _, swapped = await world.next("status", Rejected, Swapped)
    assert isinstance(swapped, Swapped)
    assert swapped.bundle_id == loaded.bundle_id


async def test_a_bundle_with_an_absurd_position_is_asked_and_not_obeyed(
    world: World, tmp_path: Path, key: SigningKey
) -> None:
    """What it wants is beyond the numbers that a log can hold; nothing of it gets there."""
    files = read_files(str(export_sample(tmp_path / "new", key, sequence=8)))
    absurd = write_all(
        tmp_path / "absurd", resigned(files, key, actions=ActionMapping(kind="levels", max_position=1e300))
    )
    loaded = load_bundle(absurd, trust=TrustStore.of([key]))
    world.roll_out(absurd.as_uri(), loaded.digest, loaded.bundle_id)
    world.activate(loaded.digest, loaded.bundle_id)
    await world.next("status", Swapped)
    world.show()
    _, batch = await world.next("decisions", DecisionBatch)
    while not (codes := [d.denial.code for step in batch.steps for d in step.decisions if d.denial is not None]):
        _, batch = await world.next("decisions", DecisionBatch)
    assert codes == [DenialCode.POLICY_ERROR]
