"""policy.onnx and its int8 form: written, put into canonical form, scanned. Needs the extra `onnx`."""

import io
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

from bundles.errors import BundleRefused, ExportFailed
from bundles.runtimes.onnx_names import ACTION, BATCH, OBSERVATION, OUTPUTS
from bundles.scan.onnx import check_model

OPSET = 17
_INSTALL = "install it: `pip install tickpilot[onnx]`"


def onnx_model(module: Any, obs_shape: tuple[int, ...]) -> bytes:
    """Return the module as policy.onnx: `obs` [batch, ...] in, `action` and `outputs` out, the batch of any size.

    The same module gives the same bytes. Raises ExportFailed when ONNX has no words for it, or without onnx.
    """
    import torch

    try:
        import onnx
    except ImportError as error:
        raise ExportFailed("the package onnx is not here", _INSTALL) from error
    written: Any = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter is deprecated, as is TorchScript: it says so at each call
        try:
            torch.onnx.export(
                module.eval(),
                (torch.zeros((3, *obs_shape)),),
                written,
                input_names=[OBSERVATION],
                output_names=[ACTION, OUTPUTS],
                dynamic_axes={name: {0: BATCH} for name in (OBSERVATION, ACTION, OUTPUTS)},
                opset_version=OPSET,
                dynamo=False,
            )
        except Exception as error:  # its exceptions have no common class
            raise ExportFailed(f"policy.onnx can't be written ({error})", "leave out the format onnx") from error
    return _checked(onnx.load_model_from_string(written.getvalue()), obs_shape)


def int8_model(model: bytes, obs_shape: tuple[int, ...]) -> bytes:
    """Return policy.onnx with weights of eight bits, its layers quantised dynamically."""
    try:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise ExportFailed("onnx or onnxruntime is not here", _INSTALL) from error
    root = logging.getLogger()
    root.addFilter(_is_no_advice)
    try:
        with tempfile.TemporaryDirectory() as home:
            target = Path(home) / "int8.onnx"
            quantize_dynamic(onnx.load_model_from_string(model), target, weight_type=QuantType.QInt8)
            return _checked(onnx.load_model(target), obs_shape)
    finally:
        root.removeFilter(_is_no_advice)


def _is_no_advice(record: logging.LogRecord) -> bool:
    return "pre-processing before quantization" not in record.getMessage()


def _checked(model: Any, obs_shape: tuple[int, ...]) -> bytes:
    import onnx

    canonical = _canonical(model)
    try:
        onnx.checker.check_model(canonical, full_check=True)
        content: bytes = canonical.SerializeToString(deterministic=True)
        check_model(content, obs_shape)
    except (BundleRefused, onnx.checker.ValidationError) as error:
        raise ExportFailed(f"policy.onnx is refused ({error})", "leave out the format onnx") from error
    return content


def _canonical(model: Any) -> Any:
    import onnx

    del model.metadata_props[:]
    for part in (model, model.graph, *model.graph.node, *model.graph.initializer):
        part.ClearField("doc_string")
    del model.graph.value_info[:]  # hints that may be wrong after quantisation
    used = {node.domain for node in model.graph.node} | {""}
    imports = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(imports)
    for name in ("producer_name", "producer_version"):
        model.ClearField(name)
    tensors = [*model.graph.initializer]
    tensors += [attribute.t for node in model.graph.node for attribute in node.attribute if attribute.HasField("t")]
    for tensor in tensors:
        plain = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name)
        tensor.CopyFrom(plain)
    return model
