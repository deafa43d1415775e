"""The resident process that runs a candidate before anyone else does.

An endless or crashing `forward` can only be stopped from outside, so it happens here first. Frames on stdin and stdout:
length (8 bytes, big-endian), then msgpack. The child says READY once torch is imported.
"""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self

import msgspec
from msgspec import Struct

from bundles.errors import BundleRefused
from messages.errors import Retryable
from messages.status import RejectCode

MAX_REPLY_BYTES = 64 * 1024
MEMORY_LIMIT_BYTES = 8 * 2**30
_LENGTH_BYTES = 8
_PACKAGE_ROOT = Path(__file__).resolve().parent.parent
_READY_DETAIL = "ready"


class VerifierUnavailable(Retryable):
    """Raised when the verifier process doesn't start."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"the verifier process is not there: {detail}; see its stderr, then stage again")
        self.detail = detail


class _Reply(Struct, frozen=True):
    code: RejectCode | None = None
    detail: str = ""


class Verifier:
    """Owns one child process that runs candidates one after the other; a stuck or dead one is replaced."""

    def __init__(self, *, start_timeout_s: float = 60.0) -> None:
        self._start_timeout_s = start_timeout_s
        self._process: asyncio.subprocess.Process | None = None
        self._is_ready = False
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def pid(self) -> int | None:
        """The child's process id, or None when there is none."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Return when the child has imported torch and waits. Raises VerifierUnavailable."""
        async with self._turn:
            await self._ready_process()

    async def stop(self) -> None:
        """Kill the child and wait for its end. Safe to call twice."""
        await self._kill()

    async def check(self, files: Mapping[str, bytes], timeout_s: float = 20.0) -> None:
        """Return when the child has scanned, loaded and run these files with the right golden answers.

        Only one check runs at a time. Raises BundleRefused: what the child found, TIMED_OUT (the child is killed and a
        new one started), LOAD_FAILED when the child died of it; VerifierUnavailable when there is no child.
        """
        frame = msgspec.msgpack.encode(dict(files))
        async with self._turn:
            process = await self._ready_process()
            try:
                reply = await asyncio.wait_for(_exchange(process, frame), timeout_s)
            except TimeoutError as error:
                await self._replace()
                raise BundleRefused(RejectCode.TIMED_OUT, f"it did not answer within {timeout_s:g} s") from error
            except (asyncio.IncompleteReadError, ConnectionError, msgspec.MsgspecError) as error:
                await self._replace()
                raise BundleRefused(RejectCode.LOAD_FAILED, f"the verifier process died of it ({error})") from error
            except asyncio.CancelledError:
                # A late answer must not be taken for the next candidate's.
                await self._kill()
                raise
        if reply.code is not None:
            raise BundleRefused(reply.code, reply.detail)

    async def _ready_process(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            await self._spawn()
        process = self._process
        if process is None:
            raise VerifierUnavailable("it was stopped")
        if not self._is_ready:
            try:
                await asyncio.wait_for(_read_reply(process), self._start_timeout_s)
            except (TimeoutError, asyncio.IncompleteReadError, msgspec.MsgspecError) as error:
                await self._kill()
                raise VerifierUnavailable(f"no sign of life within {self._start_timeout_s:g} s ({error})") from error
            self._is_ready = True
        return process

    async def _spawn(self) -> None:
        self._is_ready = False
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "from bundles.verifier import serve; serve()",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                cwd=_PACKAGE_ROOT,
            )  # fmt: skip
        except OSError as error:
            raise VerifierUnavailable(str(error)) from error

    async def _replace(self) -> None:
        await self._kill()
        await self._spawn()

    async def _kill(self) -> None:
        process, self._process, self._is_ready = self._process, None, False
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await asyncio.wait_for(process.wait(), 10.0)


async def _exchange(process: asyncio.subprocess.Process, frame: bytes) -> _Reply:
    stdin = _pipe(process.stdin)
    stdin.write(len(frame).to_bytes(_LENGTH_BYTES))
    stdin.write(frame)
    await stdin.drain()
    return await _read_reply(process)


async def _read_reply(process: asyncio.subprocess.Process) -> _Reply:
    stdout = _pipe(process.stdout)
    length = int.from_bytes(await stdout.readexactly(_LENGTH_BYTES))
    if length > MAX_REPLY_BYTES:
        raise msgspec.ValidationError(f"a reply of {length} bytes")
    return msgspec.msgpack.decode(await stdout.readexactly(length), type=_Reply)


def _pipe(stream: Any) -> Any:
    if stream is None:
        raise VerifierUnavailable("it has no pipe")
    return stream


def _check(files: dict[str, bytes]) -> _Reply:
    from bundles.loader import check_contents, open_policy
    from bundles.manifest import MANIFEST_NAME, decode_manifest

    try:
        manifest = decode_manifest(files[MANIFEST_NAME])
        check_contents(files, manifest)
        open_policy(files, manifest)
    except BundleRefused as refusal:
        return _Reply(refusal.code, refusal.detail[:4096])
    except (MemoryError, RecursionError, OverflowError) as error:
        return _Reply(RejectCode.LOAD_FAILED, f"it needs more than the verifier has ({type(error).__name__})")
    return _Reply()


def _limit_resources() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))


def _write_frame(stream: BinaryIO, reply: _Reply) -> None:
    content = msgspec.msgpack.encode(reply)
    stream.write(len(content).to_bytes(_LENGTH_BYTES) + content)
    stream.flush()


def serve() -> None:
    """Answer frames until stdin ends: the child's whole life."""
    import os

    import torch

    torch.set_num_threads(1)
    # Whatever prints must not end up between the frames.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _limit_resources()
    requests = sys.stdin.buffer
    _write_frame(replies, _Reply(detail=_READY_DETAIL))
    while len(head := requests.read(_LENGTH_BYTES)) == _LENGTH_BYTES:
        frame = requests.read(int.from_bytes(head))
        _write_frame(replies, _check(msgspec.msgpack.decode(frame, type=dict[str, bytes])))
