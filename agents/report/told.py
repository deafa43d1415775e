"""What people and agents said during a run: switches on `control`, alerts on `risk`."""

from typing import NamedTuple

import numpy as np

from agents.report.log import Records, messages_of
from messages import Adjust, Alert, Flatten, Halt, Limits, Override, Resume

MOST = 200  # a page of thousands tells nothing


class Told(NamedTuple):
    """Something that was said: when (UTC), what it was, by whom, and why."""

    time: str
    what: str
    who: str
    text: str
    is_bad: bool = False


def told(records: Records) -> list[Told]:
    """Return the newest MOST things that were said, oldest first."""
    said: list[tuple[int, Told]] = []
    for topic in ("control", "risk"):
        for _, message in messages_of(topic, records(topic, 0)):
            match message:
                case Halt() | Resume() | Flatten() | Override() | Limits() | Adjust():
                    said.append((message.ts, _switched(message)))
                case Alert():
                    line = Told(_time(message.ts), message.code, message.agent_id, message.text, _is_bad(message))
                    said.append((message.ts, line))
    said.sort(key=lambda one: one[0])
    return [line for _, line in said[-MOST:]]


def _switched(message: Halt | Resume | Flatten | Override | Limits | Adjust) -> Told:
    time = _time(message.ts)
    match message:
        case Halt(scope=scope, level=level, writer=writer, reason=reason):
            return Told(time, f"Halt {level}, {scope}", writer, reason, is_bad=True)
        case Resume(scope=scope):
            what = f"Resume {scope}"
        case Flatten(scope=scope, on=on):
            what = f"Flatten {scope}" + ("" if on else ", off")
        case Override(instrument=instrument, target=target):
            what = f"Override {instrument}, " + ("released" if target is None else f"target {target:g}")
        case Limits(changes=changes):
            what = "Limits " + ", ".join(f"{key} {value:g}" for key, value in changes.items())
        case Adjust(instrument=instrument, quantity=quantity, cash=cash):
            what = f"Adjust cash {cash:+g}" if instrument is None else f"Adjust {instrument} {quantity:+g}"
    return Told(time, what, message.who, message.reason)


def _is_bad(alert: Alert) -> bool:
    return alert.severity == "critical"


def _time(ts_ns: int) -> str:
    return str(np.datetime64(ts_ns, "ns").astype("datetime64[s]")).replace("T", " ")
