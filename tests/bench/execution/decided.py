"""What the log says of a run: the steps of an Execution agent, read back from `decisions`."""

import asyncio
from collections import Counter
from collections.abc import Callable

from messages import Bus, DecisionBatch, LoggedStep, Partition, Record, decode
from messages.bus.reading import read_range

_LOOK_S = 0.05
_LIMIT_S = 300.0


async def until_decided(bus: Bus, count: int, look: Callable[[], object] = lambda: None) -> None:
    """Return when so many market records have an outcome; `look` is called now and then. Raises TimeoutError.

    Nothing is decoded: the agent is measured meanwhile.
    """
    decisions, consumer = Partition("decisions", 0), await bus.consumer()
    try:
        end = (await consumer.end_offsets([decisions]))[decisions]
        await consumer.assign({decisions: max(0, end - 1)})
        decided = 0
        async with asyncio.timeout(_LIMIT_S):
            while decided < count:
                for record in await consumer.poll(timeout_s=_LOOK_S):
                    decided = max(decided, _market_to(record.value or b""))
                look()
    finally:
        await consumer.stop()


def _market_to(batch: bytes) -> int:
    """Return where the last step of a batch ends."""
    name = b'"market_to":'
    at = batch.rfind(name)
    return -1 if at < 0 else int(batch[at + len(name) :].partition(b",")[0].rstrip(b"}"))


async def steps_of(bus: Bus) -> list[LoggedStep]:
    """Return all steps of shard 0."""
    found = [decode("decisions", record.value, record.headers) for record in await read_topic(bus, "decisions")]
    return [logged for batch in found if isinstance(batch, DecisionBatch) for logged in batch.steps]


def outcomes_of(steps: list[LoggedStep]) -> dict[str, int]:
    """Return how often there was what outcome, the most frequent first; denials under their codes."""
    counted = Counter(
        decision.outcome.value if decision.denial is None else str(decision.denial.code)
        for logged in steps
        for decision in logged.decisions
    )
    return dict(counted.most_common())


async def read_topic(bus: Bus, topic: str) -> list[Record]:
    """Return all records of partition 0 of a topic."""
    partition = Partition(topic, 0)
    consumer = await bus.consumer()
    try:
        end = (await consumer.end_offsets([partition]))[partition]
    finally:
        await consumer.stop()
    return await read_range(bus, {partition: (0, end)})
