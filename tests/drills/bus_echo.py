"""A program: a member of a group that answers each record of `market` with one on `orders`, at least once.

python -m tests.drills.bus_echo URL PREFIX

Offsets are committed after the answers are acknowledged. SIGTERM ends it in order.
"""

import asyncio
import json
import signal
import sys
from collections.abc import Sequence

from messages import Bus, Consumer, NewRecord, Partition, Producer, Record, Retryable, connect

_POLL_S = 0.5
_RETRY_S = 0.2


class _Listener:
    """Nothing to do: when `poll` tells of a revocation, everything delivered is answered and committed."""

    def on_assigned(self, partitions: Sequence[Partition]) -> None:
        print(f"assigned {sorted(p.number for p in partitions)}", file=sys.stderr)  # noqa: T201 - its log

    async def on_revoked(self, partitions: Sequence[Partition]) -> None:
        print(f"revoked {sorted(p.number for p in partitions)}", file=sys.stderr)  # noqa: T201 - its log


async def main(url: str, prefix: str) -> None:
    """Answer until the signal."""
    enough = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, enough.set)
    bus = connect(url, client="drill-echo", prefix=prefix)
    try:
        await _answer_all(bus, enough)
    finally:
        await bus.stop()


async def _answer_all(bus: Bus, enough: asyncio.Event) -> None:
    producer = await bus.producer()
    consumer = await bus.subscribe(["market"], "echo", _Listener())
    while not enough.is_set():
        try:
            records = await consumer.poll(timeout_s=_POLL_S)
        except Retryable as error:
            print(f"poll: {error}", file=sys.stderr)  # noqa: T201 - its log
            await asyncio.sleep(_RETRY_S)
            continue
        await asyncio.gather(*(_answer(producer, record) for record in records))
        await _commit(consumer, records)
    await consumer.stop()
    await producer.stop()


async def _answer(producer: Producer, record: Record) -> None:
    tick = json.loads(record.value or b"")
    answer = NewRecord(value=json.dumps({**tick, "type": "Echo", "offset": record.offset}).encode())
    while True:
        try:
            await producer.publish("orders", answer, partition=record.partition)
        except Retryable:
            await asyncio.sleep(_RETRY_S)
        else:
            return


async def _commit(consumer: Consumer, records: Sequence[Record]) -> None:
    offsets = {Partition("market", record.partition): record.offset + 1 for record in records}
    try:
        await consumer.commit(offsets)
    except Retryable as error:
        print(f"commit: {error}", file=sys.stderr)  # noqa: T201 - its log: the records come again


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
