"""The worker as a child process: started, listened to, and never left behind."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from agents.trainer.config import WorkerDone, WorkerFailed, WorkerLine, WorkerProgress, WorkerRequest

_lines = msgspec.json.Decoder(WorkerLine)
_TERMINATE_S = 3.0
_REASON_CHARACTERS = 600

Listener = Callable[[WorkerProgress], Awaitable[None]]


async def run_worker(request: WorkerRequest, directory: Path, listen: Listener) -> WorkerDone | WorkerFailed:
    """Run one request in a process of its own and return its last word; `listen` hears of progress.

    `directory` gets request.json, worker.log and worker.pid. Takes at most `run_timeout_s` of real time,
    whatever the agent's clock does. The process is gone when this returns, also after a cancellation.
    """
    (directory / "request.json").write_bytes(msgspec.json.encode(request))
    log = directory / "worker.log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "agents.trainer.worker",
            str(directory / "request.json"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    try:
        (directory / "worker.pid").write_text(str(process.pid))
        async with asyncio.timeout(request.config.run_timeout_s):
            result = await _listen(process, listen)
            await process.wait()
    except TimeoutError:
        return WorkerFailed(reason=f"training took longer than run_timeout_s = {request.config.run_timeout_s:g} s")
    finally:
        await _end(process)
    if result is not None:
        return result
    tail = log.read_text(errors="replace")[-_REASON_CHARACTERS:].strip()
    return WorkerFailed(reason=f"the worker ended with status {process.returncode} and no result: {tail}")


async def _listen(process: asyncio.subprocess.Process, listen: Listener) -> WorkerDone | WorkerFailed | None:
    result: WorkerDone | WorkerFailed | None = None
    if process.stdout is None:
        return None
    async for line in process.stdout:
        try:
            message = _lines.decode(line)
        except msgspec.DecodeError:
            continue  # a library's own print
        if isinstance(message, WorkerProgress):
            await listen(message)
        else:
            result = message
    return result


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_TERMINATE_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
