"""The cluster under test: in memory or real, the same for every test of the contract."""

from collections.abc import AsyncIterator

import pytest

from tests.clusters import Cluster, KafkaCluster, MemoryCluster


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    """A cluster without topics, to which a test may connect any number of clients."""
    under_test: Cluster = (
        MemoryCluster() if request.param == "memory" else KafkaCluster(request.getfixturevalue("kafka_url"))
    )
    yield under_test
    await under_test.stop()
