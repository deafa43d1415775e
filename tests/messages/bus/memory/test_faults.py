"""The in-memory bus under seeded faults: what was acknowledged is there once, and a seed can be run again."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest

from messages import Bus, BusTimeout, NewRecord, Partition, VirtualClock
from messages.bus.memory.broker import MemoryBroker
from messages.bus.memory.faults import FaultRates, SeededFaults
from messages.errors import Retryable
from messages.topics import TOPICS

RATES = FaultRates(delay=0.1, drop_acknowledgement=0.1, drop_request=0.05, revoke=0.01, expire=0.01, outage=0.005)
SHARDS, RECORDS = 3, 120
SEEDS = range(30)


class Worker:
    """A member that works off what it reads, then commits; duplicates are told by their value."""

    def __init__(self, bus: Bus, done: list[bytes], distinct: set[bytes]) -> None:
        self._bus, self._done, self._distinct = bus, done, distinct
        self._next: dict[Partition, int] = {}

    def on_assigned(self, partitions: Sequence[Partition]) -> None:
        self._next = {}

    async def on_revoked(self, partitions: Sequence[Partition]) -> None:
        with suppress(Retryable):  # whoever comes next reads it again
            await self._commit()

    async def run(self) -> None:
        consumer = self._consumer = await self._bus.subscribe(["market"], "workers", self)
        while len(self._distinct) < RECORDS:
            try:
                for record in await consumer.poll(max_records=5, timeout_s=0.2):
                    self._done.append(record.value or b"")
                    self._distinct.add(record.value or b"")
                    self._next[Partition(record.topic, record.partition)] = record.offset + 1
                await self._commit()
            except Retryable:
                continue
        await consumer.stop()

    async def _commit(self) -> None:
        if self._next:
            await self._consumer.commit(self._next)


class Trial:
    """One producer that asks again until it is told, two workers, and everything that a seed decides."""

    def __init__(self, seed: int) -> None:
        self.clock = VirtualClock(1_000_000_000_000)
        self.faults = SeededFaults(seed, RATES)
        self.broker = MemoryBroker(clock=self.clock, faults=self.faults, seed=seed)
        self.faults.bind(self.broker)
        self.acknowledged: list[tuple[int, int, bytes]] = []
        self.done: list[bytes] = []

    async def run(self) -> None:
        await self.broker.connect("test").create_topics([TOPICS["market"]], shards=SHARDS)
        distinct: set[bytes] = set()
        workers = [Worker(self.broker.connect(name), self.done, distinct) for name in ("a", "b")]
        tasks = [asyncio.ensure_future(work) for work in (self._feed(), *(worker.run() for worker in workers))]
        while not all(task.done() for task in tasks):
            await self.broker.settle()
            if (deadline := self.clock.next_deadline_ns()) is not None:
                self.clock.set(deadline)
            assert self.clock.now_ns() < 2_000_000_000_000, "it hangs"
        await asyncio.gather(*tasks)

    async def _feed(self) -> None:
        producer = await self.broker.connect("feeder").producer()
        for index in range(RECORDS):
            value = b"%d" % index
            while True:
                try:
                    offset = await producer.publish("market", NewRecord(value=value), partition=index % SHARDS)
                except Retryable:
                    continue
                self.acknowledged.append((index % SHARDS, offset, value))
                break

    def records(self) -> list[tuple[int, int, bytes]]:
        return [
            (number, record.offset, record.value or b"")
            for number in range(SHARDS)
            for record in self.broker.log(Partition("market", number)).records
        ]


@pytest.mark.parametrize("seed", SEEDS)
async def test_whatever_goes_wrong_the_acknowledged_is_there_and_all_of_it_is_worked_off(seed: int) -> None:
    trial = Trial(seed)
    await trial.run()
    there = trial.records()
    assert set(trial.acknowledged) <= set(there)
    for number in range(SHARDS):
        mine = [value for at, _, value in there if at == number]
        assert list(dict.fromkeys(mine)) == [b"%d" % index for index in range(number, RECORDS, SHARDS)]
    assert set(trial.done) == {b"%d" % index for index in range(RECORDS)}
    assert trial.faults.log


async def test_the_same_seed_is_the_same_run_and_another_is_not() -> None:
    first, again, other = Trial(7), Trial(7), Trial(8)
    for trial in (first, again, other):
        await trial.run()
    assert list(first.faults.log) == list(again.faults.log)
    assert first.done == again.done
    assert first.records() == again.records()
    assert list(first.faults.log) != list(other.faults.log)
    assert first.done != other.done


async def test_over_the_seeds_every_kind_of_fault_happens() -> None:
    happened = ""
    duplicates = 0
    for seed in range(6):
        trial = Trial(seed)
        await trial.run()
        happened += "\n".join(trial.faults.log)
        duplicates += len(trial.done) - len(set(trial.done))
    kinds = ("delayed", "acknowledgement dropped", "request dropped", "share anew", "run out", "is away")
    assert [kind for kind in kinds if kind not in happened] == []
    assert duplicates > 0


async def test_a_dropped_acknowledgement_is_a_timeout_of_a_record_that_is_there() -> None:
    faults = SeededFaults(1, FaultRates(drop_acknowledgement=1.0))
    broker = MemoryBroker(clock=VirtualClock(), faults=faults)
    faults.bind(broker)
    bus = broker.connect("feeder")
    await bus.create_topics([TOPICS["market"]], shards=SHARDS)
    producer = await bus.producer()
    with pytest.raises(BusTimeout):
        await producer.publish("market", NewRecord(value=b"1"), partition=0)
    assert [record.value for record in broker.log(Partition("market", 0)).records] == [b"1"]
    faults.end()
    assert await producer.publish("market", NewRecord(value=b"2"), partition=0) == 1


async def test_a_seed_alone_decides_who_is_next() -> None:
    async def order_of(seed: int) -> list[bytes | None]:
        broker = MemoryBroker(clock=VirtualClock(), seed=seed)
        bus = broker.connect()
        await bus.create_topics([TOPICS["market"]], shards=1)
        producers = [await bus.producer() for _ in range(6)]
        records = [NewRecord(value=b"%d" % index) for index in range(6)]
        sends = [each.publish("market", record) for each, record in zip(producers, records, strict=True)]
        await asyncio.gather(*sends)
        return [record.value for record in broker.log(Partition("market", 0)).records]

    orders = [await order_of(seed) for seed in range(10)]
    assert orders == [await order_of(seed) for seed in range(10)]
    assert len({tuple(order) for order in orders}) > 5
