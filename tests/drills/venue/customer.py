"""An owner of all shards without a policy: a market that walks, and orders of every kind on it, by a plain client."""

import json
import random
import threading
import time
from collections import defaultdict
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from tests.journeys.plain_kafka import Json, servers_of

QUOTES_HZ, ORDERS_HZ = 240, 60
_TICK_S = 0.01
_FLUSH_S = 60.0
_FORCES = ("IOC", "IOC", "FOK", "GTC", "GTC", "GTX")
_OF_OPEN_CANCELLED = 0.5


class Customer:
    """Feeds and orders from the moment it is made until `stop`; `instruments`: one for each partition, by number."""

    def __init__(self, url: str, prefix: str, instruments: tuple[str, ...], *, seed: int) -> None:
        self.orders: dict[str, Json] = {}
        self.failed: list[str] = []
        self._prefix, self._instruments, self._random = prefix, instruments, random.Random(seed)
        self._prices = dict.fromkeys(instruments, 1_000)
        self._newest: dict[str, int] = {}  # market offset, as the broker acknowledged it
        self._epochs: dict[int, int] = {}
        self._seqs: defaultdict[int, int] = defaultdict(int)
        self._resting: list[Json] = []
        self._sent = 0
        self._enough = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": servers_of(url),
                "enable.idempotence": True,
                "linger.ms": 1,
                "delivery.timeout.ms": 120_000,
                "log_level": 2,
            }
        )
        for number in range(len(instruments)):
            self._send("orders", number, {"type": "Claim", "owner": "customer"}, self._epochs)
        assert self._producer.flush(_FLUSH_S) == 0
        self._thread = threading.Thread(target=self._run, name="customer", daemon=True)
        self._thread.start()

    def stop(self) -> list[str]:
        """Order no more and cancel what rests; the market goes on until `close`. Return what failed."""
        self._enough.set()
        self._thread.join(_FLUSH_S)
        for order in self._resting:
            self._cancel(order)
        left = self._producer.flush(_FLUSH_S)
        return [*self.failed, *([f"{left} records without an acknowledgement"] if left else [])]

    def quote_once(self) -> None:
        """Let every instrument's market say where it is: what is on its way meets it."""
        for name in self._instruments:
            self._quote(name)
        self._producer.flush(_FLUSH_S)

    def _run(self) -> None:
        began, quotes, orders = time.monotonic(), 0, 0
        while not self._enough.wait(_TICK_S):
            lasted_s = time.monotonic() - began
            while quotes < lasted_s * QUOTES_HZ:
                self._quote(self._random.choice(self._instruments))
                quotes += 1
            while orders < lasted_s * ORDERS_HZ and len(self._newest) == len(self._instruments):
                self._trade()
                orders += 1
            self._producer.poll(0)

    def _quote(self, name: str) -> None:
        chance = self._random
        self._prices[name] = price = max(100, self._prices[name] + chance.choice((-2, -1, 0, 0, 1, 2)))
        market: Json = {"instrument": name, "ts_recv": time.time_ns()}
        if chance.random() < 0.3:
            market |= {
                "type": "Trade",
                "price": float(price + chance.choice((-1, 1))),
                "size": chance.randint(1, 9) * 1.0,
            }
        else:
            sizes = {"bid_size": chance.randint(1, 20) * 1.0, "ask_size": chance.randint(1, 20) * 1.0}
            market |= {"type": "Quote", "bid": price - 1.0, "ask": price + 1.0, **sizes}
        self._send("market", self._instruments.index(name), market, self._newest, name)

    def _trade(self) -> None:
        if self._resting and self._random.random() < _OF_OPEN_CANCELLED / 2:
            self._cancel(self._resting.pop(self._random.randrange(len(self._resting))))
        name = self._random.choice(self._instruments)
        order = self._order(name)
        self.orders[order["order_id"]] = order
        if order["time_in_force"] in {"GTC", "GTX"}:
            self._resting.append(order)
        self._send("orders", self._instruments.index(name), order)

    def _order(self, name: str) -> Json:
        chance, number = self._random, self._instruments.index(name)
        force, is_buy = chance.choice(_FORCES), chance.random() < 0.5
        limit: Json = {}
        if force != "IOC" or chance.random() < 0.5:
            limit = {"limit_price": float(self._prices[name] + chance.randint(-3, 3))}
        self._sent += 1
        return {
            "type": "Order",
            "order_id": f"customer-{self._sent}",
            "seq": self._take_seq(number),
            "epoch": self._epochs[number],
            "instrument": name,
            "side": "buy" if is_buy else "sell",
            "quantity": float(chance.randint(1, 30)),
            "order_type": "limit" if limit else "market",
            "time_in_force": force,
            "strategy": "customer",
            "bundle_id": "none",
            "source": {"topic": "market", "partition": number, "offset": self._newest[name]},
            "ts_decided": time.time_ns(),
            "reduce_only": chance.random() < 0.1,
            **limit,
        }

    def _cancel(self, order: Json) -> None:
        number = self._instruments.index(order["instrument"])
        seq = self._take_seq(number)
        cancel = {"type": "Cancel", "cancel_id": f"{order['order_id']}-C{seq}", "seq": seq, "epoch": order["epoch"]}
        cancel |= {"order_id": order["order_id"], "instrument": order["instrument"], "reason": "drill"}
        self._send("orders", number, cancel)

    def _take_seq(self, number: int) -> int:
        self._seqs[number] += 1
        return self._seqs[number] - 1

    def _send(
        self, topic: str, number: int, message: Json, offsets: dict[Any, int] | None = None, key: Any = None
    ) -> None:
        """Send to a partition; its offset comes into `offsets`, under the key or the partition's number."""

        def on_delivery(error: KafkaError | None, sent: Message) -> None:
            if error is not None:
                self.failed.append(f"{topic}-{number}: {error}")
            elif offsets is not None:
                offsets[number if key is None else key] = sent.offset()

        name = self._instruments[number]
        value = json.dumps(message).encode()
        self._producer.produce(self._prefix + topic, value, key=name, partition=number, on_delivery=on_delivery)
