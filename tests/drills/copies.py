"""Where the copies of partitions are: who leads one, and which are behind."""

from collections.abc import Iterable

from confluent_kafka.admin import AdminClient

from agents.lifecycle.local_kafka import LocalBroker
from tests.journeys.plain_kafka import servers_of
from tests.waiting import eventually

_ANSWER_S = 10.0


class Copies:
    """Asks a cluster of brokers."""

    def __init__(self, url: str, brokers: Iterable[LocalBroker]) -> None:
        self._brokers = tuple(brokers)
        self._admin = AdminClient({"bootstrap.servers": servers_of(url), "log_level": 2})

    def leader(self, topic: str, partition: int) -> LocalBroker:
        """Return the broker that leads a partition; `topic` with its prefix."""
        leader = self._admin.list_topics(topic, timeout=_ANSWER_S).topics[topic].partitions[partition].leader
        return next(broker for broker in self._brokers if broker.node_id == leader)

    def wait_in_sync(self) -> None:
        """Wait until every partition has all its copies in step again."""
        eventually(self._lagging, until=lambda lagging: lagging == [], what="all copies in sync", timeout_s=60)

    def _lagging(self) -> list[str]:
        return [
            f"{topic.topic}-{number}"
            for topic in self._admin.list_topics(timeout=_ANSWER_S).topics.values()
            for number, partition in topic.partitions.items()
            if len(partition.isrs) < len(partition.replicas)
        ]
