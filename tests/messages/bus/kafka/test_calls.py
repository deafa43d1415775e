"""How the Kafka bus waits: what the client raises becomes an error of ours, so that its callers try again."""

import pytest

from messages.bus.kafka.calls import bounded
from messages.errors import BusUnavailable


async def test_metadata_without_a_broker_is_an_outage_and_no_broken_program() -> None:
    async def looks_for_the_coordinator() -> None:
        node_id = None
        assert node_id is not None, "Did we not perform bootstrap?"  # as aiokafka's client.coordinator_lookup has it

    with pytest.raises(BusUnavailable, match="starting a producer: the metadata names no broker"):
        await bounded("kafka://localhost:9092", "starting a producer", looks_for_the_coordinator(), 1.0)
