"""Execution's errors."""

from messages.errors import Fatal


class StepOutOfTurn(Fatal):
    """Raised when a step is not the next one of its shard: applying it would break the chain."""

    def __init__(self, partition: int, detail: str) -> None:
        super().__init__(f"shard {partition}: {detail}; the step is not applied, restart the replica to recover")
        self.partition, self.detail = partition, detail


class LogBroken(Fatal):
    """Raised when the log of a shard has a hole: its state can't be rebuilt."""

    def __init__(self, partition: int, detail: str) -> None:
        super().__init__(
            f"shard {partition}: {detail}; don't trade this partition before the topics were repaired or restored"
        )
        self.partition, self.detail = partition, detail
