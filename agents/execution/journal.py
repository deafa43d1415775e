"""Which steps still have to be logged, and where: in the header of the next orders, then on `decisions`."""

from collections import deque
from collections.abc import Iterable, Sequence

from messages import DecisionBatch, LoggedStep, encode

LOGIC_VERSION = 1


class Journal:
    """The steps of one owner of one shard that are not yet acknowledged on `decisions`.

    A batch of orders carries, in the header of its first record, all steps since the last such batch or the last
    acknowledged flush. A step is flushed to `decisions` only after its orders, and all orders before it, are
    acknowledged: so an order in `decisions` is on `orders`.
    """

    def __init__(self, *, partition: int, epoch: int, next_step: int) -> None:
        self._partition, self._epoch = partition, epoch
        self._steps: deque[LoggedStep] = deque()
        self._carried_to = next_step
        self._unsent: deque[int] = deque()

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, logged: LoggedStep) -> bytes | None:
        """Take the next step; return the log header when it has orders, which must then be sent in this order."""
        self._steps.append(logged)
        if not logged.orders:
            return None
        n = logged.step.n
        header = self._encode(step for step in self._steps if step.step.n >= self._carried_to)
        self._carried_to = n + 1
        self._unsent.append(n)
        return header

    def orders_acknowledged(self, n: int) -> None:
        """The orders of step `n` are on the topic; batches are acknowledged in the order they were made."""
        if not self._unsent or self._unsent[0] != n:
            raise ValueError(f"orders of step {n} acknowledged out of turn; waiting for {list(self._unsent)[:3]}")
        self._unsent.popleft()

    def flushable(self) -> Sequence[LoggedStep]:
        """Return the steps that may go to `decisions` now."""
        barrier = self._unsent[0] if self._unsent else None
        return [step for step in self._steps if barrier is None or step.step.n < barrier]

    def first_pending(self, default: int) -> int:
        """Return the first step that is not acknowledged on `decisions`, or `default`."""
        return self._steps[0].step.n if self._steps else default

    def batch(self, steps: Iterable[LoggedStep]) -> bytes:
        """Return the bytes of a DecisionBatch of these steps under this owner's epoch."""
        return self._encode(steps)

    def decisions_acknowledged(self, n: int) -> None:
        """All steps up to and including `n` are on `decisions`."""
        while self._steps and self._steps[0].step.n <= n:
            self._steps.popleft()
        self._carried_to = max(self._carried_to, n + 1)

    def _encode(self, steps: Iterable[LoggedStep]) -> bytes:
        return encode(
            DecisionBatch(partition=self._partition, epoch=self._epoch, logic_version=LOGIC_VERSION, steps=tuple(steps))
        )
