"""librdkafka's mock cluster, inside the confluent-kafka wheel: brokers of the real protocol that err on demand.

It carries appends, assigned reads, offsets and groups of one member; not batches' deduplication, compaction, retention
or groups of several. Its long poll does not wake for new records.
"""

import ctypes
from collections.abc import Sequence
from enum import IntEnum
from importlib.metadata import files
from typing import Any

from messages.bus.kafka import KafkaBus
from messages.bus.kafka_calls import KafkaTimeouts

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

    NOT_LEADER = 6
    REQUEST_TIMED_OUT = 7
    COORDINATOR_NOT_AVAILABLE = 15
    NOT_COORDINATOR = 16
    NOT_ENOUGH_REPLICAS = 19
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20


class MockCluster:
    """Mock brokers, numbered from 1, and a bus to them. Call `stop` at the end."""

    def __init__(self, *, brokers: int = 1, timeouts: KafkaTimeouts | None = None) -> None:
        self._library = _library()
        problem = ctypes.create_string_buffer(512)
        conf = self._library.rd_kafka_conf_new()
        self._client = self._library.rd_kafka_new(_PRODUCER, conf, problem, len(problem))
        assert self._client, problem.value
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._client, brokers)
        self._timeouts = timeouts
        self._buses: list[KafkaBus] = []

    def create(self, topic: str, *, partitions: int, copies: int = 1) -> None:
        """Create a topic."""
        assert not self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, copies)

    def fail(self, request: Request, answers: Sequence[Answer]) -> None:
        """Answer the next requests of this kind with these errors, one each; what they ask for is not done."""
        array = (ctypes.c_int * len(answers))(*answers)
        self._library.rd_kafka_mock_push_request_errors_array(self._cluster, int(request), len(answers), array)

    def lead(self, topic: str, partition: int, broker: int) -> None:
        """Make another broker the leader of a partition."""
        assert not self._library.rd_kafka_mock_partition_set_leader(self._cluster, topic.encode(), partition, broker)

    def down(self, broker: int) -> None:
        """Close a broker's connections and its port."""
        assert not self._library.rd_kafka_mock_broker_set_down(self._cluster, broker)

    def up(self, broker: int) -> None:
        """Let a broker answer again."""
        assert not self._library.rd_kafka_mock_broker_set_up(self._cluster, broker)

    def connect(self, client: str = "test") -> KafkaBus:
        """Return a new connection."""
        servers = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        self._buses.append(KafkaBus(f"kafka://{servers}", client=client, timeouts=self._timeouts))
        return self._buses[-1]

    async def stop(self) -> None:
        """Close all connections, and the brokers."""
        for bus in self._buses:
            await bus.stop()
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)


def _library() -> Any:
    """The librdkafka that the wheel brings along, with the types of the calls used here."""
    [path] = [each.locate() for each in files("confluent-kafka") or [] if each.name.startswith("librdkafka-")]
    library = ctypes.CDLL(str(path))
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, result, arguments in (
        ("conf_new", pointer, []),
        ("new", pointer, [number, pointer, text, ctypes.c_size_t]),
        ("destroy", None, [pointer]),
        ("mock_cluster_new", pointer, [pointer, number]),
        ("mock_cluster_destroy", None, [pointer]),
        ("mock_cluster_bootstraps", text, [pointer]),
        ("mock_topic_create", number, [pointer, text, number, number]),
        ("mock_partition_set_leader", number, [pointer, text, ctypes.c_int32, ctypes.c_int32]),
        ("mock_broker_set_down", number, [pointer, ctypes.c_int32]),
        ("mock_broker_set_up", number, [pointer, ctypes.c_int32]),
        (
            "mock_push_request_errors_array",
            None,
            [pointer, ctypes.c_int16, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int)],
        ),
    ):
        function = getattr(library, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
    return library
