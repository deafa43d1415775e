"""Signs of life, read from the topics by a plain client: who did something after a moment, and how long that took."""

import time
from collections.abc import Callable, Iterable
from typing import Self

from msgspec import Struct

from tests.journeys.cluster_settings import SHARDS
from tests.journeys.plain_kafka import Json, Log

_READ_S = 0.05


class Moment(Struct, frozen=True, kw_only=True):
    """A point in time on both clocks."""

    ns: int
    monotonic_s: float

    @classmethod
    def now(cls) -> Self:
        return cls(ns=time.time_ns(), monotonic_s=time.monotonic())


def decides(shard: int) -> str:
    """The sign that a shard decides market records."""
    return f"shard {shard} decides"


def beats(agent_id: str) -> str:
    """The sign of an agent's heartbeat."""
    return f"{agent_id} beats"


def owns(agent_id: str) -> str:
    """The sign that a replica has live shards."""
    return f"{agent_id} owns a shard"


def echoes(partition: int) -> str:
    """The sign that the bus programs answer records of a partition."""
    return f"echo of partition {partition}"


ORDERS = "orders flow"


class Watch:
    """Follows the agents' topics and those of the bus programs; knows when each sign was last given."""

    def __init__(self, agents: Log, bus: Log) -> None:
        self._agents, self._bus = agents, bus
        self._last_ns: dict[str, int] = {}
        self._taken: dict[tuple[int, str], int] = {}

    def wait(
        self,
        signs: Iterable[str],
        since: Moment,
        *,
        timeout_s: float,
        while_waiting: Callable[[], object] = lambda: None,
    ) -> dict[str, float | None]:
        """Return for each sign the seconds from `since` until one newer than that was read; None: not in time."""
        found: dict[str, float | None] = dict.fromkeys(signs)
        deadline = time.monotonic() + timeout_s
        while True:
            self._read()
            after_s = time.monotonic() - since.monotonic_s
            for sign in [sign for sign, seconds in found.items() if seconds is None]:
                if self._last_ns.get(sign, 0) > since.ns:
                    found[sign] = after_s
            if all(seconds is not None for seconds in found.values()) or time.monotonic() > deadline:
                return found
            while_waiting()

    def _read(self) -> None:
        self._agents.read(_READ_S)
        self._bus.read(_READ_S)
        for message in self._new(self._agents, "decisions"):
            for logged in message.get("steps", ()):
                step = logged["step"]
                if step["market_to"] > step["market_from"]:
                    self._see(decides(message["partition"]), step["clock_ns"])
        for message in self._new(self._agents, "orders"):
            if message["type"] == "Order":
                self._see(ORDERS, message["ts_decided"])
        for message in self._new(self._agents, "status"):
            if message["type"] == "Heartbeat":
                self._see(beats(message["agent_id"]), message["ts"])
                if message.get("partitions"):
                    self._see(owns(message["agent_id"]), message["ts"])
        for message in self._new(self._bus, "orders"):
            self._see(echoes(message["id"] % SHARDS), message["sent_ns"])

    def _new(self, log: Log, topic: str) -> list[Json]:
        key = (id(log), topic)
        new = log.of(topic, after=self._taken.get(key, 0))
        self._taken[key] = self._taken.get(key, 0) + len(new)
        return new

    def _see(self, sign: str, ns: int) -> None:
        self._last_ns[sign] = max(self._last_ns.get(sign, 0), ns)
