"""`connect`: from an address to a bus."""

from messages.bus.kafka.timeouts import KafkaTimeouts
from messages.bus.memory.broker import MemoryBroker
from messages.bus.protocol import Bus
from messages.bus.security import Security
from messages.clock import Clock
from messages.errors import Refused


def connect(
    url: str,
    *,
    client: str = "tickpilot",
    prefix: str = "",
    clock: Clock | None = None,
    security: Security | None = None,
    timeouts: KafkaTimeouts | None = None,
) -> Bus:
    """Return a connection to `kafka://host:port[,host:port...]` or to a new in-memory broker, `memory://`.

    `client` names this process in the broker's logs; `prefix` stands before each topic's name on Kafka; `security` is
    how to log in there, by default not at all; `timeouts` is how long to wait for what. Nothing is contacted until the
    bus is used. Raises Refused for an address that is neither, and SecurityError for files that can't be used.
    """
    if url.startswith("memory://"):
        return MemoryBroker(clock=clock).connect(client)
    if url.startswith("kafka://"):
        from messages.bus.kafka.bus import KafkaBus

        return KafkaBus(url, client=client, prefix=prefix, clock=clock, security=security, timeouts=timeouts)
    raise Refused(f"bus address {url!r} is neither kafka://host:port nor memory://; correct `bus` in the settings")
