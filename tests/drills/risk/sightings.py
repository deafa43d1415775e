"""When a record of `orders` can be read: a plain client that does nothing else notes it."""

import json
import threading
import time
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, TopicPartition

from tests.journeys.plain_kafka import servers_of


class Sightings:
    """Follows all partitions of `orders` from now on, in a thread: when the last order of each instrument was read."""

    def __init__(self, url: str, prefix: str, partitions: int) -> None:
        self._last_ns: dict[str, int] = {}
        self._enough = threading.Event()
        self._consumer = Consumer(
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
        topic = f"{prefix}orders"
        starts = [TopicPartition(topic, number) for number in range(partitions)]
        for start in starts:
            start.offset = self._consumer.get_watermark_offsets(start, timeout=10.0)[1]
        self._consumer.assign(starts)
        self._thread = threading.Thread(target=self._run, name="sightings", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._enough.set()
        self._thread.join(10.0)
        self._consumer.close()

    def last(self, *instruments: str) -> int:
        """Return when the last order of any of these was read (ns, this machine's clock); 0: never."""
        return max(self._last_ns.get(name, 0) for name in instruments)

    def _run(self) -> None:
        while not self._enough.is_set():
            for message in self._consumer.consume(num_messages=100, timeout=0.05):
                seen_ns = time.time_ns()
                assert message.error() is None, message.error()
                order = json.loads(message.value())
                if order["type"] == "Order":
                    self._last_ns[order["instrument"]] = seen_ns
