"""A feeder under test conditions: a plain idempotent producer, and its own record of what was acknowledged."""

import json
import random
import threading
import time
from typing import NamedTuple

from confluent_kafka import KafkaError, Message, Producer

from tests.journeys.cluster_settings import BTC
from tests.journeys.plain_kafka import servers_of

_PRICES = {BTC: (60_000.0, 60_000.01), "SYN-A": (100.0, 100.01), "SYN-B": (2_500.0, 2_500.2)}
_TICK_S = 0.02
_FLUSH_S = 60.0


class Place(NamedTuple):
    """Where a record lies."""

    partition: int
    offset: int


class Load:
    """Quotes at a steady rate from `first_id` on; the id of each is its `seq`. Prices stand still, queues don't."""

    def __init__(self, url: str, prefix: str, *, rate_hz: float, first_id: int) -> None:
        self.acknowledged: dict[int, Place] = {}
        self.failed: dict[int, str] = {}
        self.next_id = first_id
        self._topic, self._rate_hz, self._first_id = f"{prefix}market", rate_hz, first_id
        self._random = random.Random(first_id)
        self._enough = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": servers_of(url),
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 1,
                "delivery.timeout.ms": 120_000,
                "reconnect.backoff.max.ms": 500,
                "log_level": 2,
            }
        )
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    @property
    def sent(self) -> int:
        """How many were handed to the client."""
        return self.next_id - self._first_id

    def stop(self) -> None:
        """Send no more, and return when all that was sent has its answer."""
        self._enough.set()
        self._thread.join(_FLUSH_S)
        assert self._producer.flush(_FLUSH_S) == 0, "the load's client got no answer for some records"
        assert len(self.acknowledged) + len(self.failed) == self.sent

    def _run(self) -> None:
        began = time.monotonic()
        while not self._enough.wait(_TICK_S):
            due = self._first_id + int((time.monotonic() - began) * self._rate_hz)
            while self.next_id < due:
                self._send(self.next_id)
                self.next_id += 1
            self._producer.poll(0)

    def _send(self, number: int) -> None:
        name = list(_PRICES)[number % len(_PRICES)]
        bid, ask = _PRICES[name]
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
