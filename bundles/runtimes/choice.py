"""Which backend runs a policy."""

from collections.abc import Mapping
from typing import Literal

from bundles.errors import BundleRefused
from bundles.manifest import ONNX_NAME, POLICY_NAME
from bundles.runtimes.protocol import PolicyRuntime
from messages.status import RejectCode

RuntimeName = Literal["torchscript", "mlp", "onnx"]
DEFAULT_RUNTIME: RuntimeName = "torchscript"


def warm_runtime(name: RuntimeName) -> None:
    """Import or compile what the backend needs: seconds for torch, a third of one for a compiled loop in the cache."""
    if name == "mlp":
        from bundles.runtimes.mlp_kernel import compile_kernel

        compile_kernel()
    elif name == "onnx":
        from bundles.runtimes.onnx import import_onnxruntime

        import_onnxruntime()
    else:
        import torch  # noqa: F401 - for its effect


def open_runtime(name: RuntimeName, files: Mapping[str, bytes], obs_shape: tuple[int, ...]) -> PolicyRuntime:
    """Return the policy loaded by the backend of that name, not yet warm. Only for what scan.check_archive accepted.

    `torchscript` runs any policy; `mlp` runs chains of layers, faster and without torch; `onnx` runs
    policy.onnx, which is scanned here. Raises BundleRefused: LOAD_FAILED, MISSING_FILE, FORBIDDEN_CODE.
    """
    if name == "onnx":
        from bundles.runtimes.onnx import OnnxRuntime
        from bundles.scan.onnx import check_model

        if (model := files.get(ONNX_NAME)) is None:
            raise BundleRefused(RejectCode.MISSING_FILE, f"there is no {ONNX_NAME} for the runtime onnx")
        check_model(model, obs_shape)
        return OnnxRuntime.load(model, obs_shape)
    if name == "mlp":
        from bundles.runtimes.mlp import MlpRuntime

        return MlpRuntime.load(files[POLICY_NAME], obs_shape)
    from bundles.runtimes.torchscript import TorchScriptRuntime

    return TorchScriptRuntime.load(files[POLICY_NAME], obs_shape)
