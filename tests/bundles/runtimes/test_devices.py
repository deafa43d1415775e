import numpy as np
import pytest
import torch

from bundles.errors import BundleRefused
from bundles.manifest import POLICY_NAME
from bundles.runtimes.torchscript import TorchScriptRuntime
from messages import RejectCode


@pytest.mark.parametrize("device", ["cuda:999", "cuda:", "cuda:x", "tpu", "meta", ""])
def test_a_device_that_is_not_there_is_refused_in_words(files: dict[str, bytes], device: str) -> None:
    with pytest.raises(BundleRefused, match="serve on the device cpu") as caught:
        TorchScriptRuntime.load(files[POLICY_NAME], (4,), device)
    assert caught.value.code is RejectCode.LOAD_FAILED


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_cuda_is_refused(files: dict[str, bytes]) -> None:
    with pytest.raises(BundleRefused, match="0 GPUs"):
        TorchScriptRuntime.load(files[POLICY_NAME], (4,), "cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: torch.cuda.is_available() is False")
def test_a_gpu_answers_as_the_processor_does(files: dict[str, bytes]) -> None:
    here = TorchScriptRuntime.load(files[POLICY_NAME], (4,))
    there = TorchScriptRuntime.load(files[POLICY_NAME], (4,), "cuda")
    rows = np.random.default_rng(0).standard_normal((256, 4)).astype(np.float32)
    np.testing.assert_allclose(there.forward(rows)[1], here.forward(rows)[1], atol=1e-3)
    assert there.act(rows[0]) == here.act(rows[0])
