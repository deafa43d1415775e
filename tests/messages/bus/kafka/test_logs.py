"""What an outage may write into the log."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from agents.lifecycle import local_kafka
from messages import NewRecord, Partition
from messages.bus.kafka.bus import KafkaBus
from messages.bus.kafka.calls import KafkaTimeouts
from messages.bus.kafka.logs import LogLimit, limit_logs
from messages.errors import Retryable
from tests.brokers import own_broker
from tests.clusters import Heard, create


class Watch:
    """A clock that shows what it is set to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now_ns(self) -> int:
        raise NotImplementedError

    def perf_ns(self) -> int:
        return round(self.seconds * 1e9)

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError

    async def wait(self, waiter: asyncio.Future[bool], timeout_s: float) -> bool:
        raise NotImplementedError


def line(text: str, *values: object, name: str = "aiokafka.conn") -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "conn.py", 1, text, values, None)


def test_of_each_kind_a_few_pass_and_the_next_window_says_how_many_did_not() -> None:
    clock = Watch()
    limit = LogLimit(clock, lines=2, window_s=10)
    assert [limit.filter(line("no answer from %s", node)) for node in range(5)] == [True, True, False, False, False]
    assert limit.filter(line("another %s", 1))
    clock.seconds = 10.0
    late = line("no answer from %s", 9)
    assert limit.filter(late)
    assert late.getMessage() == "no answer from 9 (3 more like it were left out)"
    clock.seconds = 20.0
    quiet = line("no answer from %s", 9)
    assert limit.filter(quiet)
    assert quiet.getMessage() == "no answer from 9"


def test_the_number_of_kinds_is_bounded() -> None:
    limit = LogLimit(Watch(), lines=1, window_s=10, kinds=3)
    assert sum(limit.filter(line(f"node {number} is away")) for number in range(1_000)) == 4


def test_loggers_are_bounded_once_those_below_too() -> None:
    names = ("noisy", "noisy.child", "noisier")
    loggers = [logging.getLogger(name) for name in names]
    limit_logs(Watch(), ["noisy"])
    limit_logs(Watch(), ["noisy"])
    assert [len(logger.filters) for logger in loggers] == [1, 1, 0]


@pytest.mark.kafka
async def test_an_outage_of_ten_seconds_writes_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    with own_broker() as broker:
        bus = KafkaBus(broker.url, timeouts=KafkaTimeouts(send_s=3, commit_s=1, stop_s=1, stall_s=2))
        await create(bus, "orders", "market")
        producer, owner, consumer = await bus.producer(), await bus.take_over("shard-1"), await bus.consumer()
        member = await bus.subscribe(["market"], "execution", Heard())
        await consumer.assign({Partition("orders", number): 0 for number in range(4)})
        await member.poll(timeout_s=0.5)
        local_kafka.kill(broker)
        caplog.clear()
        record = NewRecord(value=b"1")
        until_s = asyncio.get_running_loop().time() + 10
        await asyncio.gather(
            _use(lambda: producer.publish("orders", record, partition=1), until_s),
            _use(lambda: owner.publish("orders", record, partition=1), until_s),
            _use(lambda: consumer.poll(timeout_s=0.2), until_s),
            _use(lambda: member.poll(timeout_s=0.2), until_s),
        )
        written = [f"{line.name}: {line.getMessage()}" for line in caplog.records]
        assert 0 < len(written) < 30, written
        assert any(line.startswith("tickpilot.bus") and "stalled" in line for line in written)
        with suppress(Retryable):
            await bus.stop()


async def _use(call: Callable[[], Awaitable[object]], until_s: float) -> None:
    while asyncio.get_running_loop().time() < until_s:
        try:
            await call()
        except Retryable:
            await asyncio.sleep(0.1)
