"""librdkafka's mock cluster, inside the confluent-kafka wheel: brokers of the real protocol that err on demand.

It carries appends, assigned reads, offsets and groups of one member; not batches' deduplication, compaction, retention
or groups of several. Its long poll does not wake for new records, it gives
one append a fetch, creates no topics on request, and takes a second to notice one call in ten.
"""

import ctypes
from collections.abc import Sequence
from enum import IntEnum
from importlib.metadata import PackageNotFoundError, files
from typing import Any

from messages.bus.kafka.bus import KafkaBus
from messages.bus.kafka.calls import KafkaTimeouts

_PRODUCER = 0


class Request(IntEnum):
    """Kafka's number of a request."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    OFFSET_COMMIT = 8
    FIND_COORDINATOR = 10
    INIT_PRODUCER_ID = 22


class Answer(IntEnum):
    """Kafka's number of an error."""

    OFFSET_OUT_OF_RANGE = 1
    LEADER_NOT_AVAILABLE = 5
    NOT_LEADER = 6
    REQUEST_TIMED_OUT = 7
    COORDINATOR_LOAD_IN_PROGRESS = 14
    COORDINATOR_NOT_AVAILABLE = 15
    NOT_COORDINATOR = 16
    NOT_ENOUGH_REPLICAS = 19
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20
    INVALID_PRODUCER_EPOCH = 47
    CONCURRENT_TRANSACTIONS = 51


class MockCluster:
    """Mock brokers, numbered from 1, and a bus to them. Call `stop` at the end.

    `prefix` stands before the names of topics and groups, for tests that share the brokers.
    """

    def __init__(self, *, brokers: int = 1, timeouts: KafkaTimeouts | None = None) -> None:
        self._library = _library()
        problem = ctypes.create_string_buffer(512)
        conf = self._library.rd_kafka_conf_new()
        self._client = self._library.rd_kafka_new(_PRODUCER, conf, problem, len(problem))
        assert self._client, problem.value
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, brokers)
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        self.prefix = ""
        self._timeouts = timeouts
        self._buses: list[KafkaBus] = []

    def create(self, topic: str, *, partitions: int, copies: int = 1) -> None:
        """Create a topic."""
        assert not self._library.rd_kafka_mock_topic_create(self._cluster, self._name(topic), partitions, copies)

    def fail(self, request: Request, answers: Sequence[Answer]) -> None:
        """Answer the next requests of this kind with these errors, one each; what they ask for is not done.

        Metadata does not heed it: see `fail_topic`.
        """
        array = (ctypes.c_int * len(answers))(*answers)
        self._library.rd_kafka_mock_push_request_errors_array(self._cluster, int(request), len(answers), array)

    def fail_topic(self, topic: str, answer: Answer | None) -> None:
        """Tell this error of a topic in metadata from now on; None: no more."""
        self._library.rd_kafka_mock_topic_set_error(self._cluster, self._name(topic), answer or 0)

    def lead(self, topic: str, partition: int, broker: int) -> None:
        """Make another broker the leader of a partition."""
        assert not self._library.rd_kafka_mock_partition_set_leader(self._cluster, self._name(topic), partition, broker)

    def down(self, broker: int) -> None:
        """Close a broker's connections and its port."""
        assert not self._library.rd_kafka_mock_broker_set_down(self._cluster, broker)

    def up(self, broker: int) -> None:
        """Let a broker answer again."""
        assert not self._library.rd_kafka_mock_broker_set_up(self._cluster, broker)

    def slow(self, broker: int, rtt_ms: int) -> None:
        """Let each of a broker's answers take so long; 0: at once again."""
        assert not self._library.rd_kafka_mock_broker_set_rtt(self._cluster, broker, rtt_ms)

    def connect(self, client: str = "test") -> KafkaBus:
        """Return a new connection."""
        servers = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        self._buses.append(KafkaBus(f"kafka://{servers}", client=client, prefix=self.prefix, timeouts=self._timeouts))
        return self._buses[-1]

    async def disconnect(self) -> None:
        """Close all connections."""
        while self._buses:
            await self._buses.pop().stop()

    async def stop(self) -> None:
        """Close all connections, and the brokers."""
        try:
            await self.disconnect()
        finally:
            self.destroy()

    def destroy(self) -> None:
        """End the brokers."""
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)

    def _name(self, topic: str) -> bytes:
        return (self.prefix + topic).encode()


def why_not() -> str:
    """Return why there can be no mock cluster here; empty where there can."""
    try:
        _library()
    except (PackageNotFoundError, OSError, AttributeError) as error:
        return f"the confluent-kafka wheel brings no mock cluster along: {error}"
    return ""


def _library() -> Any:
    """The librdkafka that the wheel brings along, with the types of the calls used here."""
    found = [each.locate() for each in files("confluent-kafka") or [] if each.name.startswith("librdkafka-")]
    if len(found) != 1:
        raise OSError(f"one librdkafka was to be found, but there are {len(found)}")
    library = ctypes.CDLL(str(found[0]))
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, result, arguments in (
        ("conf_new", pointer, []),
        ("new", pointer, [number, pointer, text, ctypes.c_size_t]),
        ("destroy", None, [pointer]),
        ("mock_cluster_new", pointer, [pointer, number]),
        ("mock_cluster_destroy", None, [pointer]),
        ("mock_cluster_bootstraps", text, [pointer]),
        ("mock_group_initial_rebalance_delay_ms", None, [pointer, ctypes.c_int32]),
        ("mock_topic_create", number, [pointer, text, number, number]),
        ("mock_topic_set_error", None, [pointer, text, number]),
        ("mock_partition_set_leader", number, [pointer, text, ctypes.c_int32, ctypes.c_int32]),
        ("mock_broker_set_down", number, [pointer, ctypes.c_int32]),
        ("mock_broker_set_up", number, [pointer, ctypes.c_int32]),
        ("mock_broker_set_rtt", number, [pointer, ctypes.c_int32, number]),
        (
            "mock_push_request_errors_array",
            None,
            [pointer, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int)],
        ),
    ):
        function = getattr(library, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
    return library
