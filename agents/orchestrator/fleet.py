"""Who is alive and who has staged what: from `status`, pure."""

from collections.abc import Iterable

from messages import Heartbeat, Rejected, Staged


class Fleet:
    """The replicas of Execution, as their heartbeats and answers tell."""

    def __init__(self, timeout_ms: int) -> None:
        self._timeout_ns = timeout_ms * 1_000_000
        self._seen_ns: dict[str, int] = {}
        self._staged: dict[str, set[str]] = {}
        self._rejected: dict[str, dict[str, Rejected]] = {}

    def apply(self, message: object, now_ns: int) -> None:
        """Take in a record of `status`; a heartbeat counts from when it was seen."""
        match message:
            case Heartbeat(agent="execution"):
                self._seen_ns[message.agent_id] = now_ns
                self._holds_exactly(message.agent_id, message.staged)
            case Staged():
                self._staged.setdefault(message.sha256, set()).add(message.agent_id)
                self._rejected.get(message.sha256, {}).pop(message.agent_id, None)
            case Rejected():
                self._rejected.setdefault(message.sha256, {})[message.agent_id] = message
            case _:
                pass

    def _holds_exactly(self, agent_id: str, digests: Iterable[str]) -> None:
        """A replica that was restarted under its old name has to stage again."""
        for holders in self._staged.values():
            holders.discard(agent_id)
        for digest in digests:
            self._staged.setdefault(digest, set()).add(agent_id)

    def live(self, now_ns: int) -> set[str]:
        """Return the replicas whose heartbeat is fresh."""
        return {agent_id for agent_id, seen_ns in self._seen_ns.items() if now_ns - seen_ns <= self._timeout_ns}

    def has_staged_everywhere(self, sha256: str, now_ns: int) -> bool:
        """Whether there are live replicas and all of them have staged the digest."""
        live = self.live(now_ns)
        return bool(live) and live <= self._staged.get(sha256, set())

    def rejection(self, sha256: str, now_ns: int) -> Rejected | None:
        """Return why a live replica has refused the digest, or None."""
        live = self.live(now_ns)
        return next((answer for who, answer in self._rejected.get(sha256, {}).items() if who in live), None)
