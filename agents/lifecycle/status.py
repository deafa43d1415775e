"""Heartbeats and dead letters: what every agent tells of itself."""

from collections.abc import Callable

from messages import Clock, DeadLetter, Heartbeat, NewRecord, Producer, Record, encode, status_key

HEARTBEAT_INTERVAL_S = 1.0
MAX_LETTER_BYTES = 512 * 1024


async def beat(
    producer: Producer, clock: Clock, heartbeat: Callable[[], Heartbeat], interval_s: float = HEARTBEAT_INTERVAL_S
) -> None:
    """Publish what `heartbeat` returns, at once and then every `interval_s` of the clock, until cancelled."""
    while True:
        message = heartbeat()
        await producer.publish("status", NewRecord(key=status_key(message).encode(), value=encode(message)))
        await clock.sleep(interval_s)


def dead_letter(record: Record, reason: str, *, agent_id: str, ts: int) -> NewRecord:
    """Return the record for `dead-letters` that keeps `record` whole, but for values too large to be sent again."""
    value = record.value
    if value is not None and len(value) > MAX_LETTER_BYTES:
        reason = f"{reason} (the first {MAX_LETTER_BYTES} of {len(value)} bytes)"
        value = value[:MAX_LETTER_BYTES]
    letter = DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        reason=reason,
        agent_id=agent_id,
        ts=ts,
        key=record.key,
        value=value,
        headers=record.headers,
    )
    return NewRecord(key=record.topic.encode(), value=encode(letter))
