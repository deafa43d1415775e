"""Which records of one partition of `orders` count: those of its newest owner, each once, in constant memory."""

from messages import Alert, Claim, Record
from messages.orders import OrderMessage

GAP = "ORDERS_MISSING"


class Intake:
    """Follows Claims and `seq` of one partition. `void`: records of older owners; `missing`: gaps in `seq`."""

    def __init__(self) -> None:
        self.void = self.missing = 0
        self._epoch: int | None = None
        self._next_seq: int | None = None

    def takes(self, record: Record, message: OrderMessage) -> bool:
        """Take the partition's next record in; return whether it is an order or a cancel to be carried out."""
        if isinstance(message, Claim):
            self._epoch = record.offset
            return False
        if self._epoch is None:  # retention has taken the Claim
            self._epoch = message.epoch
        if message.epoch != self._epoch:
            self.void += 1
            return False
        if self._next_seq is not None and message.seq < self._next_seq:
            return False
        if self._next_seq is not None:
            self.missing += message.seq - self._next_seq
        self._next_seq = message.seq + 1
        return True


def gap_alert(partition: int, missing: int, *, agent_id: str, at_ns: int) -> Alert:
    """Return the alert of a venue that has noticed a gap: `missing` orders and cancels since it started."""
    return Alert(
        alert_id=f"orders-missing/{agent_id}/{partition}",
        ts=at_ns,
        agent_id=agent_id,
        severity="critical",
        code=GAP,
        text=f"orders-{partition}: {missing} orders or cancels never came; what did is carried out. "
        "Look whether the topic has lost records, or its retention is shorter than the venue was away",
    )
