"""The paper venue and the example adapter keep every guarantee."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from agents.venue.conformance import CASES, Case, try_case
from tests.agents.venue.conformance.venues import Buses, KafkaBuses, MemoryBuses, UnderTest, adapter, paper

Make = Callable[[Buses], Awaitable[UnderTest]]


# A kill of a client on Kafka needs a process of its own: tests/drills/venue/test_killed.py.
ON_KAFKA = {
    "a_halt_refuses_all_but_flattening_and_cancels",
    "what_cannot_be_read_is_parked",
    "a_stop_loses_and_doubles_nothing",
}


@pytest.fixture(params=[paper, adapter], ids=["paper", "adapter"])
def make(request: pytest.FixtureRequest) -> Make:
    """Each venue."""
    chosen: Make = request.param
    return chosen


@asynccontextmanager
async def opened(make: Make, buses: Buses) -> AsyncIterator[UnderTest]:
    venue = await make(buses)
    try:
        yield venue
    finally:
        await venue.close()
    if venue.server is not None:
        assert set(venue.server.exchange.submissions.values()) <= {1}, "an order was submitted twice"


@pytest.fixture(autouse=True)
def published_schema() -> None:
    """Stands in for the check that all records fit the schema: cases write a type that it does not know yet."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_venue_keeps_the_guarantee(case: Case, make: Make) -> None:
    async with opened(make, MemoryBuses()) as venue:
        await try_case(case, venue)


@pytest.mark.kafka
@pytest.mark.parametrize("case", [case for case in CASES if case.name in ON_KAFKA], ids=lambda case: case.name)
async def test_a_venue_keeps_the_guarantee_on_kafka(case: Case, make: Make, kafka_url: str) -> None:
    async with opened(make, KafkaBuses(kafka_url)) as venue:
        await try_case(case, venue, patience_s=60)


def test_each_guarantee_has_a_number_of_its_own() -> None:
    assert [case.number for case in CASES] == list(range(1, len(CASES) + 1))
