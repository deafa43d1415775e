"""Which limits are passed, and since when that is told: each crossing once, restarts included. Pure."""

from collections.abc import Iterable

from msgspec import Struct

from messages import Alert
from messages.control import PORTFOLIO, HaltLevel

# What lasts and ends. What else is told has happened once, and is over.
_LASTING = frozenset(
    {
        "DRAWDOWN",
        "DAILY_LOSS",
        "GROSS_EXPOSURE",
        "NET_EXPOSURE",
        "LOSS_STREAK",
        "REJECT_RATIO",
        "STALE_MARKET",
        "POSITION_DISAGREEMENT",
        "DECISION_LATENCY",
        "ACTION_SATURATION",
        "REPEATED_EXECUTION",
    }
)
LOSSES = frozenset({"DRAWDOWN", "DAILY_LOSS"})
_ENDED = "_ENDED"
_MS = 1_000_000
_ID_CHARACTERS = 128


class Breach(Struct, frozen=True, kw_only=True):
    """A limit that is passed. `level`: what has to be halted; None: only an alert. `text` names limit and value.

    It concerns an `instrument`, a `shard` (partition), or the portfolio.
    """

    code: str
    text: str
    level: HaltLevel | None = None
    instrument: str | None = None
    shard: int | None = None

    @property
    def subject(self) -> str:
        """What it concerns, as text."""
        if self.instrument is not None:
            return self.instrument
        return PORTFOLIO if self.shard is None else f"shard-{self.shard}"

    @property
    def reason(self) -> str:
        """What stands in its Halt."""
        return f"{self.code} {self.text}"

    @property
    def scope(self) -> str:
        """What has to be halted."""
        return PORTFOLIO if self.instrument is None else f"instrument:{self.instrument}"


def alert_of(breach: Breach, agent_id: str, now_ns: int) -> Alert:
    """Return the alert that a limit is passed. Its id is the limit's: the newest alert of each stays on `risk`."""
    return Alert(
        alert_id=_alert_id(breach, agent_id) if breach.code in _LASTING else f"{agent_id}/{breach.code}/{now_ns}",
        ts=now_ns,
        agent_id=agent_id,
        severity="warning" if breach.level is None else "critical",
        code=breach.code,
        text=breach.text,
        instrument=breach.instrument,
    )


def _alert_id(breach: Breach, agent_id: str) -> str:
    return f"{agent_id}/{breach.code}/{breach.subject}"[:_ID_CHARACTERS]


class Crossings:
    """The limits that count as passed. One ends when its figure was inside for `hold_ms`, or when a person resumes.

    So a figure that trembles around its limit is told once.
    """

    def __init__(self, agent_id: str, hold_ms: int) -> None:
        self._agent_id, self._hold_ns = agent_id, hold_ms * _MS
        self._open: dict[str, Alert] = {}
        self._inside_ns: dict[str, int] = {}
        self._is_resumed = False

    def take(self, breaches: Iterable[Breach], now_ns: int) -> tuple[list[Breach], list[Alert]]:
        """Return what is passed anew, and the alerts that say what is not any more."""
        passed = {_alert_id(breach, self._agent_id): breach for breach in breaches}
        fresh = [breach for key, breach in passed.items() if key not in self._open]
        for key in passed:
            self._inside_ns.pop(key, None)
        for breach in fresh:
            alert = alert_of(breach, self._agent_id, now_ns)
            self._open[alert.alert_id] = alert
        hold_ns, self._is_resumed = 0 if self._is_resumed else self._hold_ns, False
        return fresh, [
            self._end(key, now_ns)
            for key in list(self._open)
            if key not in passed and now_ns - self._inside_ns.setdefault(key, now_ns) >= hold_ns
        ]

    def _end(self, key: str, now_ns: int) -> Alert:
        began = self._open.pop(key)
        del self._inside_ns[key]
        return Alert(
            alert_id=key,
            ts=now_ns,
            agent_id=self._agent_id,
            severity="info",
            code=began.code + _ENDED,
            text=f"inside its limit again; it was: {began.text}",
            instrument=began.instrument,
        )

    def is_open(self, codes: frozenset[str]) -> bool:
        """Whether a limit of one of these codes counts as passed."""
        return any(alert.code in codes for alert in self._open.values())

    def resumed(self) -> None:
        """A person has looked: what is inside its limit now has ended, and passes it anew at the next crossing."""
        self._is_resumed = True

    def restore(self, alerts: Iterable[Alert]) -> None:
        """Take over what was told before a restart: this agent's alerts, oldest first."""
        for alert in alerts:
            if alert.agent_id != self._agent_id or alert.code.removesuffix(_ENDED) not in _LASTING:
                continue
            if alert.code.endswith(_ENDED):
                self._open.pop(alert.alert_id, None)
            else:
                self._open[alert.alert_id] = alert
