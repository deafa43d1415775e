"""Which backend runs a policy."""

from typing import Literal

from bundles.runtimes.protocol import PolicyRuntime

RuntimeName = Literal["torchscript", "mlp"]
DEFAULT_RUNTIME: RuntimeName = "torchscript"


def warm_runtime(name: RuntimeName) -> None:
    """Import or compile what the backend needs: seconds for torch, a third of one for a compiled loop in the cache."""
    if name == "mlp":
        from bundles.mlp_kernel import compile_kernel

        compile_kernel()
    else:
        import torch  # noqa: F401 - for its effect


def open_runtime(name: RuntimeName, policy: bytes, obs_shape: tuple[int, ...]) -> PolicyRuntime:
    """Return policy.pt loaded by the backend of that name, not yet warm. Only for what scan.check_archive accepted.

    `torchscript` runs any policy; `mlp` runs chains of layers, faster and without torch. Raises BundleRefused
    LOAD_FAILED.
    """
    if name == "mlp":
        from bundles.runtimes.mlp import MlpRuntime

        return MlpRuntime.load(policy, obs_shape)
    from bundles.runtimes.torchscript import TorchScriptRuntime

    return TorchScriptRuntime.load(policy, obs_shape)
