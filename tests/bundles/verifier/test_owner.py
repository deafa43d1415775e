import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bundles.errors import BundleRefused
from bundles.manifest import POLICY_NAME
from bundles.signing import SigningKey
from bundles.verifier import Verifier
from messages import RejectCode
from tests.bundles.samples import crafted_policy, endless_policy, resigned, with_weights


async def refusal(verifier: Verifier, files: dict[str, bytes], timeout_s: float = 20.0) -> RejectCode:
    with pytest.raises(BundleRefused) as caught:
        await verifier.check(files, timeout_s)
    return caught.value.code


async def test_it_answers_what_it_found_and_goes_on(files: dict[str, bytes], key: SigningKey) -> None:
    nan = resigned(files, key, {POLICY_NAME: with_weights(files[POLICY_NAME], float("nan"))})
    forbidden = resigned(files, key, {POLICY_NAME: crafted_policy(["_0 = open(obs)", "return (obs, obs)"])})
    endless = resigned(files, key, {POLICY_NAME: endless_policy()})
    async with Verifier() as verifier:
        await verifier.check(files)
        assert await refusal(verifier, nan) is RejectCode.NOT_FINITE
        assert await refusal(verifier, forbidden) is RejectCode.FORBIDDEN_CODE
        assert await refusal(verifier, {**files, POLICY_NAME: b""}) is RejectCode.DIGEST_MISMATCH
        stuck = verifier.pid
        assert await refusal(verifier, endless, timeout_s=1.0) is RejectCode.TIMED_OUT
        with pytest.raises(ProcessLookupError):
            os.kill(stuck or 0, 0)
        await verifier.check(files)
        await verifier.stop()


async def test_a_child_that_dies_blames_the_candidate_and_is_replaced(files: dict[str, bytes], key: SigningKey) -> None:
    endless = resigned(files, key, {POLICY_NAME: endless_policy()})
    async with Verifier() as verifier:
        check = asyncio.ensure_future(refusal(verifier, endless))
        await asyncio.sleep(0)
        pid = verifier.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert await check is RejectCode.LOAD_FAILED
        assert verifier.pid not in {pid, None}


async def test_a_cancelled_check_leaves_no_answer_behind(files: dict[str, bytes], key: SigningKey) -> None:
    endless = resigned(files, key, {POLICY_NAME: endless_policy()})
    async with Verifier() as verifier:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(verifier.check(endless), 0.5)
        await verifier.check(files)


FORKED = """
import asyncio, sys
from pathlib import Path
from bundles.errors import BundleRefused
from bundles.verifier import Verifier
from bundles.verifier.process import fork_process

files = {path.name: path.read_bytes() for path in Path(sys.argv[1]).iterdir()}

async def main(forked):
    async with Verifier(first=forked) as verifier:
        assert verifier.pid == forked.pid
        await verifier.check(files)
        try:
            await verifier.check({**files, "policy.pt": b""})
        except BundleRefused as refusal:
            print(refusal.code.value)
        await verifier.stop()
        await verifier.check(files)
        assert verifier.pid != forked.pid
        print("started anew")

asyncio.run(main(fork_process()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
def test_a_forked_process_answers_and_is_replaced_by_a_started_one(files: dict[str, bytes], tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", FORKED, str(tmp_path)],
        cwd=Path(__file__).resolve().parents[3], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == ["digest-mismatch", "started anew", ""]


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")
def test_a_forked_process_ends_with_the_one_that_forked_it() -> None:
    code = (
        "from bundles.verifier.process import fork_process; import os;"
        "print(fork_process().pid, flush=True); os._exit(1)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).resolve().parents[3], stdout=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip
    # The pipe to which both write is closed, so both are gone.
    assert int(done.stdout) > 0
