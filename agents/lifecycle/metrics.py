"""Metrics of a process for Prometheus, over HTTP: how its bus clients and its event loop are."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client import Counter as CounterMetric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from agents.lifecycle.loop_watch import sleep_watching
from agents.lifecycle.supervisor import Supervisor
from messages import Bus, ClientState, Clock

REGISTRY = CollectorRegistry()  # what is counted where it happens, for the whole process
DEAD_LETTERS = CounterMetric(
    "tickpilot_dead_letters",
    "Records parked on dead-letters, by the topic they came from.",
    ["topic"],
    registry=REGISTRY,
)
_LATE_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_REQUEST_S, _MAX_REQUEST_BYTES = 5.0, 16 * 1024
_SLICE_S = 60.0
_log = logging.getLogger(__name__)

_READERS = frozenset({"consumer", "member"})


class BusCollector(Collector):
    """Turns the states of a bus's clients into metrics whenever they are asked for."""

    def __init__(self, states: Callable[[], Iterable[ClientState]], clock: Clock) -> None:
        self._states, self._clock = states, clock

    def collect(self) -> Iterator[Metric]:
        labels = ["client", "kind"]
        up = GaugeMetricFamily("tickpilot_bus_client_up", "1 while the client makes the progress due.", labels=labels)
        stalled = GaugeMetricFamily(
            "tickpilot_bus_client_stalled_seconds",
            "For how long a stalled client has made no progress, and why.",
            labels=[*labels, "reason"],
        )
        rebuilds = CounterMetricFamily("tickpilot_bus_client_rebuilds", "Raw clients replaced.", labels=labels)
        timeouts = CounterMetricFamily("tickpilot_bus_timeouts", "Calls without an answer in time.", labels=labels)
        read = CounterMetricFamily("tickpilot_bus_records_read", "Records read.", labels=labels)
        lag = GaugeMetricFamily("tickpilot_bus_lag_records", "Records between position and end.", labels=labels)
        sent = CounterMetricFamily("tickpilot_bus_sends_acknowledged", "Sends acknowledged.", labels=labels)
        waiting = GaugeMetricFamily("tickpilot_bus_sends_unacknowledged", "Sends under way.", labels=labels)
        for name, state in _named(self._states()):
            who = [name, state.kind]
            up.add_metric(who, 1.0 if state.state == "ok" else 0.0)
            if state.state == "stalled":
                stalled.add_metric([*who, state.reason], (self._clock.now_ns() - state.since_ns) / 1e9)
            rebuilds.add_metric(who, state.rebuilds)
            timeouts.add_metric(who, state.timeouts)
            handled, behind = (read, lag) if state.kind in _READERS else (sent, waiting)
            handled.add_metric(who, state.handled)
            behind.add_metric(who, state.behind)
        yield from (up, stalled, rebuilds, timeouts, read, lag, sent, waiting)


def _named(states: Iterable[ClientState]) -> Iterator[tuple[str, ClientState]]:
    """Give clients of the same name a number each: a label may stand only once."""
    seen: Counter[str] = Counter()
    for state in states:
        seen[state.name] += 1
        yield state.name if seen[state.name] == 1 else f"{state.name} #{seen[state.name]}", state


@asynccontextmanager
async def serving_metrics(bus: Bus, clock: Clock, *, host: str, port: int | None) -> AsyncIterator[int | None]:
    """Serve the process's metrics while the context lasts; yields the port, or None when `port` is None (off).

    Port 0 takes a free one. It is served from the agents' own loop: no answer means that the loop hangs.
    """
    if port is None:
        yield None
        return
    registry = CollectorRegistry()
    registry.register(BusCollector(bus.health, clock))
    late = Histogram(
        "tickpilot_loop_late_seconds",
        "How much later than asked a short sleep ended.",
        buckets=_LATE_BUCKETS,
        registry=registry,
    )
    tasks = Supervisor()
    tasks.spawn(_watch_loop(clock, late.observe), "loop watch")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _answer(reader, writer, lambda: generate_latest(registry) + generate_latest(REGISTRY))

    server = await asyncio.start_server(answer, host, port, limit=_MAX_REQUEST_BYTES)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await tasks.stop()


async def _watch_loop(clock: Clock, heard: Callable[[float], object]) -> None:
    while True:
        await sleep_watching(clock, _SLICE_S, heard)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, page: Callable[[], bytes]) -> None:
    """Answer one request and close, as HTTP/1.0 does; every path but /metrics is unknown."""
    try:
        async with asyncio.timeout(_REQUEST_S):
            head = await reader.readuntil(b"\r\n\r\n")
            words = head.split(b" ", 2)
            is_known = words[:1] == [b"GET"] and len(words) > 1 and words[1].split(b"?")[0] in {b"/metrics", b"/"}
            status, body = ("200 OK", page()) if is_known else ("404 Not Found", b"")
            header = f"HTTP/1.0 {status}\r\nContent-Type: {CONTENT_TYPE_LATEST}\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(header.encode() + body)
            await writer.drain()
    except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        _log.info("a request for metrics came to nothing: %r", error)
    finally:
        writer.close()
