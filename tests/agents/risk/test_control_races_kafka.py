"""Two who halt and two who resume, each a client of its own, on a real broker at the same time."""

import asyncio
import secrets

import pytest

from messages import TOPICS, Bus, Halt, NewRecord, Producer, Resume, connect, control_key, decode, encode
from messages.bus.reading import read_all
from messages.control import ControlMessage
from messages.control_fold import ControlFold

pytestmark = pytest.mark.kafka

HALTS = 15


async def write(producer: Producer, message: ControlMessage) -> int:
    return await producer.publish("control", NewRecord(key=control_key(message).encode(), value=encode(message)))


async def fold_of(bus: Bus) -> ControlFold:
    fold = ControlFold()
    for record in (await read_all(bus, ["control"]))[0]:
        fold.apply(record.offset, decode("control", record.value))
    return fold


async def test_no_halt_ends_that_nobody_had_seen_and_all_readers_agree(kafka_url: str) -> None:
    prefix = f"{secrets.token_hex(4)}-"
    buses = [connect(kafka_url, prefix=prefix) for _ in range(4)]
    await buses[0].create_topics(TOPICS.values(), shards=1)
    written, seen, is_over = set[int](), set[int](), asyncio.Event()

    async def halt(bus: Bus, writer: str) -> None:
        producer = await bus.producer()
        for number in range(HALTS):
            message = Halt(scope="portfolio", level="halted", writer=f"{writer}-{number}", reason="r", ts=0)
            written.add(await write(producer, message))

    async def resume(bus: Bus, who: str) -> None:
        producer = await bus.producer()
        while not is_over.is_set():
            clears = tuple(found.offset for found in (await fold_of(bus)).halts.in_force())
            seen.update(clears)
            await write(producer, Resume(scope="portfolio", clears=clears, who=who, reason="r", ts=0))

    async with asyncio.TaskGroup() as tasks:
        resuming = [tasks.create_task(resume(bus, f"who-{n}")) for n, bus in enumerate(buses[2:])]
        async with asyncio.TaskGroup() as halting:
            for number, bus in enumerate(buses[:2]):
                halting.create_task(halt(bus, f"risk-{number}"))
        is_over.set()
    assert all(task.done() for task in resuming)
    folds = [(await fold_of(bus)).halts for bus in buses]
    assert len(written) == 2 * HALTS
    for halts in folds:
        assert {found.offset for found in halts.in_force()} == written - seen
        assert halts.snapshot() == folds[0].snapshot()
    for bus in buses:
        await bus.stop()
