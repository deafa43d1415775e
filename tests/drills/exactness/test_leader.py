"""The broker that leads a partition is killed: the same holds, and trading goes on soon.

The short form is in tests/drills/test_faults.py, with all else that brokers can do.
"""

import time

import pytest

from agents.lifecycle import local_cluster, local_kafka
from agents.lifecycle.local_kafka import LocalBroker
from tests.drills.copies import Copies
from tests.drills.exactness.drill import FULL, NewDrill
from tests.drills.exactness.world import SHARDS

pytestmark = [pytest.mark.kafka, pytest.mark.drill, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("form", [FULL], ids=["full"])
def test_the_leader_of_a_partition_is_killed(brokers: tuple[LocalBroker, ...], new_drill: NewDrill) -> None:
    url, took = local_cluster.url_of(brokers), list[float]()
    copies = Copies(url, brokers)
    drill = new_drill("leader killed", brokers=url)
    fleet = drill.fleet
    with drill:
        for number in range(drill.form.leader_kills):
            leader = copies.leader(f"{fleet.cluster.prefix}market", number % SHARDS)
            killed_s = time.monotonic()
            local_kafka.kill(leader)
            drill.expect_trading(f"kill {number} of a leader")
            took.append(time.monotonic() - killed_s)
            local_kafka.start(leader)
            drill.expect_trading(f"return {number} of a leader")
            copies.wait_in_sync()
    drill.note("kills", len(took), "")
    drill.note("kill to every shard deciding, slowest", max(took), "s", most=drill.form.resumes_s)
    assert not drill.problems, "\n".join(drill.problems)
