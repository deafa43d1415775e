"""aiokafka's clients, configured; and what of their inside says that they have died."""

from itertools import chain
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from messages.bus.kafka.calls import KafkaTimeouts, closed
from messages.bus.protocol import MAX_BATCH_BYTES


def raw_consumer(
    connection: dict[str, Any],
    timeouts: KafkaTimeouts,
    *,
    group: str | None,
    member: str | None,
    follows: bool = False,
) -> AIOKafkaConsumer:
    """Return a consumer, not started. `group` with its prefix; `follows`: one partition, for long."""
    # A member's join request is answered only when the whole group has joined.
    request_s = timeouts.request_s if group is None else timeouts.rebalance_s + timeouts.request_s
    return AIOKafkaConsumer(
        **connection,
        group_id=group,
        group_instance_id=member,
        enable_auto_commit=False,
        auto_offset_reset="none",  # positions are always given: a position that doesn't exist is news, not a jump
        isolation_level="read_uncommitted",
        fetch_max_wait_ms=timeouts.follow_wait_ms if follows else timeouts.fetch_wait_ms,
        session_timeout_ms=round(timeouts.session_s * 1000),
        rebalance_timeout_ms=round(timeouts.rebalance_s * 1000),
        heartbeat_interval_ms=timeouts.heartbeat_ms,
        request_timeout_ms=round(request_s * 1000),
        retry_backoff_ms=timeouts.retry_backoff_ms,
    )


def raw_producer(connection: dict[str, Any], timeouts: KafkaTimeouts, *, producer_id: str | None) -> AIOKafkaProducer:
    """Return an idempotent producer, not started. `producer_id` with its prefix."""
    return AIOKafkaProducer(
        **connection,
        enable_idempotence=True,
        acks="all",
        linger_ms=0,
        max_batch_size=MAX_BATCH_BYTES,
        max_request_size=MAX_BATCH_BYTES,
        request_timeout_ms=round(timeouts.request_s * 1000),
        retry_backoff_ms=timeouts.retry_backoff_ms,
        transactional_id=producer_id,
    )


def ended_consumer(raw: AIOKafkaConsumer) -> str | None:
    """Return which of the consumer's own tasks has ended, after which nothing comes any more; None while all run."""
    if raw._fetcher is not None and raw._fetcher.error_future.done():  # noqa: SLF001 - there is no public way to ask
        return "its fetching has ended"
    task = getattr(raw._coordinator, "_coordination_task", None)  # noqa: SLF001 - as above
    return "its part in the group has ended" if task is not None and task.done() else None


def ended_producer(raw: AIOKafkaProducer) -> str | None:
    """Return why the producer can send no more; None while its sending task runs."""
    task = raw._sender.sender_task  # noqa: SLF001 - there is no public way to ask
    return "its sending has ended" if task is not None and task.done() else None


async def abandon(url: str, raw: AIOKafkaProducer, stop_s: float) -> None:
    """Close a producer without sending what it still holds: its callers were told that the fate is unknown."""
    if (task := raw._sender.sender_task) is not None:  # noqa: SLF001 - `stop` would flush, for as long as it takes
        task.cancel()
        for connection in list(raw.client._conns.values()):  # noqa: SLF001 - answers under way hold the task up
            connection.close()
        _fail_all(raw._message_accumulator)  # noqa: SLF001 - as above
    await closed(url, "a producer", raw.stop(), raw.client, stop_s)


def _fail_all(accumulator: Any) -> None:
    batches = [*accumulator._pending_batches, *chain(*accumulator._batches.values())]  # noqa: SLF001 - as above
    accumulator.fail_all(KafkaError("the producer was given up"))
    for batch in batches:
        if batch.future.done() and not batch.future.cancelled():
            batch.future.exception()  # nobody asks for it any more, and asyncio would complain
