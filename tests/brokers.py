"""A real Apache Kafka for the tests: the one named in the environment, one in Docker, or one from Maven artifacts."""

import gc
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from agents.lifecycle import local_cluster, local_kafka
from messages.errors import Refused

IMAGE = "apache/kafka:4.1.0"


class NoKafka(Exception):  # noqa: N818 - an answer, not an accident
    """Raised when no way to a Kafka works; the text names each and why it did not."""


@contextmanager
def running_kafka() -> Iterator[str]:
    """Yield the address of a Kafka, which is stopped afterwards if it was started here. Raises NoKafka."""
    if servers := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield f"kafka://{servers}"
        return
    reasons = ["KAFKA_BOOTSTRAP_SERVERS is not set"]
    if (reason := _why_no_docker()) is None:
        with _docker_kafka() as url:
            yield url
        return
    reasons.append(reason)
    try:
        local_kafka.check_tools()
    except Refused as error:
        reasons.append(str(error))
        raise NoKafka("; ".join(reasons)) from error
    with own_broker() as broker:
        yield broker.url


@contextmanager
def own_broker(settings: Mapping[str, str] | None = None) -> Iterator[local_kafka.LocalBroker]:
    """Yield a local broker of one's own, for tests that freeze or kill it, or change its settings.

    Its data goes with it.
    """
    remove_left_behind()
    directory = new_directory()
    broker = msgspec.structs.replace(local_kafka.new_broker(directory), settings=dict(settings or {}))
    try:
        local_kafka.start(broker)
        yield broker
    finally:
        local_kafka.stop(directory)
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def own_cluster() -> Iterator[tuple[local_kafka.LocalBroker, ...]]:
    """Yield three local brokers, one cluster, for tests that freeze or kill some. Their data goes with them."""
    remove_left_behind()
    directory = new_directory()
    brokers = local_cluster.new_cluster(directory)
    try:
        local_cluster.start_all(brokers)
        yield brokers
    finally:
        local_cluster.kill_all(brokers)  # in order it would take long, for data that nobody wants
        shutil.rmtree(directory, ignore_errors=True)


def new_directory() -> Path:
    """Return a place for a broker of this test run, which is cleared when the run is gone."""
    return local_kafka.HOME / f"test-{os.getpid()}-{local_kafka.free_port()}"


def remove_left_behind() -> None:
    """Stop brokers whose test run was killed before it could do so, and remove their data."""
    for directory in local_kafka.HOME.glob("test-*-*"):
        owner = int(directory.name.split("-")[1])
        if not Path(f"/proc/{owner}").exists() and not _is_running(owner):
            for home in (directory, *directory.glob("node-*")):
                local_kafka.stop(home)
            shutil.rmtree(directory, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _why_no_docker() -> str | None:
    import docker

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # its client leaves the socket open when nobody answers
        try:
            client = docker.from_env(timeout=2)
            client.ping()
            client.close()
        except (docker.errors.DockerException, OSError) as error:
            reason = f"Docker does not answer ({error})"
        else:
            return None
        gc.collect()
    return reason


@contextmanager
def _docker_kafka() -> Iterator[str]:
    """The official image: testcontainers' own Kafka module knows other images only."""
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    port = local_kafka.free_port()
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "PLAINTEXT",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    }
    container = DockerContainer(IMAGE).with_bind_ports(9092, port).with_envs(**settings)
    with container.waiting_for(LogMessageWaitStrategy("Kafka Server started")):
        yield f"kafka://127.0.0.1:{port}"
