"""What a policy.onnx may contain: one flat graph of tensor maths, its numbers inside. Needs the extra `onnx`.

ONNX Runtime is a large parser that reads other files when a model names them, so this is judged before it sees the
bytes. Whatever is not on a list here is refused.
"""

import math
from collections.abc import Iterable
from typing import Any, NoReturn

from bundles.errors import BundleRefused
from bundles.runtimes.onnx_names import ACTION, OBSERVATION, OUTPUTS
from messages.status import RejectCode

MAX_MODEL_BYTES = 2**28
MAX_NODES = 4096
MAX_ELEMENTS = 2**26
OPSETS = range(13, 24)
IR_VERSIONS = range(7, 12)
ALLOWED_OPERATIONS = frozenset({
    "Abs", "Add", "And", "ArgMax", "ArgMin", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Celu", "Clip",
    "Concat", "Constant", "Conv", "Cos", "DequantizeLinear", "Div", "DynamicQuantizeLinear", "Elu", "Equal", "Erf",
    "Exp", "Flatten", "Floor", "Gather", "Gelu", "Gemm", "GlobalAveragePool", "Greater", "GreaterOrEqual",
    "HardSigmoid", "HardSwish", "Identity", "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log",
    "LogSoftmax", "MatMul", "MatMulInteger", "Max", "MaxPool", "Min", "Mish", "Mul", "Neg", "Not", "Or", "Pow",
    "QuantizeLinear", "Reciprocal", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "Relu", "Reshape", "Round", "Selu", "Shape", "Sigmoid", "Sign", "Sin", "Slice", "Softmax",
    "Softplus", "Softsign", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Transpose", "Unsqueeze", "Where",
})  # fmt: skip
# Bytes of one element, by ONNX's number of the type: float, uint8, int8, int32, int64, bool, float16, double.
_ELEMENT_BYTES = {1: 4, 2: 1, 3: 1, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8}
# Kinds of attributes: float, int, string, tensor and lists of the first three; never a graph inside a node.
_PLAIN, _TENSOR = frozenset({1, 2, 3, 6, 7, 8}), 4


def check_model(model: bytes, obs_shape: tuple[int, ...]) -> None:
    """Return when policy.onnx holds nothing but tensor maths on observations float32 [B, *obs_shape].

    Raises BundleRefused: TOO_LARGE; LOAD_FAILED without the package onnx; FORBIDDEN_CODE for operations, domains,
    files and structures that are not on the lists, and for bytes that are not the canonical form of what they say.
    """
    if len(model) > MAX_MODEL_BYTES:
        raise BundleRefused(RejectCode.TOO_LARGE, f"policy.onnx has {len(model)} bytes")
    parsed = _parsed(model)
    if parsed.ir_version not in IR_VERSIONS or len(parsed.functions) or len(parsed.training_info):
        _refuse(f"its version is {parsed.ir_version}, or it holds functions or training")
    if len(parsed.opset_import) != 1 or parsed.opset_import[0].domain or parsed.opset_import[0].version not in OPSETS:
        _refuse(f"it uses other operations than those of ONNX {OPSETS.start} to {OPSETS.stop - 1}")
    graph = parsed.graph
    if len(parsed.metadata_props) or len(graph.sparse_initializer) or len(graph.quantization_annotation):
        _refuse("it holds metadata, sparse numbers or annotations")
    _check_ports(graph, obs_shape)
    if len(graph.node) > MAX_NODES:
        _refuse(f"it has {len(graph.node)} nodes")
    _check_tensors(graph.initializer)
    for node in graph.node:
        _check_node(node)


def _parsed(model: bytes) -> Any:
    try:
        import onnx
        from google.protobuf.message import DecodeError, EncodeError
    except ImportError as error:
        raise BundleRefused(RejectCode.LOAD_FAILED, "onnx is not installed: `pip install tickpilot[onnx]`") from error
    parsed = onnx.ModelProto()
    try:
        parsed.ParseFromString(model)
        # What this parser doesn't know another might.
        parsed.DiscardUnknownFields()
        is_canonical = parsed.SerializeToString(deterministic=True) == model
    except (DecodeError, EncodeError, RecursionError, ValueError) as error:
        raise BundleRefused(RejectCode.FORBIDDEN_CODE, f"policy.onnx can't be parsed ({error})") from error
    if not is_canonical:
        _refuse("it is not in canonical form")
    return parsed


def _check_ports(graph: Any, obs_shape: tuple[int, ...]) -> None:
    inputs, outputs = [port.name for port in graph.input], [port.name for port in graph.output]
    if inputs != [OBSERVATION] or outputs != [ACTION, OUTPUTS]:
        _refuse(f"its inputs and outputs are {inputs[:4]} and {outputs[:4]}")
    tensor = graph.input[0].type.tensor_type
    sizes = tuple(dimension.dim_value for dimension in tensor.shape.dim)
    if tensor.elem_type != 1 or sizes != (0, *obs_shape):
        _refuse(f"its input is of type {tensor.elem_type} and shape {sizes}, not float32 [B, {obs_shape}]")


def _check_node(node: Any) -> None:
    if node.domain or node.op_type not in ALLOWED_OPERATIONS:
        _refuse(f"operation {node.domain[:40]!r} {node.op_type[:40]!r} is not on the list of tensor maths")
    for attribute in node.attribute:
        if attribute.type == _TENSOR:
            _check_tensors([attribute.t])
        elif attribute.type not in _PLAIN or attribute.ref_attr_name:
            _refuse(f"attribute {attribute.name[:40]!r} of {node.op_type} is of kind {attribute.type}")
        if len(attribute.graphs) or attribute.HasField("g") or attribute.HasField("sparse_tensor"):
            _refuse(f"attribute {attribute.name[:40]!r} of {node.op_type} holds a graph")


def _check_tensors(tensors: Iterable[Any]) -> None:
    left = MAX_ELEMENTS
    for tensor in tensors:
        if tensor.data_location or len(tensor.external_data) or tensor.HasField("segment"):
            _refuse(f"the numbers {tensor.name[:40]!r} are in another file")
        element_bytes = _ELEMENT_BYTES.get(tensor.data_type)
        if element_bytes is None or any(size < 0 for size in tensor.dims):
            _refuse(f"the numbers {tensor.name[:40]!r} are of type {tensor.data_type}")
        count = math.prod(tensor.dims)
        if len(tensor.raw_data) != count * element_bytes or count > left:
            _refuse(f"the numbers {tensor.name[:40]!r} are {len(tensor.raw_data)} bytes for {count} elements")
        left -= count


def _refuse(detail: str) -> NoReturn:
    raise BundleRefused(RejectCode.FORBIDDEN_CODE, f"policy.onnx: {detail}")
