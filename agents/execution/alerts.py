"""What a shard tells people when its input turns bad, and when it is good again."""

from agents.execution.intake import Turn
from messages import Alert

BEGUN, ENDED = "BAD_INPUT", "INPUT_GOOD_AGAIN"


def alert_of(turn: Turn, partition: int, agent_id: str) -> Alert:
    """Return the alert of a turn. The end has the id of its beginning: the newest of the two stays on `risk`."""
    bad, place = turn.unreadable, f"{turn.topic}-{partition}"
    if turn.has_begun:
        text = (
            f"{place}: {bad.count} records since offset {bad.first_offset} could not be read, the newest: {bad.reason}"
            "; only orders that reduce a position pass until the topic can be read again; see dead-letters"
        )
    else:
        seconds = (turn.at_ns - bad.since_ns) / 1e9
        text = (
            f"{place}: can be read again; {bad.count} records since offset {bad.first_offset} could not be in "
            f"{seconds:.1f} s, the newest: {bad.reason}"
        )
    return Alert(
        alert_id=f"bad-input/{place}/{bad.first_offset}",
        ts=turn.at_ns,
        agent_id=agent_id,
        severity="critical" if turn.has_begun else "info",
        code=BEGUN if turn.has_begun else ENDED,
        text=text,
    )
