"""Several local brokers as one cluster, for fault drills: each record on three of them, acknowledged by two."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agents.lifecycle import local_kafka
from agents.lifecycle.local_kafka import LocalBroker, free_port, new_cluster_id

COPIES = 3
IN_SYNC = 2
# A dead broker is noticed, and a new controller elected, within seconds: drills wait for it.
_SETTINGS = {
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "controller.quorum.election.timeout.ms": "500",
    "controller.quorum.election.backoff.max.ms": "300",
    "controller.quorum.fetch.timeout.ms": "1500",
    "controller.quorum.request.timeout.ms": "1500",
    "group.initial.rebalance.delay.ms": "0",
    "min.insync.replicas": str(IN_SYNC),
    "transaction.state.log.min.isr": str(IN_SYNC),
    "share.coordinator.state.topic.min.isr": str(IN_SYNC),
}
_COPIED = (
    "default.replication.factor",
    "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor",
    "share.coordinator.state.topic.replication.factor",
)


def new_cluster(directory: Path, nodes: int = COPIES) -> tuple[LocalBroker, ...]:
    """Return brokers on free ports that form one cluster, none started yet. `directory` gets a folder for each."""
    ports = _free_ports(2 * nodes)
    controllers = dict(enumerate(ports[nodes:], start=1))
    cluster_id = new_cluster_id()
    return tuple(
        LocalBroker(
            directory=directory / f"node-{node_id}",
            port=ports[node_id - 1],
            controller_port=controller_port,
            node_id=node_id,
            voters=tuple(f"{voter}@127.0.0.1:{port}" for voter, port in controllers.items()),
            cluster_id=cluster_id,
            settings=_SETTINGS | dict.fromkeys(_COPIED, str(min(COPIES, nodes))),
        )
        for node_id, controller_port in controllers.items()
    )


def url_of(brokers: Iterable[LocalBroker]) -> str:
    """The address to connect to: all brokers."""
    return "kafka://" + ",".join(broker.url.removeprefix("kafka://") for broker in brokers)


def start_all(brokers: Iterable[LocalBroker]) -> None:
    """Start brokers side by side (none is up before most are) and return when each accepts connections.

    Raises as local_kafka.start.
    """
    _side_by_side(local_kafka.start, brokers)


def stop_all(brokers: Iterable[LocalBroker]) -> None:
    """Stop brokers side by side, each by force after 15 s: the last ones have nobody left to hand over to."""
    _side_by_side(lambda broker: local_kafka.stop(broker.directory), brokers)


def kill_all(brokers: Iterable[LocalBroker]) -> None:
    """Kill by SIGKILL those that run, frozen ones too, side by side; their data stays."""
    _side_by_side(local_kafka.kill, brokers)


def _side_by_side(call: Callable[[LocalBroker], object], brokers: Iterable[LocalBroker]) -> None:
    brokers = tuple(brokers)
    with ThreadPoolExecutor(max(len(brokers), 1)) as pool:
        for done in [pool.submit(call, broker) for broker in brokers]:
            done.result()


def _free_ports(count: int) -> list[int]:
    """Different ports: one that was closed again may be offered a second time."""
    ports: dict[int, None] = {}
    while len(ports) < count:
        ports[free_port()] = None
    return list(ports)
