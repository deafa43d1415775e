import asyncio
import os
import signal

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
