"""What every hostile bundle is put through: each road in, with a watch on time, memory, files and code."""

import hashlib
import os
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from bundles.errors import BundleRefused
from bundles.loader import NO_EXPECTATION, load_bundle, stage
from bundles.manifest import MANIFEST_NAME, Expectation
from bundles.runtimes.choice import DEFAULT_RUNTIME, RuntimeName
from bundles.signing import SigningKey, TrustStore
from bundles.verifier import Verifier
from messages import RejectCode
from tests.bundles.samples import write_all

MAX_S = 5.0
MAX_PYTHON_BYTES = 64 * 2**20
CHILD_BYTES = 2**30
ENDLESS_TIMEOUT_S = 1.5
VERIFY_TIMEOUT_S = 4.0  # what ends by itself may take long on a slow machine
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
            "os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "shutil.",
            "pickle.find_class", "ctypes.dlopen")  # fmt: skip


class Prey(Struct, frozen=True, kw_only=True):
    """What an attacker starts from: two good bundles, the trusted key itself, and a room to build in."""

    files: dict[str, bytes]
    other: dict[str, bytes]
    key: SigningKey
    trust: TrustStore
    room: Path

    @property
    def marker(self) -> Path:
        """The file that evil code would write."""
        return self.room / "marker"


Made = Mapping[str, bytes] | Path | str


class Attack(Struct, frozen=True, kw_only=True):
    """One way to be bad. `make` returns files, or the directory or address where it built the bundle.

    `loads`: whether the golden run has to load the graph to find out. `endless`: only a process of its own ends it.
    """

    name: str
    code: RejectCode
    make: Callable[[Prey], Made]
    trust: Callable[[Prey], TrustStore] = lambda prey: prey.trust
    expected: Expectation = NO_EXPECTATION
    loads: bool = False
    endless: bool = False


class Watched(Struct):
    """What happened while watched."""

    seconds: float = 0.0
    python_bytes: int = 0
    graph_loads: int = 0
    changes: list[str] = []


_listener: list[str] | None = None
_readers: list[tuple[Path, list[Path]]] = []


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if _readers and event == "open" and isinstance(arguments[0], str | Path):
        path = Path(arguments[0])
        for directory, opened in _readers:
            if directory in path.parents and not arguments[2] & _WRITES:
                opened.append(path)
    if _listener is None:
        return
    text = f"{event} {arguments!r}"
    is_write = (
        event == "open"
        and not isinstance(arguments[0], int)  # a pipe that is open already
        and isinstance(arguments[2], int)
        and arguments[2] & _WRITES
    )
    # A verifier that was killed is started again, and imports may be cached.
    if (is_write or event.startswith(_CHANGES)) and "bundles.verifier" not in text and "__pycache__" not in text:
        _listener.append(text)


sys.addaudithook(_hear)


@contextmanager
def watch(room: Path) -> Iterator[Watched]:
    """Watch this process: no file below `room` may change, and the interpreter reports every write, process, unpickling
    and connection, wherever it is.
    """
    import torch

    global _listener  # noqa: PLW0603 - audit hooks are for ever, what they report is not
    found, before = Watched(), _listing(room)
    real_load: Any = torch.jit.load

    def counted(*arguments: Any, **keywords: Any) -> Any:
        found.graph_loads += 1
        return real_load(*arguments, **keywords)

    torch.jit.load = counted
    _listener = found.changes
    tracemalloc.start()
    began = time.perf_counter()
    try:
        yield found
    finally:
        found.seconds = time.perf_counter() - began
        found.python_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        _listener = None
        torch.jit.load = real_load
    if (after := _listing(room)) != before:
        found.changes.append(f"below {room}: {sorted(set(after) ^ set(before))}")


@contextmanager
def opened_below(directory: Path) -> Iterator[list[Path]]:
    """Hear of every file below `directory` that this process opens to read, each time that it does."""
    opened: list[Path] = []
    _readers.append((directory, opened))
    try:
        yield opened
    finally:
        _readers.remove((directory, opened))


def _listing(room: Path) -> list[tuple[str, int, int]]:
    return [(str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in sorted(room.rglob("*"))]


def check_bounds(found: Watched, name: str) -> None:
    """Nothing was written, started or unpickled, and the refusal was quick and cheap."""
    assert found.changes == [], name
    assert found.seconds < MAX_S, f"{name}: {found.seconds:.2f} s"
    assert found.python_bytes < MAX_PYTHON_BYTES, f"{name}: {found.python_bytes} bytes"


def resident_bytes(pid: int | None, field: str = "VmHWM") -> int:
    """What the process holds at most (VmHWM) or now (VmRSS)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {field} for {pid}")


def place(attack: Attack, prey: Prey) -> str:
    """Build the bundle and return its address."""
    made = attack.make(prey)
    if isinstance(made, Path | str):
        return str(made)
    return str(write_all(prey.room / "bundle", made))


def loaded_refusal(attack: Attack, prey: Prey, runtime: RuntimeName = DEFAULT_RUNTIME) -> RejectCode:
    """Take the road of `load_bundle`, by this backend."""
    uri = place(attack, prey)
    with watch(prey.room) as found, pytest.raises(BundleRefused) as caught:
        load_bundle(uri, trust=attack.trust(prey), expected=attack.expected, runtime=runtime)
    check_bounds(found, attack.name)
    assert found.graph_loads <= attack.loads, "loaded before it was verified"
    return caught.value.code


async def staged_refusal(attack: Attack, prey: Prey, verifier: Verifier) -> RejectCode:
    """Take the road of `stage`, as Execution does: the graph must never be loaded in this process."""
    uri = place(attack, prey)
    await verifier.start()
    pid, idle_bytes = verifier.pid, resident_bytes(verifier.pid, "VmRSS")
    with watch(prey.room) as found, pytest.raises(BundleRefused) as caught:
        await stage(
            uri,
            announced_digest(uri),
            trust=attack.trust(prey),
            verifier=verifier,
            expected=attack.expected,
            verify_timeout_s=ENDLESS_TIMEOUT_S if attack.code is RejectCode.TIMED_OUT else VERIFY_TIMEOUT_S,
        )
    check_bounds(found, attack.name)
    assert found.graph_loads == 0, "loaded here though the verifier process refused it"
    if verifier.pid == pid:
        assert resident_bytes(pid) < max(idle_bytes, 2**29) + CHILD_BYTES, attack.name
    return caught.value.code


def announced_digest(uri: str) -> str:
    """What an attacker announces: the digest of the metadata that lies there."""
    path = Path(uri) / MANIFEST_NAME
    if path.is_symlink() or not path.is_file() or path.stat().st_size > 2**24:
        return "0" * 64
    return hashlib.sha256(path.read_bytes()).hexdigest()
