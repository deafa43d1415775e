"""Topics on Kafka: counted, created as registered, described. Reading never creates one."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code
from aiokafka.protocol.metadata import MetadataRequest

from messages.bus.checks import ClusterFacts
from messages.bus.kafka.calls import KafkaTimeouts, bounded, closed, started
from messages.bus.kafka.diagnosis import explained
from messages.bus.kafka.facts import read_facts
from messages.bus.kafka.refusals import refusal
from messages.bus.protocol import TopicState
from messages.errors import BusUnavailable, Refused, TopicMismatch
from messages.topics import TOPICS, Topic

T = TypeVar("T")
_LOOK_AGAIN_S = 0.02


class KafkaAdmin:
    """One admin connection, made when it is first needed."""

    def __init__(self, *, url: str, prefix: str, connection: dict[str, Any], timeouts: KafkaTimeouts) -> None:
        self._url, self._prefix, self._connection, self._timeouts = url, prefix, connection, timeouts
        self._raw: AIOKafkaAdminClient | None = None
        self._starting = asyncio.Lock()
        self._counts: dict[str, int] = {}

    async def count(self, topic: str) -> int:
        """Return a topic's number of partitions, as it was when first asked. Raises TopicMismatch."""
        return self._counts.get(topic) or await self.partition_count(topic)

    async def partition_count(self, topic: str) -> int:
        """Return a topic's number of partitions as it is now. Raises TopicMismatch when it doesn't exist."""
        existing = await self._partitions()
        if topic not in existing:
            await self._check_visible(topic)
            raise TopicMismatch(topic, "does not exist")
        self._counts[topic] = len(existing[topic])
        return self._counts[topic]

    async def _check_visible(self, topic: str) -> None:
        """Raise BusRefused for a topic that is not listed because this user may not see it."""
        name = self._prefix + topic
        request = MetadataRequest([name], allow_auto_topic_creation=False)
        answer = await self._ask(f"reading {topic}", lambda raw: raw._send_request(request))  # noqa: SLF001 - the public one may create it
        for found in answer.to_object()["topics"]:
            if refused := refusal(for_code(found["error_code"])(name), self._url, f"reading {topic}"):
                raise refused

    async def create(self, topics: Iterable[Topic], *, shards: int, replication: int) -> list[str]:
        """Create what is missing and return when the brokers lead every new partition."""
        existing = await self._partitions()
        missing = [topic for topic in topics if topic.name not in existing]
        if not missing:
            return []
        new = [
            NewTopic(
                name=self._prefix + topic.name,
                num_partitions=topic.partitions(shards),
                replication_factor=replication,
                topic_configs=topic.broker_config(),
            )
            for topic in missing
        ]
        wait_ms = round(self._timeouts.metadata_s * 1000)
        response = await self._ask("creating topics", lambda raw: raw.create_topics(new, timeout_ms=wait_ms))
        created = [name for name, code, text in response.topic_errors if self._is_created(name, code, text)]
        await bounded(self._url, "waiting for new topics", self._leaders(created), self._timeouts.metadata_s)
        return [name.removeprefix(self._prefix) for name in created]

    def _is_created(self, name: str, code: int, text: str | None) -> bool:
        error: type[KafkaError] = for_code(code)
        if error is TopicAlreadyExistsError:  # somebody else was faster
            return False
        if code != 0:
            if refused := refusal(error(name), self._url, "creating topics"):
                raise refused
            raise Refused(f"topic {name} was not created: {error.__name__}: {text}; check partitions and replication")
        return True

    async def _leaders(self, names: list[str]) -> None:
        while True:
            existing = await self._partitions()
            partitions = [existing.get(name.removeprefix(self._prefix), [-1]) for name in names]
            if all(leader >= 0 for leaders in partitions for leader in leaders):
                return
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def describe(self, names: Iterable[str]) -> dict[str, TopicState]:
        """Return partitions and settings of those that exist."""
        existing = await self._partitions()
        found = [name for name in names if name in existing]
        if not found:
            return {}
        resources = [ConfigResource(ConfigResourceType.TOPIC, self._prefix + name) for name in found]
        responses = await self._ask("describing topics", lambda raw: raw.describe_configs(resources))
        states = {}
        for code, _, _, raw_name, entries in (resource for response in responses for resource in response.resources):
            if refused := refusal(for_code(code)(raw_name), self._url, "reading a topic's settings"):
                raise refused
            name = raw_name.removeprefix(self._prefix)
            wanted = TOPICS[name].broker_config() if name in TOPICS else {}
            config = {entry[0]: entry[1] for entry in entries if entry[0] in wanted}
            states[name] = TopicState(name=name, partitions=len(existing[name]), config=config)
        return {name: states[name] for name in found}

    async def facts(self) -> ClusterFacts:
        """Return what the cluster says of itself and of the registered topics."""
        return await self._ask("looking at the cluster", lambda raw: read_facts(raw, prefix=self._prefix, names=TOPICS))

    async def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return the offsets that a group has committed on a topic, by partition."""
        name = self._prefix + group
        stored = await self._ask(f"reading offsets of {group}", lambda raw: raw.list_consumer_group_offsets(name))
        return {
            raw.partition: found.offset
            for raw, found in stored.items()
            if raw.topic == self._prefix + topic and found.offset >= 0
        }

    async def _partitions(self) -> dict[str, list[int]]:
        """Every topic of this prefix with the leader of each partition; asking by name could create a topic."""
        metadata = await self._ask("reading topics", lambda raw: raw.describe_topics())
        return {
            topic["topic"].removeprefix(self._prefix): [partition["leader"] for partition in topic["partitions"]]
            for topic in metadata
            if topic["topic"].startswith(self._prefix) and topic["error_code"] == 0 and topic["partitions"]
        }

    async def _ask(self, operation: str, request: Callable[[AIOKafkaAdminClient], Awaitable[T]]) -> T:
        raw = await self._client()
        return await bounded(self._url, operation, request(raw), self._timeouts.metadata_s)

    async def _client(self) -> AIOKafkaAdminClient:
        async with self._starting:
            if self._raw is None:
                raw = AIOKafkaAdminClient(
                    **self._connection,
                    request_timeout_ms=round(self._timeouts.request_s * 1000),
                    retry_backoff_ms=self._timeouts.retry_backoff_ms,
                )
                try:
                    await started(self._url, "the admin client", raw.start, self._timeouts.start_s)
                except BusUnavailable as error:
                    await self._close(raw)
                    step_s = self._timeouts.request_s
                    raise await explained(error, "the admin client", self._connection, step_s) from error
                except BaseException:
                    await self._close(raw)
                    raise
                self._raw = raw
            return self._raw

    async def stop(self) -> None:
        """Close the connection within a bounded time; a later call makes a new one."""
        raw, self._raw = self._raw, None
        if raw is not None:
            await self._close(raw)

    async def _close(self, raw: AIOKafkaAdminClient) -> None:
        client = raw._client  # noqa: SLF001 - for cutting its connections
        await closed(self._url, "the admin client", raw.close(), client, self._timeouts.stop_s)
