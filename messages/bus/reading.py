"""Bounded reads: a range of a partition, or all that is there now."""

from collections.abc import Iterable, Mapping

from messages.bus.protocol import Bus, Consumer, Partition, Record
from messages.codec import decode
from messages.errors import BusTimeout, Refused

IDLE_POLLS = 100
POLL_S = 0.1


def message_in(record: Record) -> object:
    """Return the message of a record; None where it can't be read: whoever the topic belongs to parks it."""
    try:
        message: object = decode(record.topic, record.value, record.headers)
    except Refused:
        return None
    return message


async def read_newest(bus: Bus, partition: Partition, most: int) -> list[Record]:
    """Return the newest records of a partition, at most so many, in offset order. Raises BusTimeout as `read_range`."""
    consumer = await bus.consumer()
    try:
        end = (await consumer.end_offsets([partition]))[partition]
    finally:
        await consumer.stop()
    return await read_range(bus, {partition: (max(0, end - most), end)})


async def read_range(bus: Bus, ranges: Mapping[Partition, tuple[int, int]]) -> list[Record]:
    """Return the records of each partition with offsets in [start, end), in offset order within a partition.

    What retention has removed is left out. Raises BusTimeout when the end is not reached although it exists.
    """
    wanted = {partition: bounds for partition, bounds in ranges.items() if bounds[0] < bounds[1]}
    if not wanted:
        return []
    consumer = await bus.consumer()
    try:
        first = await consumer.beginning_offsets(wanted)
        positions = {partition: max(first[partition], start) for partition, (start, _) in wanted.items()}
        await consumer.assign(positions)
        ends = {partition: end for partition, (_, end) in wanted.items() if positions[partition] < end}
        return [record for record in await _until(consumer, ends) if _is_wanted(record, wanted)]
    finally:
        await consumer.stop()


async def read_all(bus: Bus, topics: Iterable[str]) -> tuple[list[Record], dict[Partition, int]]:
    """Return all records of the topics as of now, and the positions from which to follow."""
    partitions = [Partition(topic, number) for topic in topics for number in range(await bus.partition_count(topic))]
    consumer = await bus.consumer()
    try:
        ends = await consumer.end_offsets(partitions)
    finally:
        await consumer.stop()
    return await read_range(bus, {partition: (0, end) for partition, end in ends.items()}), ends


async def _until(consumer: Consumer, ends: Mapping[Partition, int]) -> list[Record]:
    records: list[Record] = []
    idle = 0
    while any(consumer.position(partition) < end for partition, end in ends.items()):
        polled = await consumer.poll(max_records=2048, timeout_s=POLL_S)
        records += polled
        idle = 0 if polled else idle + 1
        if idle > IDLE_POLLS:
            raise BusTimeout(f"reading {', '.join(f'{p.topic}-{p.number}' for p in ends)}", IDLE_POLLS * POLL_S)
    return records


def _is_wanted(record: Record, wanted: Mapping[Partition, tuple[int, int]]) -> bool:
    start, end = wanted[Partition(record.topic, record.partition)]
    return start <= record.offset < end
