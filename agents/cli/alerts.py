"""What was told on `risk` of late: read for `status` and `doctor`."""

from messages import Alert, Bus, Partition
from messages.bus.reading import message_in, read_newest

_RISK = Partition("risk", 0)
_RECORDS = 10_000  # with a snapshot a second between the alerts, more than two hours


async def read_alerts(bus: Bus) -> list[Alert]:
    """Return the alerts among the newest records of `risk`, oldest first."""
    told = map(message_in, await read_newest(bus, _RISK, _RECORDS))
    return [message for message in told if isinstance(message, Alert)]
