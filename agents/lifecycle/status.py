"""Heartbeats: what every agent tells of itself."""

import logging
from collections.abc import Callable

from msgspec.structs import replace

from agents.lifecycle.loop_watch import sleep_watching
from messages import Bus, Clock, Heartbeat, NewRecord, Producer, Retryable, encode, status_key

RETRY_S = 0.5
_log = logging.getLogger(__name__)


async def beat(
    bus: Bus, producer: Producer, clock: Clock, heartbeat: Callable[[], Heartbeat], interval_ms: int
) -> None:
    """Publish what `heartbeat` returns, at once and then every `interval_ms` of the clock, until cancelled.

    What the bus says of its clients and how late the loop was are added. A heartbeat that the bus does not take is
    missed, and that is its meaning; the next one is tried all the same.
    """
    late_s: float | None = None
    while True:
        unwell = tuple(state for state in bus.health() if state.state != "ok" or state.rebuilds)
        late_ms = None if late_s is None else round(late_s * 1e3, 1)
        message = replace(heartbeat(), clients=unwell, loop_late_ms=late_ms)
        try:
            await producer.publish("status", NewRecord(key=status_key(message).encode(), value=encode(message)))
        except Retryable as error:
            _log.warning("heartbeat of %s missed: %s", message.agent_id, error)
        late_s = await sleep_watching(clock, interval_ms / 1000)


async def publish_at_last(
    producer: Producer, clock: Clock, topic: str, record: NewRecord, *, partition: int | None = None
) -> None:
    """Publish a record that may come twice but must come: try again until it is acknowledged, or cancelled."""
    while True:
        try:
            await producer.publish(topic, record, partition=partition)
        except Retryable as error:
            _log.warning("%s: %s; trying again", topic, error)
            await clock.sleep(RETRY_S)
        else:
            return
