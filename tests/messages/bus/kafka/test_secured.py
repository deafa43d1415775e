"""A secured broker: who may come in works there as anywhere, and who may not hears why within seconds."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from agents.lifecycle import local_kafka
from messages import (
    TOPICS,
    Bus,
    BusRefused,
    BusUnavailable,
    NewRecord,
    Partition,
    ProducerFenced,
    RefusalCause,
    Secret,
    Security,
    SystemClock,
    connect,
)
from messages.bus.examine import examine
from messages.bus.kafka.bus import KafkaBus
from messages.bus.kafka.calls import KafkaTimeouts
from messages.errors import Refused, TopicMismatch
from tests.clusters import SHARDS, Heard, create, read, values
from tests.secured import Grant, SecuredKafka, allow, secured_kafka

pytestmark = pytest.mark.kafka
SOON_S = 10.0  # on a loaded machine; alone it is a tenth of a second
PATIENT = KafkaTimeouts(start_s=60, request_s=5)
RECORD = NewRecord(key=b"k", value=b"v")


@pytest.fixture(scope="module")
def secured() -> Iterator[SecuredKafka]:
    """One secured node for all tests here; each takes a prefix of its own."""
    try:
        local_kafka.check_tools()
    except Refused as error:
        if os.environ.get("CI", "").lower() in {"1", "true"}:
            pytest.fail(f"CI must have a Kafka: {error}")
        pytest.skip(str(error))
    with secured_kafka() as running:
        allow(
            running,
            Grant(user="alice", kind="topic", prefix="alice-", operations=("all",)),
            Grant(user="alice", kind="group", prefix="alice-", operations=("read",)),
            Grant(user="alice", kind="transactional_id", prefix="alice-", operations=("write", "describe")),
            Grant(user="CN=client", kind="topic", prefix="client-", operations=("all",)),
            Grant(user="reader", kind="topic", prefix="alice-", operations=("read",)),
            Grant(user="clerk", kind="topic", prefix="alice-", operations=("read",)),
            Grant(user="clerk", kind="topic", prefix="clerk-", operations=("write",)),
        )
        yield running


@asynccontextmanager
async def bus_of(url: str, security: Security | None, prefix: str = "alice-") -> AsyncIterator[KafkaBus]:
    bus = KafkaBus(url, prefix=prefix, security=security, timeouts=PATIENT)
    try:
        yield bus
    finally:
        await bus.stop()
        await all_closed()


async def all_closed() -> None:
    """Wait until the last socket is gone: aiokafka leaves a connection that was refused to close by itself."""
    sockets: Any = asyncio.get_running_loop()._selector.get_map()  # type: ignore[attr-defined]
    async with asyncio.timeout(SOON_S):
        while len(sockets) > 1:  # noqa: ASYNC110 - the loop has no event for it; one socket is its own
            await asyncio.sleep(0)


def new_prefix(user: str = "alice") -> str:
    return f"{user}-{uuid4().hex[:8]}-"


async def refused(url: str, security: Security | None) -> BusRefused:
    """Return what every kind of client is told, in good time although it has a minute to start."""
    causes = set()
    async with bus_of(url, security) as bus:
        for call in (bus.producer, bus.consumer, lambda: bus.partition_count("orders")):
            began = time.monotonic()
            with pytest.raises(BusRefused) as caught:
                await call()
            assert time.monotonic() - began < SOON_S
            causes.add(caught.value.cause)
    assert len(causes) == 1
    assert "correct horse" not in str(caught.value)
    return caught.value


async def exercise(bus: Bus) -> None:
    """Publish, read, join a group and take over: the basics of the contract."""
    await create(bus, "orders", "market")
    producer = await bus.producer()
    assert await producer.publish("orders", RECORD, partition=1) == 0
    consumer = await bus.consumer()
    await consumer.assign({Partition("orders", 1): 0})
    assert values(await read(consumer, 1)) == [b"v"]
    await producer.publish("market", RECORD, partition=2)
    member = await bus.subscribe(["market"], "execution", Heard())
    assert values(await read(member, 1)) == [b"v"]
    await member.commit({Partition("market", 2): 1})
    assert await member.committed(Partition("market", 2)) == 1
    old = await bus.take_over("shard-1")
    await old.publish("orders", RECORD, partition=1)
    new = await bus.take_over("shard-1")
    await new.publish("orders", RECORD, partition=1)
    with pytest.raises(ProducerFenced):
        await old.publish("orders", RECORD, partition=1)
    assert set(await bus.describe_topics(["orders", "market"])) == {"orders", "market"}


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"])
async def test_the_contract_holds_over_a_login(secured: SecuredKafka, mechanism: Any) -> None:
    async with bus_of(secured.login_url, secured.login(mechanism=mechanism), new_prefix()) as bus:
        await exercise(bus)


async def test_a_client_certificate_is_a_login(secured: SecuredKafka) -> None:
    bus = connect(secured.certificate_url, prefix=new_prefix("client"), security=secured.certificate())
    await create(bus, "orders")
    producer = await bus.producer()
    assert await producer.publish("orders", RECORD, partition=0) == 0
    await bus.stop()


async def test_a_wrong_password_is_said_to_be_wrong(secured: SecuredKafka) -> None:
    for mechanism in ("SCRAM-SHA-512", "PLAIN"):
        error = await refused(secured.login_url, secured.login(mechanism=mechanism, password=Secret("hunter2-wrong")))
        assert error.cause is RefusalCause.WRONG_CREDENTIALS
        assert "security.username" in str(error)
        assert "hunter2" not in f"{error!r} {error}"


async def test_a_broker_of_a_strange_authority_is_not_trusted(secured: SecuredKafka) -> None:
    error = await refused(secured.login_url, secured.login(ca_file=str(secured.other_ca_file)))
    assert error.cause is RefusalCause.CERTIFICATE_NOT_TRUSTED
    assert "ca_file" in str(error)


async def test_a_certificate_of_another_host_is_refused(secured: SecuredKafka) -> None:
    elsewhere = secured.login_url.replace("localhost", "127.0.0.1")
    assert (await refused(elsewhere, secured.login())).cause is RefusalCause.CERTIFICATE_OF_ANOTHER_HOST


async def test_plain_text_to_a_tls_port_is_named(secured: SecuredKafka) -> None:
    for url in (secured.login_url, secured.certificate_url):
        error = await refused(url, None)
        assert error.cause is RefusalCause.TLS_REQUIRED
        assert "security.tls: true" in str(error)


async def test_tls_to_a_plain_text_port_is_named(secured: SecuredKafka) -> None:
    error = await refused(secured.plain_url, secured.login())
    assert error.cause is RefusalCause.TLS_NOT_OFFERED
    assert "speaks plain text" in str(error)


async def test_a_port_that_wants_a_login_says_so(secured: SecuredKafka) -> None:
    error = await refused(secured.login_url, Security(tls=True, ca_file=str(secured.ca_file)))
    assert error.cause is RefusalCause.LOGIN_REQUIRED


async def test_a_port_without_logins_says_so(secured: SecuredKafka) -> None:
    open_login = secured.login(tls=False, ca_file=None)
    error = await refused(secured.plain_url, open_login)
    assert error.cause is RefusalCause.LOGIN_NOT_OFFERED


async def test_a_port_that_wants_a_client_certificate_says_so(secured: SecuredKafka) -> None:
    error = await refused(secured.certificate_url, Security(tls=True, ca_file=str(secured.ca_file)))
    assert error.cause is RefusalCause.OWN_CERTIFICATE_REFUSED
    assert "certificate_file" in str(error)


async def test_a_denied_write_is_named_with_its_topic(secured: SecuredKafka) -> None:
    prefix = new_prefix()
    async with bus_of(secured.login_url, secured.login(), prefix) as bus:
        await create(bus, "orders")
    async with bus_of(secured.login_url, secured.login("clerk"), prefix) as bus:
        consumer = await bus.consumer()
        await consumer.assign({Partition("orders", 0): 0})
        producer = await bus.producer()
        sends = (
            producer.publish("orders", RECORD, partition=0),
            producer.publish_batch(Partition("orders", 0), [RECORD]),
        )
        for send in sends:
            with pytest.raises(BusRefused, match=f"{prefix}orders") as caught:
                await asyncio.wait_for(send, SOON_S)
            assert caught.value.cause is RefusalCause.TOPIC_DENIED
    async with bus_of(secured.login_url, secured.login("reader"), prefix) as bus:
        with pytest.raises(BusRefused, match="need Write on a topic") as caught:
            await asyncio.wait_for(bus.producer(), SOON_S)
        assert caught.value.cause is RefusalCause.CLUSTER_DENIED


async def test_a_topic_that_may_be_seen_but_not_read_is_named(secured: SecuredKafka) -> None:
    prefix = f"clerk-{new_prefix()}"
    async with bus_of(secured.plain_url, None, prefix) as bus:
        await create(bus, "orders")
    async with bus_of(secured.login_url, secured.login("clerk"), prefix) as bus:
        consumer = await bus.consumer()
        await consumer.assign({Partition("orders", 0): 0})
        with pytest.raises(BusRefused, match="orders") as caught:
            await asyncio.wait_for(consumer.poll(timeout_s=SOON_S), 2 * SOON_S)
        assert caught.value.cause is RefusalCause.TOPIC_DENIED


async def test_a_topic_out_of_sight_is_denied_not_missing(secured: SecuredKafka) -> None:
    async with bus_of(secured.login_url, secured.login("reader"), "hidden-") as bus:
        with pytest.raises(BusRefused, match="hidden-orders") as caught:
            await asyncio.wait_for(bus.partition_count("orders"), SOON_S)
        assert caught.value.cause is RefusalCause.TOPIC_DENIED
    async with bus_of(secured.login_url, secured.login(), new_prefix()) as bus:
        with pytest.raises(TopicMismatch, match="does not exist"):
            await bus.partition_count("orders")


async def test_a_denied_group_and_a_denied_producer_id_are_named(secured: SecuredKafka) -> None:
    prefix = new_prefix()
    async with bus_of(secured.login_url, secured.login(), prefix) as bus:
        await create(bus, "market")
    async with bus_of(secured.login_url, secured.login("reader"), prefix) as bus:
        member = await bus.subscribe(["market"], "execution", Heard())
        with pytest.raises(BusRefused, match=f"{prefix}execution") as caught:
            await asyncio.wait_for(member.poll(timeout_s=SOON_S), 2 * SOON_S)
        assert caught.value.cause is RefusalCause.GROUP_DENIED
        with pytest.raises(BusRefused) as caught:
            await asyncio.wait_for(bus.take_over("shard-1"), SOON_S)
        assert caught.value.cause is RefusalCause.PRODUCER_ID_DENIED


async def test_topics_that_may_not_be_created_are_named(secured: SecuredKafka) -> None:
    async with bus_of(secured.login_url, secured.login("reader"), "alice-") as bus:
        with pytest.raises(BusRefused) as caught:
            await create(bus, "market")
        assert caught.value.cause in {RefusalCause.CLUSTER_DENIED, RefusalCause.TOPIC_DENIED}


async def test_names_and_ports_that_lead_nowhere_are_told_apart() -> None:
    hasty = KafkaTimeouts(start_s=5, request_s=5)
    for url, said in (
        ("kafka://no-such-host.invalid:9092", "the name no-such-host.invalid is not known"),
        (f"kafka://127.0.0.1:{local_kafka.free_port()}", "nobody listens on 127.0.0.1"),
    ):
        bus = KafkaBus(url, timeouts=hasty)
        with pytest.raises(BusUnavailable, match=said):
            await asyncio.wait_for(bus.producer(), 2 * SOON_S)
        await bus.stop()


def test_a_login_is_not_part_of_what_is_written_down(secured: SecuredKafka) -> None:
    assert "correct horse" not in repr(msgspec.structs.astuple(secured.login()))


async def test_topics_whose_settings_may_not_be_read_are_a_warning_not_a_lie(secured: SecuredKafka) -> None:
    prefix = new_prefix()
    async with bus_of(secured.login_url, secured.login(), prefix) as bus:
        await bus.create_topics(TOPICS.values(), shards=SHARDS)
        assert {finding.level for finding in await examine(bus, shards=SHARDS, clock=SystemClock())} == {"ok"}
    async with bus_of(secured.login_url, secured.login("reader"), prefix) as bus:
        findings = await examine(bus, shards=SHARDS, clock=SystemClock())
        assert [finding.check for finding in findings if finding.level != "ok"] == ["topics"]
        assert "DescribeConfigs" in next(finding.line for finding in findings if finding.check == "topics")
