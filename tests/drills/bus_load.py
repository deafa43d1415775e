"""A program: our own Producer publishes numbered records until SIGTERM, and notes what was acknowledged.

python -m tests.drills.bus_load URL PREFIX RATE_HZ FIRST_ID FILE

A record without acknowledgement is published again under its id; FILE gets one JSON line for each that is acknowledged.
"""

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import TextIO

from messages import Bus, NewRecord, Producer, Retryable, connect

PARTITIONS = 3
_TICK_S = 0.02
_RETRY_S = 0.2
_IN_FLIGHT = 500


async def main(url: str, prefix: str, rate_hz: float, first_id: int, notes: TextIO) -> None:
    """Publish until the signal; return when everything is acknowledged."""
    enough = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, enough.set)
    bus = connect(url, client="drill-load", prefix=prefix)
    try:
        await _publish(bus, rate_hz, first_id, notes, enough)
    finally:
        await bus.stop()


async def _publish(bus: Bus, rate_hz: float, first_id: int, notes: TextIO, enough: asyncio.Event) -> None:
    producer, room = await bus.producer(), asyncio.Semaphore(_IN_FLIGHT)
    number, began = first_id, time.monotonic()
    async with asyncio.TaskGroup() as sends:
        while not enough.is_set():
            await asyncio.sleep(_TICK_S)
            due = first_id + int((time.monotonic() - began) * rate_hz)
            while number < due:
                await room.acquire()
                sends.create_task(_publish_one(producer, number, notes, room))
                number += 1
    await producer.stop()


async def _publish_one(producer: Producer, number: int, notes: TextIO, room: asyncio.Semaphore) -> None:
    value = json.dumps({"type": "Tick", "id": number, "sent_ns": time.time_ns()}).encode()
    partition, attempts = number % PARTITIONS, 0
    while True:
        attempts += 1
        try:
            offset = await producer.publish("market", NewRecord(value=value), partition=partition)
        except Retryable:  # noted by its attempts
            await asyncio.sleep(_RETRY_S)
        else:
            break
    room.release()
    print(json.dumps({"id": number, "partition": partition, "offset": offset, "attempts": attempts}), file=notes)


if __name__ == "__main__":
    with Path(sys.argv[5]).open("a", buffering=1, encoding="utf-8") as file:
        asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), file))
