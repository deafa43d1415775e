"""What the verifier process does: answer frames until its input ends.

Frames in both directions: length (8 bytes, big-endian), then msgpack. It says READY once its backend is there. An
endless or crashing `forward` can only be stopped from outside, so a candidate runs here first.
"""

import os
import signal
import socket
import sys
from typing import Any, BinaryIO, NoReturn

import msgspec
from msgspec import Struct

from bundles.errors import BundleRefused
from bundles.runtimes.choice import DEFAULT_RUNTIME, RuntimeName, warm_runtime
from messages.status import RejectCode

LENGTH_BYTES = 8
MEMORY_LIMIT_BYTES = 8 * 2**30
READY_DETAIL = "ready"


class Request(Struct, frozen=True):
    """A candidate's files, and the backend that is to run it."""

    files: dict[str, bytes]
    runtime: RuntimeName


class Reply(Struct, frozen=True):
    """What was wrong with a candidate; no code: nothing."""

    code: RejectCode | None = None
    detail: str = ""


class ForkedProcess(Struct, frozen=True):
    """A verifier process forked from this one, and this end of the socket to it."""

    pid: int
    socket: Any


def fork_process(runtime: RuntimeName = DEFAULT_RUNTIME) -> ForkedProcess | None:
    """Warm a backend, then fork a verifier process, so that both have it for the price of one: an import of torch costs
    seconds.

    To be called before this process has threads or an event loop; None where processes can't be forked safely.
    """
    if sys.platform != "linux":
        return None
    warm_runtime(runtime)
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _serve_and_exit(theirs)
    theirs.close()
    return ForkedProcess(pid, ours)


def _serve_and_exit(connection: socket.socket) -> NoReturn:
    status = 1
    try:
        with connection.makefile("rb") as requests, connection.makefile("wb") as replies:
            _serve(requests, replies)
        status = 0
    finally:
        os._exit(status)  # nothing of the parent's may run on here


def serve(runtime: RuntimeName) -> None:
    """Answer the frames on stdin until it ends: the whole life of a process that was started for it."""
    # Whatever prints must not end up between the frames.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    warm_runtime(runtime)
    _serve(sys.stdin.buffer, replies)


def _serve(requests: BinaryIO, replies: BinaryIO) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    _limit_resources()
    _write_frame(replies, Reply(detail=READY_DETAIL))
    while len(head := requests.read(LENGTH_BYTES)) == LENGTH_BYTES:
        frame = requests.read(int.from_bytes(head))
        _write_frame(replies, _check(msgspec.msgpack.decode(frame, type=Request)))


def _check(request: Request) -> Reply:
    from bundles.loader import check_contents, open_policy
    from bundles.manifest import MANIFEST_NAME, decode_manifest

    files = request.files
    try:
        manifest = decode_manifest(files[MANIFEST_NAME])
        check_contents(files, manifest)
        open_policy(files, manifest, request.runtime)
    except BundleRefused as refusal:
        return Reply(refusal.code, refusal.detail[:4096])
    except (MemoryError, RecursionError, OverflowError) as error:
        return Reply(RejectCode.LOAD_FAILED, f"it needs more than the verifier has ({type(error).__name__})")
    return Reply()


def _limit_resources() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))


def _write_frame(stream: BinaryIO, reply: Reply) -> None:
    content = msgspec.msgpack.encode(reply)
    stream.write(len(content).to_bytes(LENGTH_BYTES) + content)
    stream.flush()
