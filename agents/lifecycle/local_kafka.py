"""A real Apache Kafka broker on this machine, from Maven artifacts: for `make kafka`, and for tests without Docker.

python -m agents.lifecycle.local_kafka start|stop
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from base64 import urlsafe_b64encode
from pathlib import Path
from string import Template

from msgspec import Struct

from messages.errors import Refused, Retryable

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".kafka"
DEFAULT_PORT = 9092
_FILES = ROOT / "compose" / "kafka"
_JAVA_OPTIONS = ("-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
_POLL_S = 0.1
_START_POLLS = 1200
_STOP_POLLS = 150
_children: dict[int, subprocess.Popen[bytes]] = {}  # to be waited for, else they stay as zombies


class LocalKafkaUnavailable(Refused):
    """Raised when this machine has not what a local broker needs."""

    def __init__(self, missing: str) -> None:
        super().__init__(f"no local Kafka: {missing}; install JDK 17 and Maven, or use Docker (compose/compose.yaml)")
        self.missing = missing


class LocalKafkaFailed(Retryable):
    """Raised when the broker or the fetching of its jars did not do what it should."""

    def __init__(self, doing: str, output: str) -> None:
        super().__init__(f"{doing} failed; the end of its output:\n{output[-2000:]}")
        self.doing, self.output = doing, output


class LocalBroker(Struct, frozen=True, kw_only=True):
    """One broker, which is a controller too: `directory` holds its settings, data, log and pid file.

    `voters` names every controller of the cluster as `id@host:port`, none means that it is alone. `settings` override
    or extend server.properties; `format_options` go to the storage tool when the data directory is made (as
    `--add-scram ...`). All nodes of a cluster have the same `cluster_id`; an empty one is made up.
    """

    directory: Path
    port: int
    controller_port: int
    node_id: int = 1
    voters: tuple[str, ...] = ()
    cluster_id: str = ""
    settings: dict[str, str] = {}
    format_options: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """The address to connect to."""
        return f"kafka://127.0.0.1:{self.port}"


def check_tools() -> None:
    """Raise LocalKafkaUnavailable when Java, Maven or the project's own files are missing."""
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None and not (tool == "mvn" and (HOME / "jars").is_dir()):
            raise LocalKafkaUnavailable(f"the command {tool!r} is not on the PATH")
    if not _FILES.is_dir():
        raise LocalKafkaUnavailable(f"{_FILES} is not there (this works in a checkout only)")


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def new_broker(directory: Path) -> LocalBroker:
    """Return a broker on free ports, not started yet."""
    return LocalBroker(directory=directory, port=free_port(), controller_port=free_port())


def new_cluster_id() -> str:
    """Return a random cluster id, in Kafka's form of a UUID."""
    # The zero byte keeps the id from starting with a dash, which the tool would take for an option.
    return urlsafe_b64encode(b"\0" + secrets.token_bytes(15)).decode().rstrip("=")


def start(broker: LocalBroker) -> None:
    """Start the broker and return when it accepts connections; nothing happens when it runs already.

    Data of an earlier run in the same directory is kept. A node of a cluster accepts connections only when most of its
    controllers are up: see local_cluster.start_all. Raises LocalKafkaUnavailable or LocalKafkaFailed.
    """
    if _running_pid(broker.directory) is not None:
        return
    check_tools()
    java = ["java", *_JAVA_OPTIONS, f"-Dlog4j2.configurationFile={_FILES / 'log4j2.properties'}"]
    java += ["-cp", f"{_jars()}/*"]
    properties = _write_properties(broker)
    if not (broker.directory / "data" / "meta.properties").exists():
        arguments = ["format", "-t", broker.cluster_id or new_cluster_id(), "-c", str(properties), "--ignore-formatted"]
        command = [*java, "kafka.tools.StorageTool", *arguments, *broker.format_options]
        _run(command, "formatting the broker's storage")
    log = broker.directory / "broker.log"
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command line
            [*java, "kafka.Kafka", str(properties)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for whoever started it, who then stops it in order
        )
    _children[process.pid] = process
    (broker.directory / "pid").write_text(str(process.pid))
    for _ in range(_START_POLLS):
        if _is_listening(broker.port):
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_S)
            break
    stop(broker.directory)
    raise LocalKafkaFailed("starting Kafka", log.read_text(errors="replace"))


def stop(directory: Path) -> bool:
    """Stop the broker that was started in `directory`, by force after 15 s; False when none runs."""
    pid = _running_pid(directory)
    if pid is not None:
        os.kill(pid, signal.SIGCONT)  # one that a drill has frozen would not hear the next
        os.kill(pid, signal.SIGTERM)
        if not any(_is_gone(pid) for _ in range(_STOP_POLLS)):
            os.kill(pid, signal.SIGKILL)
            any(_is_gone(pid) for _ in range(_STOP_POLLS))
    (directory / "pid").unlink(missing_ok=True)
    return pid is not None


def kill(broker: LocalBroker) -> bool:
    """Kill the broker by SIGKILL and return when it is gone; its data stays. False when none runs."""
    pid = _running_pid(broker.directory)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
        any(_is_gone(pid) for _ in range(_STOP_POLLS))
    (broker.directory / "pid").unlink(missing_ok=True)
    return pid is not None


def freeze(broker: LocalBroker) -> None:
    """Let the broker stand still with its connections open, as in a network stall. Raises LocalKafkaFailed."""
    os.kill(pid_of(broker), signal.SIGSTOP)


def thaw(broker: LocalBroker) -> None:
    """Let a frozen broker go on. Raises LocalKafkaFailed."""
    os.kill(pid_of(broker), signal.SIGCONT)


def pid_of(broker: LocalBroker) -> int:
    """Return the broker's process id, for fault drills. Raises LocalKafkaFailed when it does not run."""
    pid = _running_pid(broker.directory)
    if pid is None:
        raise LocalKafkaFailed("finding the broker", f"no broker runs in {broker.directory}")
    return pid


def _running_pid(directory: Path) -> int | None:
    """The pid file's process, if it is still the broker started there: pids are used again by strangers."""
    try:
        pid = int((directory / "pid").read_text())
    except (FileNotFoundError, ValueError):
        return None
    listing = subprocess.run(  # noqa: S603 - our own command line
        ["ps", "-ww", "-o", "stat=,args=", "-p", str(pid)],  # noqa: S607 - ps is where the system has it
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    is_ours = "kafka.Kafka" in listing and str(directory / "server.properties") in listing
    return pid if is_ours and not listing.startswith("Z") else None


def _is_gone(pid: int) -> bool:
    """Wait one poll for the process to end; return whether it has."""
    child = _children.get(pid)
    if child is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_POLL_S)
            del _children[pid]
        return pid not in _children
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    subprocess.run(["sleep", str(_POLL_S)], check=False)  # noqa: S603, S607 - a pause without reading a clock
    return False


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _write_properties(broker: LocalBroker) -> Path:
    broker.directory.mkdir(parents=True, exist_ok=True)
    path = broker.directory / "server.properties"
    template = Template((_FILES / "server.properties").read_text())
    values = {
        "NODE_ID": broker.node_id,
        "VOTERS": ",".join(broker.voters) or f"{broker.node_id}@127.0.0.1:{broker.controller_port}",
        "PORT": broker.port,
        "CONTROLLER_PORT": broker.controller_port,
        "DATA": broker.directory / "data",
    }
    changes = [
        f"{key}={value}\n" for key, value in broker.settings.items()
    ]  # of two lines with one key the last counts
    path.write_text("".join([template.safe_substitute(values), *changes]))
    return path


def _jars() -> Path:
    """The folder of the broker's jars, fetched once."""
    jars = HOME / "jars"
    if not jars.is_dir():
        fetched = HOME / f"jars-{secrets.token_hex(4)}"
        goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
        options = ["-DincludeScope=runtime", f"-DoutputDirectory={fetched}"]
        _run(["mvn", "-B", "-q", "-f", str(_FILES / "pom.xml"), goal, *options], "fetching Kafka's jars with Maven")
        try:
            fetched.rename(jars)
        except OSError:  # another process was faster
            shutil.rmtree(fetched)
    return jars


def _run(command: list[str], doing: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)  # noqa: S603 - our own
    if done.returncode != 0:
        raise LocalKafkaFailed(doing, done.stdout + done.stderr)


def main(arguments: list[str]) -> int:
    """Start or stop the developer's broker on port 9092; return the exit status."""
    directory = HOME / "broker"
    if arguments == ["start"]:
        broker = LocalBroker(directory=directory, port=DEFAULT_PORT, controller_port=DEFAULT_PORT + 1)
        if _running_pid(directory) is None and _is_listening(DEFAULT_PORT):
            sys.stderr.write(f"port {DEFAULT_PORT} is taken by another program\n")
            return 1
        start(broker)
        sys.stdout.write(f"Apache Kafka is up: {broker.url} (log: {directory / 'broker.log'})\n")
        return 0
    if arguments == ["stop"]:
        sys.stdout.write("stopped\n" if stop(directory) else "no broker was running\n")
        return 0
    sys.stderr.write("usage: python -m agents.lifecycle.local_kafka start|stop\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
