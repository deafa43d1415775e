"""The bus on Apache Kafka, through aiokafka."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from messages.bus.checks import ClusterFacts
from messages.bus.kafka.admin import KafkaAdmin
from messages.bus.kafka.calls import KafkaTimeouts, warn_if_slow
from messages.bus.kafka.consumer import KafkaConsumer
from messages.bus.kafka.diagnosis import explained
from messages.bus.kafka.logs import limit_logs
from messages.bus.kafka.producer import KafkaProducer
from messages.bus.protocol import Consumer, FencedProducer, Producer, RebalanceListener, TopicState
from messages.bus.security import Security, client_arguments
from messages.clock import Clock, SystemClock
from messages.errors import BusUnavailable, Refused
from messages.status import ClientState
from messages.topics import Topic

SCHEME = "kafka://"


class KafkaBus:
    """A connection to `kafka://host:port[,host:port...]`. Each producer and consumer has sockets of its own.

    `client` names this process in the broker's logs; `prefix` stands before the names of topics, groups and producer
    ids on the cluster. Nothing is contacted until the first call; BusUnavailable says that no broker answers.
    """

    def __init__(
        self,
        url: str,
        *,
        client: str = "tickpilot",
        prefix: str = "",
        timeouts: KafkaTimeouts | None = None,
        clock: Clock | None = None,
        security: Security | None = None,
    ) -> None:
        self._url, self._prefix = url, prefix
        self._timeouts = timeouts or KafkaTimeouts()
        self._connection: dict[str, Any] = {
            "bootstrap_servers": bootstrap_servers(url),
            "client_id": client,
            **client_arguments(security or Security()),
        }
        self._admin = KafkaAdmin(url=url, prefix=prefix, connection=self._connection, timeouts=self._timeouts)
        self._clock = clock or SystemClock()
        self._open: set[KafkaProducer | KafkaConsumer] = set()
        self._stopped = False
        warn_if_slow()
        limit_logs(self._clock)

    @property
    def url(self) -> str:
        return self._url

    async def producer(self) -> Producer:
        return await self._producer(None)

    async def take_over(self, producer_id: str) -> FencedProducer:
        return await self._producer(producer_id)

    async def _producer(self, producer_id: str | None) -> KafkaProducer:
        producer = KafkaProducer(**self._common(), producer_id=producer_id)
        await self._start(producer, "a producer")
        return producer

    async def consumer(self, *, gather_s: float = 0.0) -> Consumer:
        return await self._consumer(None, None, gather_s)

    async def subscribe(
        self, topics: Sequence[str], group: str, listener: RebalanceListener, *, member: str | None = None
    ) -> Consumer:
        for topic in topics:
            await self._admin.count(topic)
        consumer = await self._consumer(group, member)
        consumer.join(topics, listener)
        return consumer

    async def _consumer(self, group: str | None, member: str | None, gather_s: float = 0.0) -> KafkaConsumer:
        consumer = KafkaConsumer(**self._common(), group=group, member=member, gather_s=gather_s)
        await self._start(consumer, "a consumer")
        return consumer

    async def _start(self, client: KafkaProducer | KafkaConsumer, what: str) -> None:
        self._open.add(client)
        try:
            await client.start()
        except BusUnavailable as error:
            raise await explained(error, what, self._connection, self._timeouts.request_s) from error

    def _common(self) -> dict[str, Any]:
        if self._stopped:
            raise BusUnavailable(self._url, "this connection was stopped")
        return {
            "url": self._url,
            "prefix": self._prefix,
            "connection": self._connection,
            "timeouts": self._timeouts,
            "count": self._admin.count,
            "on_stop": self._open.discard,
            "clock": self._clock,
        }

    async def partition_count(self, topic: str) -> int:
        return await self._admin.partition_count(topic)

    async def create_topics(self, topics: Iterable[Topic], *, shards: int, replication: int = 1) -> list[str]:
        return await self._admin.create(topics, shards=shards, replication=replication)

    async def describe_topics(self, names: Iterable[str]) -> dict[str, TopicState]:
        return await self._admin.describe(names)

    async def facts(self) -> ClusterFacts:
        """Return what the cluster says of itself, for the checks before a start. Raises BusUnavailable, BusRefused."""
        return await self._admin.facts()

    async def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return the group's offsets, by partition; one without any is not in it. Nobody joins for it."""
        return await self._admin.committed(group, topic)

    def health(self) -> tuple[ClientState, ...]:
        return tuple(client.watch.state() for client in self._open)

    async def stop(self) -> None:
        self._stopped = True
        stops = [client.stop() for client in list(self._open)]
        results = await asyncio.gather(*stops, self._admin.stop(), return_exceptions=True)
        for error in results:
            if isinstance(error, BaseException):
                raise error


def bootstrap_servers(url: str) -> list[str]:
    """Return the host:port pairs of a Kafka address. Raises Refused when there are none."""
    servers = [server.strip() for server in url.removeprefix(SCHEME).split(",") if server.strip()]
    if not url.startswith(SCHEME) or not servers or any(":" not in server for server in servers):
        raise Refused(f"bus address {url!r} is not kafka://host:port[,host:port...]; correct `bus` in the settings")
    return servers
