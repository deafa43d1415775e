"""When a record of `orders` can be read: a process of its own, a plain client that does nothing else, notes it."""

import json
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, TopicPartition

from tests.journeys.plain_kafka import servers_of
from tests.journeys.processes import AgentProcess
from tests.waiting import eventually

_READY = "ready"


class Sightings:
    """Follows all partitions of `orders` from now on: when the last order of each instrument was read."""

    def __init__(self, url: str, prefix: str, partitions: int, home: Path) -> None:
        self._notes, self._read = home / "sightings.txt", 0
        self._notes.write_text("")
        command = [sys.executable, "-m", __name__, url, prefix, str(partitions), str(self._notes)]
        self._process = AgentProcess("sightings", command, home / "sightings.log")
        self._last_ns: dict[str, int] = {}

    def __enter__(self) -> Self:
        eventually(lambda: _READY in self._notes.read_text(), what="the reader of orders", timeout_s=30.0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()

    def last(self, *instruments: str) -> int:
        """Return when the last order of any of these was read (ns, this machine's clock); 0: never."""
        with self._notes.open("rb") as notes:
            notes.seek(self._read)
            new = notes.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.decode().splitlines():
            name, _, seen_ns = line.partition(" ")
            if seen_ns:
                self._last_ns[name] = int(seen_ns)
        return max(self._last_ns.get(name, 0) for name in instruments)


def main(url: str, prefix: str, partitions: int, notes: Path) -> None:
    """Note every order until killed: its instrument, and the time (ns)."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers_of(url),
            "group.id": f"{prefix}sightings",
            "enable.auto.commit": False,
            "auto.offset.reset": "latest",
            "isolation.level": "read_uncommitted",
            "fetch.wait.max.ms": 10,
            "log_level": 2,
        }
    )
    starts = [TopicPartition(f"{prefix}orders", number) for number in range(partitions)]
    for start in starts:
        start.offset = consumer.get_watermark_offsets(start, timeout=10.0)[1]
    consumer.assign(starts)
    with notes.open("a", buffering=1) as lines:
        lines.write(f"{_READY}\n")
        while True:
            message = consumer.poll(1.0)
            if message is None:
                continue
            seen_ns = time.time_ns()
            assert message.error() is None, message.error()
            order = json.loads(message.value())
            if order["type"] == "Order":
                lines.write(f"{order['instrument']} {seen_ns}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
