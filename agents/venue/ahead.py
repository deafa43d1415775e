"""Reading `orders` ahead of `market`: a venue that lags must know a cancel before it looks at what came after it."""

from collections.abc import Mapping, Sequence

from messages import BusTimeout, Consumer, Partition, Record

_POLL_S = 0.1
_IDLE_POLLS = 100


async def read_ahead(consumer: Consumer, ends: Mapping[Partition, int], waiting: Sequence[Partition]) -> list[Record]:
    """Return what is left of some partitions up to `ends`, which exist; those in `waiting` wait meanwhile.

    Raises BusTimeout when an end is not reached.
    """
    if _are_reached(consumer, ends):
        return []
    records: list[Record] = []
    idle = 0
    consumer.pause(waiting)
    try:
        while not _are_reached(consumer, ends):
            polled = await consumer.poll(max_records=2048, timeout_s=_POLL_S)
            records += polled
            idle = 0 if polled else idle + 1
            if idle > _IDLE_POLLS:
                raise BusTimeout("reading `orders` ahead", _IDLE_POLLS * _POLL_S)
    finally:
        consumer.resume(waiting)
    return records


def _are_reached(consumer: Consumer, ends: Mapping[Partition, int]) -> bool:
    return all(consumer.position(partition) >= end for partition, end in ends.items())
