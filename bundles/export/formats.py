"""Further forms of a policy, written on request beside policy.pt and compared with it. Execution loads ONNX of them."""

import copy
import io
import warnings
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import numpy as np
from msgspec import Struct

from bundles import archive
from bundles.errors import ExportFailed
from bundles.manifest import FP16_NAME, INT8_NAME, ONNX_NAME, PT2_NAME
from bundles.runtimes.protocol import Actions, Floats

Format = Literal["onnx", "pt2", "int8", "fp16"]
"""`onnx` for the second runtime, `pt2` (torch.export) as the way out of TorchScript, `int8` (ONNX, weights of eight
bits), `fp16` (TorchScript, layers of half precision, for GPUs)."""
CHUNK = 256

Answers = Callable[[Floats], tuple[Actions, Floats]]
Trace = Callable[[Any, tuple[int, ...]], bytes]
Written = tuple[str, bytes, Answers]


class Bound(Struct, frozen=True):
    """How far a form may be from policy.pt: the least share of equal actions, and the largest difference of outputs.

    A continuous action counts as equal within `action`; both are relative to 1 + the largest number.
    """

    least_agreement: float
    action: float
    output: float


BOUNDS: Mapping[Format, Bound] = {
    "onnx": Bound(0.999, 1e-5, 1e-4),
    "pt2": Bound(1.0, 1e-6, 1e-5),
    "int8": Bound(0.95, 0.02, 0.1),
    "fp16": Bound(0.98, 0.01, 0.05),
}


class Agreement(Struct, frozen=True, kw_only=True):
    """How a form answers beside policy.pt. `agreement`: the share of equal actions."""

    observations: int
    agreement: float
    max_action_difference: float
    max_output_difference: float


def further_files(
    formats: tuple[str, ...],
    module: Any,
    *,
    trace: Trace,
    wanted: Answers,
    observations: Floats,
    least_agreement: float | None = None,
) -> tuple[dict[str, bytes], dict[str, Agreement]]:
    """Return the files of these formats and how they agree with `wanted` on observations float32 [N, ...].

    `trace` makes policy.pt of a module.
    `least_agreement`, from 0 to 1, replaces the share of equal actions that int8 and fp16 need. Raises ExportFailed for
    an unknown format, one that can't be written, and one that answers too differently.
    """
    if odd := sorted(set(formats) - set(get_args(Format))):
        raise ExportFailed(
            f"there is no format {', '.join(map(repr, odd))}", f"choose of {', '.join(get_args(Format))}"
        )
    files, agreements = {}, {}
    obs_shape = observations.shape[1:]
    expected = _all(wanted, observations)
    for name in (known for known in get_args(Format) if known in formats):
        file_name, content, answers = _WRITERS[name](module, obs_shape, trace)
        bound = BOUNDS[name]
        if least_agreement is not None and name in {"int8", "fp16"}:
            bound = Bound(least_agreement, bound.action, bound.output)
        agreements[name] = agree(file_name, expected, _all(answers, observations), bound)
        files[file_name] = content
    return files, agreements


def agree(file_name: str, wanted: tuple[Actions, Floats], found: tuple[Actions, Floats], bound: Bound) -> Agreement:
    """Return how answers agree. Raises ExportFailed when they are further apart than the bound."""
    if wanted[0].shape != found[0].shape or wanted[1].shape != found[1].shape:
        raise ExportFailed(f"{file_name} answers {found[0].shape}, {found[1].shape}", "leave out this format")
    apart = np.abs(wanted[0].astype(np.float64) - found[0]).reshape(len(wanted[0]), -1)
    near = 0.0 if wanted[0].dtype.kind == "i" else bound.action * (1.0 + float(np.abs(wanted[0]).max()))
    is_equal = (apart <= near).all(axis=1)
    agreement = Agreement(
        observations=len(apart),
        agreement=float(is_equal.mean()),
        max_action_difference=float(apart.max()),
        max_output_difference=float(np.abs(wanted[1] - found[1]).max()),
    )
    scale = 1.0 + float(np.abs(wanted[1]).max())
    is_near = np.isfinite(found[1]).all() and agreement.max_output_difference <= bound.output * scale
    if agreement.agreement < bound.least_agreement or not is_near:
        raise ExportFailed(
            f"{file_name} agrees with policy.pt in {agreement.agreement:.2%} of {len(apart)} actions, outputs differ "
            f"by up to {agreement.max_output_difference:.3g}; at least {bound.least_agreement:.2%} must agree, outputs "
            f"within {bound.output * scale:.3g}",
            "leave out this format",
        )
    return agreement


def _all(answers: Answers, observations: Floats) -> tuple[Actions, Floats]:
    pairs = [answers(observations[start : start + CHUNK]) for start in range(0, len(observations), CHUNK)]
    return np.concatenate([actions for actions, _ in pairs]), np.concatenate([outputs for _, outputs in pairs])


def _onnx(module: Any, obs_shape: tuple[int, ...], _: Trace) -> Written:
    from bundles.export.formats_onnx import onnx_model
    from bundles.runtimes.onnx import OnnxRuntime

    model = onnx_model(module, obs_shape)
    return ONNX_NAME, model, OnnxRuntime.load(model, obs_shape).forward


def _int8(module: Any, obs_shape: tuple[int, ...], _: Trace) -> Written:
    from bundles.export.formats_onnx import int8_model, onnx_model
    from bundles.runtimes.onnx import OnnxRuntime

    model = int8_model(onnx_model(module, obs_shape), obs_shape)
    return INT8_NAME, model, OnnxRuntime.load(model, obs_shape).forward


def _pt2(module: Any, obs_shape: tuple[int, ...], _: Trace) -> Written:
    import torch

    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            exported = torch.export.export(
                module.eval(),
                (torch.zeros((3, *obs_shape)),),
                dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=2**16)},),
            )
            torch.export.save(exported, written)
        except Exception as error:  # its exceptions have no common class
            raise ExportFailed(f"policy.pt2 can't be written ({error})", "leave out the format pt2") from error
        content = _plain(written.getvalue())
        loaded = torch.export.load(io.BytesIO(content)).module()

    def answers(observations: Floats) -> tuple[Actions, Floats]:
        with torch.no_grad():
            action, outputs = loaded(torch.from_numpy(np.array(observations, np.float32)))
        return action.numpy(), outputs.numpy()

    return PT2_NAME, content, answers


def _plain(saved: bytes) -> bytes:
    """The archive again without times of day, entries in their order."""
    with zipfile.ZipFile(io.BytesIO(saved)) as opened:
        return archive.pack({name: opened.read(name) for name in opened.namelist()})


def _fp16(module: Any, obs_shape: tuple[int, ...], trace: Trace) -> Written:
    from bundles.runtimes.torchscript import TorchScriptRuntime

    policy = trace(_halved(copy.deepcopy(module)), obs_shape)
    return FP16_NAME, policy, TorchScriptRuntime.load(policy, obs_shape).forward


def _halved(module: Any) -> Any:
    import torch

    class Half(torch.nn.Module):
        """A layer in half precision between numbers of single precision."""

        def __init__(self, layer: Any) -> None:
            super().__init__()
            self.layer = layer.half()

        def forward(self, values: Any) -> Any:
            return self.layer(values.to(torch.float16)).to(torch.float32)

    kinds = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d)
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, kinds):
                setattr(parent, name, Half(child))
    return module


_WRITERS: Mapping[str, Callable[[Any, tuple[int, ...], Trace], Written]] = {
    "onnx": _onnx,
    "pt2": _pt2,
    "int8": _int8,
    "fp16": _fp16,
}
