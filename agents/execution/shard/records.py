"""From a record to what a shard can use of it, or the reason why it is a dead letter. Pure."""

from collections.abc import Mapping

from agents.execution.shard.desk import Desk, Tick
from agents.execution.shard.intake import UNKNOWN_TYPE, UNTRADED
from agents.risk.instruments import MAX_STEPS
from messages import (
    Bar,
    ExecutionReport,
    Observation,
    Quote,
    Record,
    Refused,
    Trade,
    UnknownMessage,
    decode,
)
from messages.bus.partitioner import partition_of

MAX_FLOAT32 = 3.4028234663852886e38


class ShardReader:
    """Reads the records of one shard's topics."""

    def __init__(self, *, partition: int, partitions: int, desks: Mapping[str, Desk]) -> None:
        self._partition, self._partitions, self._desks = partition, partitions, desks
        self._keys = {name: name.encode() for name in desks}

    def market(self, record: Record) -> Tick | str:
        """Return the tick that a market record holds, or, for dead-letters, why it holds none."""
        try:
            message = decode("market", record.value, record.headers)
        except Refused as error:
            return str(error)
        if isinstance(message, UnknownMessage):
            return f"{UNKNOWN_TYPE} {message.type!r}"
        name: str = message.instrument
        if record.key == self._keys.get(name):
            return _off_grid(self._desks[name], message) or message
        return self._stranger(record, name)

    def _stranger(self, record: Record, name: str) -> str:
        """Return why a record of an instrument that is not this shard's, or under a strange key, is refused."""
        if record.key != name.encode():
            return f"wrong-partition: key {record.key!r} is not the instrument {name!r}; key records by instrument"
        if partition_of(record.key, self._partitions) != self._partition:
            return (
                f"wrong-partition: {name!r} belongs to partition {partition_of(record.key, self._partitions)} by "
                "murmur2; librdkafka and kcat need -X partitioner=murmur2_random"
            )
        return f"{UNTRADED}: {name!r}"

    def report(self, record: Record) -> ExecutionReport | str:
        """Return the report that a record holds, or, for dead-letters, why it holds none."""
        try:
            message = decode("reports", record.value, record.headers)
        except Refused as error:
            return str(error)
        if not isinstance(message, ExecutionReport):
            return f"{UNKNOWN_TYPE} {message.type!r}"
        if message.instrument not in self._desks:
            return f"unknown instrument {message.instrument!r}"
        return message


def _off_grid(desk: Desk, message: Tick) -> str | None:
    """Return why the numbers make no sense for the instrument: nothing that is computed of the others can overflow."""
    instrument = desk.instrument
    if type(message) is Quote:
        ticks, most = instrument.ticks, MAX_STEPS * instrument.quantity_step
        if (
            ticks(message.bid) is not None
            and ticks(message.ask) is not None
            and message.bid_size <= most
            and message.ask_size <= most
        ):
            return None  # nearly always, and the hot path: below is the search for the reason
        prices: tuple[float, ...] = (message.bid, message.ask)
        sizes: tuple[float, ...] = (message.bid_size, message.ask_size)
    elif type(message) is Trade:
        prices, sizes = (message.price,), (message.size,)
    elif type(message) is Bar:
        prices, sizes = (message.close,), (message.volume,)
        if max(message.open, message.high, message.low) > MAX_STEPS * instrument.price_step:
            return f"a price of {instrument.instrument} is beyond {MAX_STEPS} steps of {instrument.price_step}"
    else:
        return _beyond_float32(message.values) if isinstance(message, Observation) else None
    for price in prices:
        if instrument.ticks(price) is None:
            return f"price {price} of {instrument.instrument} is no multiple of price_step {instrument.price_step}"
    for size in sizes:
        if size > MAX_STEPS * instrument.quantity_step:
            return f"size {size} of {instrument.instrument} is beyond {MAX_STEPS} steps of {instrument.quantity_step}"
    return None


def _beyond_float32(values: tuple[float, ...]) -> str | None:
    largest = max(*values, -min(values))
    return None if largest <= MAX_FLOAT32 else f"a value of the observation is {largest}, too large for float32"
