import io
from typing import Any

import msgspec
import numpy as np
import pytest

from bundles import archive
from bundles.errors import BundleRefused
from bundles.golden import GoldenVectors, check_golden, decode_golden, encode_golden
from bundles.manifest import GOLDEN_NAME, POLICY_NAME
from bundles.runtimes.torchscript import TorchScriptRuntime
from messages import RejectCode


@pytest.fixture
def runtime(files: dict[str, bytes]) -> TorchScriptRuntime:
    return TorchScriptRuntime.load(files[POLICY_NAME], (4,))


@pytest.fixture
def vectors(files: dict[str, bytes]) -> GoldenVectors:
    return decode_golden(files[GOLDEN_NAME], (4,))


def refusal(golden: bytes, obs_shape: tuple[int, ...] = (4,)) -> RejectCode:
    with pytest.raises(BundleRefused) as caught:
        decode_golden(golden, obs_shape)
    return caught.value.code


def changed(vectors: GoldenVectors, name: str, array: Any) -> GoldenVectors:
    return msgspec.structs.replace(vectors, **{name: array})


def test_numpy_reads_golden_files(files: dict[str, bytes], vectors: GoldenVectors) -> None:
    with np.load(io.BytesIO(files[GOLDEN_NAME]), allow_pickle=False) as opened:
        assert len(opened["observations"]) >= 256
        assert np.array_equal(opened["actions"], vectors.actions)


def test_vectors_survive(vectors: GoldenVectors) -> None:
    again = decode_golden(encode_golden(vectors), (4,))
    assert np.array_equal(again.outputs, vectors.outputs)


def test_the_model_gives_its_golden_answers(runtime: TorchScriptRuntime, vectors: GoldenVectors) -> None:
    assert check_golden(runtime, vectors, 1e-4) < 1e-5


def test_one_other_action_is_a_mismatch(runtime: TorchScriptRuntime, vectors: GoldenVectors) -> None:
    actions = vectors.actions.copy()
    actions[200] = (actions[200] + 1) % 3
    with pytest.raises(BundleRefused, match="1 of 256") as caught:
        check_golden(runtime, changed(vectors, "actions", actions), 1e-4)
    assert caught.value.code is RejectCode.GOLDEN_MISMATCH


def test_outputs_beyond_the_tolerance_are_a_mismatch(runtime: TorchScriptRuntime, vectors: GoldenVectors) -> None:
    with pytest.raises(BundleRefused) as caught:
        check_golden(runtime, changed(vectors, "outputs", vectors.outputs * 1.01), 1e-4)
    assert caught.value.code is RejectCode.GOLDEN_MISMATCH


def test_answers_of_another_shape_are_refused(runtime: TorchScriptRuntime, vectors: GoldenVectors) -> None:
    with pytest.raises(BundleRefused) as caught:
        check_golden(runtime, changed(vectors, "outputs", vectors.outputs[:, :2]), 1e-4)
    assert caught.value.code is RejectCode.WRONG_SHAPE


def test_observations_of_another_shape_are_refused(files: dict[str, bytes]) -> None:
    assert refusal(files[GOLDEN_NAME], (5,)) is RejectCode.WRONG_SHAPE


def test_golden_vectors_must_be_finite(vectors: GoldenVectors) -> None:
    outputs = vectors.outputs.copy()
    outputs[0, 0] = np.nan
    assert refusal(encode_golden(changed(vectors, "outputs", outputs))) is RejectCode.NOT_FINITE


def test_too_few_vectors_are_refused(vectors: GoldenVectors) -> None:
    few = GoldenVectors(
        observations=vectors.observations[:255], actions=vectors.actions[:255], outputs=vectors.outputs[:255]
    )
    assert refusal(encode_golden(few)) is RejectCode.GOLDEN_MISMATCH


def pickled() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def huge() -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**9, 4)})
    return header.getvalue()


@pytest.mark.parametrize(
    "array", [pickled(), huge(), b"", b"\x93NUMPY\x01\x00\xff\xff{"], ids=["pickle", "huge", "no", "cut"]
)
def test_arrays_that_are_not_plain_numbers_are_refused(files: dict[str, bytes], array: bytes) -> None:
    entries = archive.unpack(files[GOLDEN_NAME])
    assert refusal(archive.pack({**entries, "observations.npy": array})) is RejectCode.GOLDEN_MISMATCH


@pytest.mark.parametrize("content", [b"", b"junk", archive.pack({}), archive.pack({"observations.npy": b""})])
def test_files_that_are_not_golden_are_refused(content: bytes) -> None:
    assert refusal(content) is RejectCode.GOLDEN_MISMATCH


def test_further_arrays_are_refused(files: dict[str, bytes]) -> None:
    entries = archive.unpack(files[GOLDEN_NAME])
    assert refusal(archive.pack({**entries, "more.npy": b""})) is RejectCode.GOLDEN_MISMATCH
