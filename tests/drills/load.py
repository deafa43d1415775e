"""A market under test conditions: a plain idempotent producer, and its own record of what was acknowledged."""

import json
import random
import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

from confluent_kafka import KafkaError, Message, Producer
from msgspec import Struct

from tests.journeys.plain_kafka import servers_of

_TICK_S = 0.01
_FLUSH_S = 60.0


class Place(NamedTuple):
    """Where a record lies."""

    partition: int
    offset: int


class Rhythm(Struct, frozen=True, kw_only=True):
    """Records a second: `quiet_hz`, but `burst_hz` in the first `burst_s` of each `every_s`."""

    quiet_hz: float
    burst_hz: float = 0.0
    burst_s: float = 0.0
    every_s: float = 1.0

    def due(self, after_s: float) -> int:
        """Return how many records are to be sent in the first `after_s` seconds."""
        rounds, rest_s = divmod(after_s, self.every_s)
        in_bursts_s = rounds * self.burst_s + min(rest_s, self.burst_s)
        return int(in_bursts_s * self.burst_hz + (after_s - in_bursts_s) * self.quiet_hz)


class Load:
    """Quotes of the instruments in `prices` (bid, ask), in turn, from the moment it is made.

    The id of each is its `seq`, from `first_id` on. Prices stand still, queues don't: on these the policies act.
    """

    def __init__(
        self, url: str, prefix: str, rhythm: Rhythm, prices: Mapping[str, tuple[float, float]], *, first_id: int
    ) -> None:
        self.acknowledged: dict[int, Place] = {}
        self.failed: dict[int, str] = {}
        self.next_id = first_id
        self._topic, self._rhythm, self._first_id = f"{prefix}market", rhythm, first_id
        self._prices, self._names, self._random = prices, list(prices), random.Random(first_id)
        self._enough = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": servers_of(url),
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 1,
                "delivery.timeout.ms": 120_000,
                "reconnect.backoff.max.ms": 500,
                "queue.buffering.max.messages": 1_000_000,
                "log_level": 2,
            }
        )
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    @property
    def sent(self) -> int:
        """How many were handed to the client."""
        return self.next_id - self._first_id

    def stop(self) -> list[str]:
        """Send no more, return when all that was sent has its answer: what failed."""
        self._enough.set()
        self._thread.join(_FLUSH_S)
        wrong = []
        if left := self._producer.flush(_FLUSH_S):
            wrong.append(f"the plain client got no answer for {left} records")
        if self.failed:
            wrong.append(f"{len(self.failed)} records of the plain client failed, as {next(iter(self.failed.items()))}")
        return wrong

    def _run(self) -> None:
        began = time.monotonic()
        while not self._enough.wait(_TICK_S):
            due = self._first_id + self._rhythm.due(time.monotonic() - began)
            while self.next_id < due:
                self._send(self.next_id)
                self.next_id += 1
            self._producer.poll(0)

    def _send(self, number: int) -> None:
        name = self._names[number % len(self._names)]
        bid, ask = self._prices[name]
        quote = {
            "type": "Quote",
            "instrument": name,
            "ts_recv": time.time_ns(),
            "seq": number,
            "bid": bid,
            "bid_size": float(self._random.randint(1, 100)),
            "ask": ask,
            "ask_size": float(self._random.randint(1, 100)),
        }

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if error is None:
                self.acknowledged[number] = Place(message.partition(), message.offset())
            else:
                self.failed[number] = str(error)

        self._producer.produce(self._topic, json.dumps(quote).encode(), key=name, on_delivery=on_delivery)
