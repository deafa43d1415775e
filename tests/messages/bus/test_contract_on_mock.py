"""The part of the bus's contract that librdkafka's mock cluster carries: a second broker that speaks Kafka's protocol.

Not here: creating and describing topics, fencing by another owner, many appends at once, groups of several.
"""

# ruff: noqa: F401 - imported to be collected here, where `cluster` is another

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from tests.clusters import SHARDS
from tests.messages.bus.test_contract import (
    test_a_batch_is_one_append,
    test_a_cancelled_poll_loses_no_record,
    test_a_consumer_may_stop_right_after_its_start,
    test_a_pause_outlives_a_new_assignment,
    test_a_paused_partition_is_silent_until_it_is_resumed,
    test_a_waiting_poll_wakes_for_a_new_record,
    test_assigning_anew_replaces_partitions_and_positions,
    test_beginning_and_end_offsets_need_no_assignment,
    test_key_value_and_headers_come_back_byte_for_byte,
    test_keys_go_to_the_partition_that_java_clients_take,
    test_poll_returns_an_empty_list_when_nothing_comes_in_time,
    test_poll_returns_no_more_than_asked_for_and_position_follows,
    test_records_of_a_partition_keep_their_order_and_get_dense_offsets,
    test_seek_goes_back_and_forth_and_drops_what_was_read_ahead,
    test_stopping_ends_a_waiting_poll,
    test_stopping_twice_is_quiet_and_ends_what_the_client_did,
    test_time_stamps_do_not_fall_on_market,
    test_what_is_too_large_for_one_append_is_refused_whole,
)
from tests.messages.bus.test_contract_fencing import (
    test_owners_of_different_ids_do_not_fence_each_other,
)
from tests.messages.bus.test_contract_start import (
    test_all_is_read_and_then_followed_while_a_writer_goes_on,
    test_pausing_one_partition_keeps_the_position_of_what_was_read_ahead,
)
from tests.messages.bus.test_contract_waiting import (
    test_a_cancelled_poll_or_commit_leaves_a_member_that_goes_on,
    test_stopping_with_much_under_way_is_bounded_and_answers_every_caller,
    test_the_largest_record_passes_and_one_more_byte_than_the_limit_does_not,
)
from tests.mock_cluster import MockCluster, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


@pytest.fixture(scope="module")
def brokers() -> Iterator[MockCluster]:
    started = MockCluster()
    yield started
    started.destroy()


@pytest.fixture
async def cluster(brokers: MockCluster) -> AsyncIterator[MockCluster]:
    brokers.prefix = f"test-{uuid4().hex[:12]}-"
    for topic in ("orders", "market", "decisions"):
        brokers.create(topic, partitions=SHARDS)
    yield brokers
    await brokers.disconnect()
