"""How the Kafka bus waits: every call has a bound, every aiokafka error becomes one of ours."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    InvalidProducerEpoch,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    RequestTimedOutError,
)
from aiokafka.errors import ProducerFenced as RawProducerFenced
from aiokafka.record import default_records

from messages.bus.kafka.refusals import refusal
from messages.bus.kafka.timeouts import KafkaTimeouts as KafkaTimeouts  # noqa: PLC0414 - they go with these calls
from messages.errors import BusTimeout, BusUnavailable, PartitionLost, ProducerFenced, Refused, TickpilotError

T = TypeVar("T")
_log = logging.getLogger("tickpilot.bus")
_CUT_S = 0.5


async def bounded(url: str, operation: str, work: Awaitable[T], timeout_s: float) -> T:
    """Return what `work` returns, within `timeout_s`. Raises BusTimeout, or aiokafka's error as one of ours."""
    try:
        async with asyncio.timeout(timeout_s):
            return await work
    except TimeoutError as error:
        raise BusTimeout(operation, timeout_s) from error
    except (KafkaError, OSError, RuntimeError) as error:
        raise as_bus_error(error, url, operation, timeout_s) from error
    except AssertionError as error:  # aiokafka takes for granted what a broker that has just come back may not know
        raise BusUnavailable(url, f"{operation}: the metadata names no broker ({error})") from error


async def started(url: str, what: str, start: Callable[[], Awaitable[None]], timeout_s: float) -> None:
    """Start a client. Raises BusUnavailable when no broker answers within `timeout_s`."""
    try:
        await bounded(url, f"starting {what}", start(), timeout_s)
    except BusTimeout as error:
        raise BusUnavailable(url, f"no broker answered within {timeout_s:g} s while starting {what}") from error


def as_bus_error(
    error: Exception, url: str, operation: str, timeout_s: float, producer_id: str | None = None
) -> TickpilotError:
    """Return the error of our hierarchy for one of aiokafka's, of a socket, or of uvloop's closed transports."""
    if isinstance(error, TickpilotError):
        return error
    if isinstance(error, (RawProducerFenced, InvalidProducerEpoch)) and producer_id is not None:
        return ProducerFenced(producer_id)
    if isinstance(error, (MessageSizeTooLargeError, RecordListTooLargeError)):
        return Refused(f"{operation}: the broker or the client finds it too large ({error}); send less at once")
    if isinstance(error, (KafkaTimeoutError, RequestTimedOutError)):
        return BusTimeout(operation, timeout_s)
    if isinstance(error, (CommitFailedError, IllegalStateError)):
        return PartitionLost(operation, str(error))
    if (refused := refusal(error, url, operation)) is not None:
        return refused
    return BusUnavailable(url, f"{operation}: {type(error).__name__}: {error}")


async def closed(url: str, what: str, close: Coroutine[Any, Any, None], client: Any, stop_s: float) -> None:
    """Wait for `close`, at most `stop_s`; then cut `client`'s connections. Raises BusTimeout if it came to that.

    Closing runs in a task of its own: aiokafka's `stop` may raise a CancelledError that is nobody's cancellation.
    """
    task = asyncio.create_task(close, name=f"closing {what}")
    try:
        _, pending = await asyncio.wait({task}, timeout=stop_s)
        if not pending and not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("client did not close cleanly what=%s url=%s error=%r", what, url, error)
    finally:
        if not task.done() or task.cancelled() or task.exception() is not None:
            await _cut(task, client)
    if pending:
        raise BusTimeout(f"stopping {what}", stop_s)


async def _cut(task: asyncio.Task[None], client: Any) -> None:
    """Close the connections, so that nobody waits for an answer any more, and end the closing task."""
    for connection in list(client._conns.values()):  # noqa: SLF001 - aiokafka has no way to give up
        connection.close()
    await asyncio.wait({task}, timeout=_CUT_S)
    task.cancel()
    await asyncio.wait({task}, timeout=_CUT_S)
    rest = asyncio.create_task(client.close(), name="closing connections")
    await asyncio.wait({rest}, timeout=_CUT_S)
    rest.cancel()


def warn_if_slow() -> bool:
    """Return whether aiokafka lacks its compiled record parser, 28 times faster than the other; say it loudly."""
    is_slow: bool = default_records.DefaultRecordBatchBuilder is default_records._DefaultRecordBatchBuilderPy  # noqa: SLF001 - there is no public way to ask
    if is_slow:
        _log.error("aiokafka runs without its compiled extension, 28 times slower: install a wheel of it")
    return is_slow
