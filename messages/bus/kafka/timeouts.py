"""How long the Kafka bus waits for what. The group `kafka` of the settings fills it."""

from typing import Annotated

from msgspec import Meta, Struct

Seconds = Annotated[float, Meta(gt=0, le=3600)]
Milliseconds = Annotated[int, Meta(ge=1, le=60_000)]


class KafkaTimeouts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the Kafka bus waits before it raises BusTimeout, in seconds, and how often it asks."""

    start_s: Seconds = 10.0  # connect, and find the cluster's brokers
    send_s: Seconds = 10.0  # one acknowledgement; after it the record's fate is unknown
    request_s: Seconds = 5.0  # one request to one broker, before the connection is given up and made anew
    commit_s: Seconds = 5.0
    metadata_s: Seconds = 10.0  # offsets, topics, creation
    stop_s: Seconds = 5.0  # flush, leave and close; then connections are cut
    session_s: Seconds = 6.0  # a group forgets a member that was silent for so long
    rebalance_s: Seconds = 10.0  # a group waits so long for its members to give up partitions
    revoke_s: Seconds = 8.0  # on_revoked has so long before partitions go anyway
    stall_s: Seconds = 4.0  # without progress that is due for so long a client is stalled, and rebuilt
    look_s: Seconds = 1.0  # so often is looked for progress; the ends of what stands still are asked for then
    heartbeat_ms: Milliseconds = 300
    fetch_wait_ms: Milliseconds = 20  # a drained partition waits so long for an idle one: one fetch is under way
    follow_wait_ms: Milliseconds = 250  # the same where one partition is followed, and none waits for another
    retry_backoff_ms: Milliseconds = 20
