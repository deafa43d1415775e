"""Bundles are swapped under bursts: nothing is lost, each order names its bundle, and no decision waits for a swap."""

import time
from collections.abc import Callable
from functools import partial

import pytest

from agents.lifecycle import local_kafka
from agents.lifecycle.local_kafka import LocalBroker
from tests.drills.exactness.drill import FULL, Drill, Form, NewDrill
from tests.drills.exactness.fleet import TIMED
from tests.drills.exactness.latency import Seen, Window, seen
from tests.drills.exactness.world import INSTRUMENTS
from tests.journeys.cluster import is_swapped
from tests.journeys.cluster_settings import Announced

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(1800)]

SETTLE_S = 0.1
MOST_ABOVE_MS = 2.0


def test_swaps_under_bursts_lose_nothing_and_hold_up_no_decision(
    new_drill: NewDrill, form: Form, shelf: Callable[[int], Announced], broker: LocalBroker
) -> None:
    drill = new_drill("swapped", rhythm=form.swap_rhythm)
    fleet, swaps, quiet = drill.fleet, list[Window](), list[Window]()
    bundles = [shelf(sequence) for sequence in range(2, form.swaps + 2)]
    fleet.start_other("orchestrator")
    fleet.have_replicas(TIMED)
    publisher = fleet.cluster.publisher()
    fleet.let_replicas_go_first(local_kafka.pid_of(broker))
    with drill:
        for bundle in bundles:
            began_ns = time.perf_counter_ns()
            publisher.publish("bundles", bundle.announcement, key=bundle.bundle_id)
            drill.expect(partial(is_swapped, bundle=bundle, instruments=INSTRUMENTS), f"bundle {bundle.bundle_id}")
            swaps.append(Window(began_ns, time.perf_counter_ns()))
            drill.read_for(SETTLE_S)
            quiet_ns = time.perf_counter_ns()
            drill.read_for(swaps[-1].seconds)
            quiet.append(Window(quiet_ns, time.perf_counter_ns()))
            drill.read_for(SETTLE_S)
    fleet.leave(TIMED)
    _judge(drill, seen(fleet.timings, swaps), seen(fleet.timings, quiet), swaps)
    orders = {order["bundle_id"] for order in fleet.log.of("orders", "Order")}
    drill.note("bundles that orders name", len(orders & {bundle.bundle_id for bundle in bundles}), "")
    assert not drill.problems, "\n".join(drill.problems)


def _judge(drill: Drill, swapping: Seen, quiet: Seen, swaps: list[Window]) -> None:
    """Only the full form judges times: beside other tests they say nothing."""
    above_ms = swapping.slowest_ms - quiet.slowest_ms
    drill.note("swaps", len(swaps), "")
    drill.note("announced to every shard swapped, slowest", max(window.seconds for window in swaps), "s")
    for when, what in (("during swaps", swapping), ("without", quiet)):
        drill.note(f"steps {when}", what.steps, "steps")
        drill.note(f"step {when}, p50", what.p50_ms, "ms")
        drill.note(f"step {when}, p99.9", what.p999_ms, "ms")
        drill.note(f"step {when}, slowest", what.slowest_ms, "ms")
        drill.note(f"event loop late {when}, p99.9", what.late_p999_ms, "ms")
        drill.note(f"event loop late {when}, most", what.latest_ms, "ms")
        drill.note(f"event loop late {when}, most in a typical window", what.typical_latest_ms, "ms")
    most = MOST_ABOVE_MS if drill.form is FULL else None
    drill.note("slowest step during swaps above the slowest without", above_ms, "ms", most=most)
    later_ms = swapping.typical_latest_ms - quiet.typical_latest_ms
    drill.note("event loop later in a typical window of a swap than without", later_ms, "ms")
