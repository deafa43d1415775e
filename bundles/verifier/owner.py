"""The owner of the resident process that runs a candidate before anyone else does."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct

from bundles.errors import BundleRefused
from bundles.runtimes.choice import DEFAULT_RUNTIME, RuntimeName
from bundles.verifier.process import LENGTH_BYTES, ForkedProcess, Reply, Request
from messages.errors import Retryable
from messages.status import RejectCode

MAX_REPLY_BYTES = 64 * 1024
_STOP_TIMEOUT_S = 10.0
_PACKAGE_ROOT = Path(__file__).resolve().parent.parent


class VerifierUnavailable(Retryable):
    """Raised when the verifier process doesn't start."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"the verifier process is not there: {detail}; see its stderr, then stage again")
        self.detail = detail


class _Child(Struct, frozen=True, kw_only=True):
    """A running process: the streams to it, and how to wait for its end."""

    pid: int
    replies: asyncio.StreamReader
    requests: asyncio.StreamWriter
    wait: Callable[[], Awaitable[object]]


class Verifier:
    """Owns one child process that runs candidates one after the other by one backend; a stuck or dead one is replaced.

    `first` is a process that `fork_process` made before the event loop ran; without it the first is started as later
    ones are, by a command.
    """

    def __init__(
        self,
        *,
        start_timeout_s: float = 60.0,
        first: ForkedProcess | None = None,
        runtime: RuntimeName = DEFAULT_RUNTIME,
    ) -> None:
        self.runtime = runtime
        self._start_timeout_s = start_timeout_s
        self._first = first
        self._child: _Child | None = None
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
        return self._child.pid if self._child is not None else None

    async def start(self) -> None:
        """Return when the child has imported what it needs and waits. Raises VerifierUnavailable."""
        async with self._turn:
            await self._ready_child()

    async def stop(self) -> None:
        """Kill the child and wait for its end. Safe to call twice."""
        if self._first is not None:
            await self._open()
        await self._kill()

    async def check(self, files: Mapping[str, bytes], timeout_s: float = 20.0) -> None:
        """Return when the child has scanned, loaded and run these files with the right golden answers.

        Only one check runs at a time. Raises BundleRefused: what the child found, TIMED_OUT (the child is killed and a
        new one started), LOAD_FAILED when the child died of it; VerifierUnavailable when there is no child.
        """
        frame = msgspec.msgpack.encode(Request(dict(files), self.runtime))
        async with self._turn:
            child = await self._ready_child()
            try:
                reply = await asyncio.wait_for(_exchange(child, frame), timeout_s)
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

    async def _ready_child(self) -> _Child:
        if self._child is not None and self._child.replies.at_eof():
            await self._kill()
        child = self._child or await self._open()
        if not self._is_ready:
            try:
                await asyncio.wait_for(_read_reply(child), self._start_timeout_s)
            except (TimeoutError, asyncio.IncompleteReadError, ConnectionError, msgspec.MsgspecError) as error:
                await self._kill()
                raise VerifierUnavailable(f"no sign of life within {self._start_timeout_s:g} s ({error})") from error
            self._is_ready = True
        return child

    async def _open(self) -> _Child:
        self._is_ready = False
        forked, self._first = self._first, None
        self._child = child = await (_start(self.runtime) if forked is None else _adopt(forked))
        return child

    async def _replace(self) -> None:
        await self._kill()
        await self._open()

    async def _kill(self) -> None:
        child, self._child, self._is_ready = self._child, None, False
        if child is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
        child.requests.close()
        await asyncio.wait_for(child.wait(), _STOP_TIMEOUT_S)


async def _start(runtime: RuntimeName) -> _Child:
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import sys; from bundles.verifier.process import serve; serve(sys.argv[1])", runtime,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=_PACKAGE_ROOT,
        )  # fmt: skip
    except OSError as error:
        raise VerifierUnavailable(str(error)) from error
    if process.stdin is None or process.stdout is None:
        raise VerifierUnavailable("it has no pipes")
    return _Child(pid=process.pid, replies=process.stdout, requests=process.stdin, wait=process.wait)


async def _adopt(forked: ForkedProcess) -> _Child:
    replies, requests = await asyncio.open_connection(sock=forked.socket)
    return _Child(
        pid=forked.pid,
        replies=replies,
        requests=requests,
        wait=lambda: asyncio.to_thread(os.waitpid, forked.pid, 0),
    )


async def _exchange(child: _Child, frame: bytes) -> Reply:
    child.requests.write(len(frame).to_bytes(LENGTH_BYTES))
    child.requests.write(frame)
    await child.requests.drain()
    return await _read_reply(child)


async def _read_reply(child: _Child) -> Reply:
    length = int.from_bytes(await child.replies.readexactly(LENGTH_BYTES))
    if length > MAX_REPLY_BYTES:
        raise msgspec.ValidationError(f"a reply of {length} bytes")
    return msgspec.msgpack.decode(await child.replies.readexactly(length), type=Reply)
