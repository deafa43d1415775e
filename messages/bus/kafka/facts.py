"""What a Kafka cluster says of itself, asked through one admin client."""

from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from messages.bus.checks import ClusterFacts, Range

_MIN_INSYNC = "min.insync.replicas"


async def read_facts(raw: AIOKafkaAdminClient, *, prefix: str, names: Iterable[str]) -> ClusterFacts:
    """Return what the cluster says of its brokers and of those topics that exist. Raises aiokafka's errors."""
    metadata = (await raw._get_cluster_metadata()).to_object()  # noqa: SLF001 - one answer holds brokers and topics
    wanted = {prefix + name: name for name in names}
    topics = {wanted[topic["topic"]]: topic["partitions"] for topic in metadata["topics"] if topic["topic"] in wanted}
    brokers = tuple(sorted(broker["node_id"] for broker in metadata["brokers"]))
    return ClusterFacts(
        brokers=brokers,
        versions=await _versions(raw, brokers),
        replication=_least(topics, "replicas"),
        in_sync=_least(topics, "isr"),
        min_insync=await _min_insync(raw, {name: prefix + name for name in topics}),
        leaderless=tuple(
            f"{name}-{partition['partition']}"
            for name, partitions in sorted(topics.items())
            for partition in partitions
            if partition["leader"] < 0
        ),
    )


async def _versions(raw: AIOKafkaAdminClient, brokers: Iterable[int]) -> Mapping[int, Mapping[int, Range]]:
    """Every connection begins with ApiVersions; aiokafka keeps the answer."""
    found: dict[int, Mapping[int, Range]] = {}
    for node in brokers:
        connection: Any = await raw._client._get_conn(node)  # noqa: SLF001 - there is no public way to ask
        if connection is not None:
            found[node] = dict(connection._versions)  # noqa: SLF001 - as above
    return found


def _least(topics: Mapping[str, Any], field: str) -> dict[str, int]:
    return {name: min(len(partition[field]) for partition in partitions) for name, partitions in topics.items()}


async def _min_insync(raw: AIOKafkaAdminClient, raw_names: Mapping[str, str]) -> dict[str, int]:
    if not raw_names:
        return {}
    names = {raw_name: name for name, raw_name in raw_names.items()}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, configs={_MIN_INSYNC: ""}) for name in names]
    found: dict[str, int] = {}
    for response in await raw.describe_configs(resources):
        for code, _, _, raw_name, entries in response.resources:
            values = dict(entry[:2] for entry in entries)
            if code == 0 and _MIN_INSYNC in values:
                found[names[raw_name]] = int(values[_MIN_INSYNC])
    return found
