"""The Risk agent through a real broker: a loss is halted at once, and a restart finds the same books."""

import asyncio
import secrets

import pytest

from agents.risk.agent import RiskAgent
from agents.risk.config import RiskConfig
from agents.risk.limits.file import Limits
from messages import (
    TOPICS,
    Bus,
    ExecutionReport,
    Halt,
    NewRecord,
    Partition,
    Producer,
    Quote,
    SystemClock,
    connect,
    decode,
    encode,
)
from tests.agents.risk.market import INSTRUMENTS, report

pytestmark = pytest.mark.kafka


async def started(bus: Bus) -> tuple[RiskAgent, asyncio.Task[None]]:
    risk = RiskAgent(
        config=RiskConfig(), bus=bus, clock=SystemClock(), instruments=INSTRUMENTS, limits=Limits(), cash=1_000.0
    )
    await risk.start()
    return risk, asyncio.create_task(risk.run())


async def publish(producer: Producer, topic: str, message: Quote | ExecutionReport) -> None:
    await producer.publish(topic, NewRecord(key=b"BTC", value=encode(message)))


async def test_a_loss_is_halted_and_a_restart_rebuilds_the_books_without_another_halt(kafka_url: str) -> None:
    bus = connect(kafka_url, prefix=f"{secrets.token_hex(4)}-")
    await bus.create_topics(TOPICS.values(), shards=2)
    producer, control = await bus.producer(), await bus.consumer()
    await control.assign({Partition("control", 0): 0})
    risk, running = await started(bus)
    await publish(producer, "reports", report(cumulative_quantity=5.0, cumulative_fee=0.1))
    quote = Quote(instrument="BTC", ts_recv=1, bid=50.0, bid_size=1, ask=50.5, ask_size=1)
    await publish(producer, "market", quote)
    records = await control.poll(timeout_s=10.0)
    assert [type(decode("control", record.value)) for record in records] == [Halt]
    books = risk.ledger.snapshot()
    assert risk.ledger.position_lots("BTC") == 500
    await risk.stop()
    await running
    risk, running = await started(bus)
    assert risk.ledger.snapshot() == books
    await risk.stop()
    await running
    assert await control.poll(timeout_s=0.2) == []
    await control.stop()
    await producer.stop()
    await bus.stop()
