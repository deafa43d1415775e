"""Whether Risk is alive, as its heartbeats on `status` tell: one that says it can't see (not `live`) is none. Pure."""

from messages import Heartbeat, Record, Refused, decode

_MS = 1_000_000


class RiskWatch:
    """Counts Risk as alive from each heartbeat, seen when it was read, for `timeout_ms`; before the first as silent."""

    def __init__(self, timeout_ms: int) -> None:
        self._timeout_ns = timeout_ms * _MS
        self._seen_ns: int | None = None
        self._since_ns: int | None = None
        self._told: bool | None = None

    @property
    def is_alive(self) -> bool:
        """What `turned` said last; False before."""
        return self._told is True

    def hear(self, record: Record, now_ns: int) -> None:
        """Take a record of `status` in; what can't be read is no heartbeat."""
        try:
            message = decode(record.topic, record.value, record.headers)
        except Refused:
            return
        if isinstance(message, Heartbeat) and message.agent == "risk" and message.state == "live":
            self._seen_ns = now_ns

    def turned(self, now_ns: int) -> bool | None:
        """Return whether Risk is alive when that is news, else None. Silence from the start is news in its time."""
        if self._since_ns is None:
            self._since_ns = now_ns
        since_ns = self._since_ns if self._seen_ns is None else self._seen_ns
        is_silent = now_ns - since_ns > self._timeout_ns
        alive = self._seen_ns is not None and not is_silent
        if alive is self._told or not (alive or is_silent):
            return None
        self._told = alive
        return alive
