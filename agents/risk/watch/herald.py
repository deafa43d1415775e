"""What the Risk agent tells others: the Halt first, then the Alert that says why; nothing twice."""

from collections.abc import Iterable

from agents.lifecycle.status import publish_at_last
from agents.risk.watch.crossings import Breach, alert_of
from messages import Alert, Clock, Halt, NewRecord, Producer, control_key, encode
from messages.control import HaltLevel
from messages.control_fold import HaltInForce


class Herald:
    """Writes in the name of `agent_id`, and knows what it has said: what `heard` reads back, restarts included."""

    def __init__(self, agent_id: str, clock: Clock) -> None:
        self._agent_id, self._clock = agent_id, clock
        self._told: set[str] = set()
        self._halting: set[tuple[str, HaltLevel]] = set()  # written, not yet read back
        self._unresolved: set[tuple[str, str]] = set()  # code and scope of what a person has to look at

    def is_own(self, halt: Halt | HaltInForce) -> bool:
        """Whether it was written in this name."""
        return halt.writer == self._agent_id

    def remember(self, halts: Iterable[Halt]) -> None:
        """Take over what was told before a restart: it is told already, wherever it stands."""
        self._told.update(halt.reason for halt in halts if self.is_own(halt))

    def heard(self, halt: Halt) -> None:
        """A Halt stands on `control`."""
        if self.is_own(halt):
            self._told.add(halt.reason)
            self._unresolved.add((halt.reason.split(" ")[0], halt.scope))
            self._halting.discard((halt.scope, halt.level))

    def resumed(self, cleared: Iterable[HaltInForce]) -> None:
        """A person has looked at these."""
        scopes = {halt.scope for halt in cleared}
        self._unresolved = {bad for bad in self._unresolved if bad[1] not in scopes}

    async def tell(self, producer: Producer, breach: Breach, in_force: Iterable[HaltInForce]) -> None:
        """Halt what the breach asks for unless that is in force, then publish its Alert; return when both are there."""
        now_ns, what = self._clock.now_ns(), (breach.scope, breach.level)
        halted = {(halt.scope, halt.level) for halt in in_force if self.is_own(halt)} | self._halting
        if breach.level is not None and what not in halted:
            self._halting.add((breach.scope, breach.level))
            halt = Halt(scope=breach.scope, level=breach.level, writer=self._agent_id, reason=breach.reason, ts=now_ns)
            record = NewRecord(key=control_key(halt).encode(), value=encode(halt))
            await publish_at_last(producer, self._clock, "control", record)
        await self.publish(producer, alert_of(breach, self._agent_id, now_ns))

    async def tell_once(self, producer: Producer, breach: Breach, in_force: Iterable[HaltInForce]) -> None:
        """Tell what is not told yet: read again after a restart, the same record doesn't halt anew."""
        if breach.reason not in self._told:
            await self.tell(producer, breach, in_force)

    async def tell_first(self, producer: Producer, breach: Breach, in_force: Iterable[HaltInForce]) -> None:
        """Tell the first of a flood; the next one only after a person has resumed."""
        if (breach.code, breach.scope) not in self._unresolved:
            self._unresolved.add((breach.code, breach.scope))
            await self.tell_once(producer, breach, in_force)

    async def publish(self, producer: Producer, alert: Alert) -> None:
        """Publish an Alert; return when it is there."""
        record = NewRecord(key=alert.alert_id.encode(), value=encode(alert))
        await publish_at_last(producer, self._clock, "risk", record)
