"""A Halt under load: how soon the last order is on the topic, what becomes of open orders, and all of it in the log."""

from collections.abc import Callable, Iterable

import pytest

from tests.checker import steps_of
from tests.drills.exactness.checks import problems, rederived
from tests.drills.exactness.world import SHARDS
from tests.drills.risk.fleet import Fleet
from tests.drills.risk.form import Findings
from tests.drills.risk.world import INSTRUMENTS, RESTING, STRATEGIES, STRATEGY_OF
from tests.journeys.plain_kafka import Json, Log

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1800)]

WRITER = "ann"
_MS = 1e6
SCOPES: dict[str, tuple[str, ...]] = {
    "portfolio": INSTRUMENTS,
    f"strategy:{RESTING}": STRATEGIES[RESTING],
    "instrument:SYN-A": ("SYN-A",),
}


def test_after_a_halt_no_order_follows_and_what_is_open_is_cancelled(
    fleet: Fleet, findings: Callable[[str], Findings]
) -> None:
    found = findings("kill")
    last_order_ms, in_force_ms, acknowledged_ms = [], [], []
    fleet.start_load(found.form.rate_hz)
    for number in range(found.form.kills):
        scope, names = list(SCOPES.items())[number % len(SCOPES)]
        halt = {"type": "Halt", "scope": scope, "level": "halted", "writer": WRITER, "reason": f"kill {number}"}
        offset, began_ns, acknowledged_ns = fleet.control(halt, f"halt/{scope}/{WRITER}")
        acknowledged_ms.append((acknowledged_ns - began_ns) / _MS)
        in_force_ms.append((fleet.wait_applied(offset) - began_ns) / _MS)
        fleet.wait_nothing_open(names)
        last_order_ms.append(max(0.0, (fleet.sightings.last(*names) - began_ns) / _MS))
        if number % 2 == 0:
            _flatten(fleet, scope, names)
        resume = {"type": "Resume", "scope": scope, "clears": [offset], "who": WRITER, "reason": "drill"}
        fleet.control(resume, f"halt/{scope}/{WRITER}")
        fleet.expect_orders(names[:1])
    found.problems += fleet.stop_load()
    fleet.log.read_to_end()
    found.note("kills", found.form.kills, "")
    found.note("quotes a second", found.form.rate_hz, "1/s")
    found.note_spread("halt to the last order seen", last_order_ms, "ms", most_p99=found.form.kill_ms)
    found.note_spread("halt to its acknowledgement", acknowledged_ms, "ms")
    found.note_spread("halt to in force in every shard", in_force_ms, "ms")
    late_ms = [beat.get("loop_late_ms") or 0.0 for beat in fleet.log.of("status", "Heartbeat") if beat.get("shards")]
    found.note("how late the replica's loop was, worst", max(late_ms), "ms")
    found.forbid("orders in a halted scope", _under_halt(fleet.log))
    cancelled = [cancel for cancel in fleet.log.of("orders", "Cancel") if cancel["reason"] == "halted"]
    found.note("resting orders cancelled by halts", len(cancelled), "")
    found.forbid("halts that found nothing to cancel at all", [] if cancelled else ["no order was open at any halt"])
    found.forbid("problems in the log", problems(fleet.log, fleet.acknowledged))
    derived = rederived(fleet.log, fleet.cluster, fleet.registry)
    found.forbid("orders that another derivation does not give", list(map(str, derived.mismatches)))
    assert not found.problems, "\n".join(found.problems)


def _flatten(fleet: Fleet, scope: str, names: tuple[str, ...]) -> None:
    """Close what is held under the Halt, then switch flattening off again."""
    flatten = {"type": "Flatten", "scope": scope, "who": WRITER, "reason": "drill"}
    fleet.control({**flatten, "on": True}, f"flatten/{scope}")
    fleet.wait(lambda _: not fleet.books.positions(names) and not fleet.books.open_orders(names), f"{scope} is flat")
    fleet.control({**flatten, "on": False}, f"flatten/{scope}")


def _under_halt(log: Log) -> list[str]:
    """Return the orders that were decided in a step with, or after, a Halt of their scope; all but exits to zero."""
    wrong = []
    for shard in range(SHARDS):
        halts: dict[int, str] = {}
        flattening: set[str] = set()
        for logged in steps_of(log.topic("decisions", shard))[0]:
            for offset, message in _applied(logged):
                match message["type"]:
                    case "Halt":
                        halts[offset] = message["scope"]
                    case "Resume":
                        halts = {at: scope for at, scope in halts.items() if at not in message["clears"]}
                    case "Flatten":
                        (flattening.add if message["on"] else flattening.discard)(message["scope"])
            for order in logged.get("orders", ()):
                scopes = {
                    "portfolio",
                    f"strategy:{STRATEGY_OF[order['instrument']]}",
                    f"instrument:{order['instrument']}",
                }
                is_exit = order.get("reduce_only") and scopes & flattening
                if order["type"] == "Order" and scopes & set(halts.values()) and not is_exit:
                    wrong.append(f"order {order['seq']} of shard {shard} under {sorted(halts)}")
    return wrong


def _applied(logged: Json) -> Iterable[tuple[int, Json]]:
    for entry in logged["step"].get("inputs", ()):
        if entry["type"] == "ControlApplied":
            yield entry["offset"], entry["message"]
