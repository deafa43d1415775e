"""What was told on `risk` of late: read for `status` and `doctor`."""

from messages import Alert, Bus, Partition, Refused, decode
from messages.bus.reading import read_range

_RISK = Partition("risk", 0)
_RECORDS = 10_000  # with a snapshot a second between the alerts, more than two hours


async def read_alerts(bus: Bus) -> list[Alert]:
    """Return the alerts among the newest records of `risk`, oldest first."""
    consumer = await bus.consumer()
    try:
        end = (await consumer.end_offsets([_RISK]))[_RISK]
    finally:
        await consumer.stop()
    alerts = []
    for record in await read_range(bus, {_RISK: (max(0, end - _RECORDS), end)}):
        try:
            message = decode(record.topic, record.value, record.headers)
        except Refused:
            continue
        if isinstance(message, Alert):
            alerts.append(message)
    return alerts
