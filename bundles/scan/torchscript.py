"""What a TorchScript archive may contain: one straight line of tensor maths, and plain tensors as constants.

`torch.jit.load` runs code from the file, so this is judged before it sees the bytes. Whatever is not on a list here is
refused.
"""

import ast
import re
from typing import NoReturn

from bundles import archive
from bundles.archive import ConstantTensor
from bundles.errors import BundleRefused
from messages.status import RejectCode

MAX_CODE_BYTES = 128 * 1024
# Parsers that come after this one recurse on nesting; what torch.jit.save writes stays far below.
MAX_DEPTH = 100
ALLOWED_OPERATIONS = frozenset({
    "abs", "add", "addmm", "argmax", "argmin", "avg_pool1d", "avg_pool2d", "batch_norm", "bitwise_and",
    "bitwise_not", "bitwise_or", "bmm", "cat", "ceil", "celu", "clamp", "clamp_max", "clamp_min", "contiguous",
    "conv1d", "conv2d", "_convolution", "div", "dropout", "elu", "eq", "erf", "exp", "expm1", "flatten", "floor",
    "floor_divide", "ge", "gelu", "glu", "group_norm", "gt", "hardsigmoid", "hardswish", "hardtanh", "hardtanh_",
    "layer_norm", "le", "leaky_relu", "linear", "log", "log1p", "log_softmax", "logical_and",
    "logical_not", "logical_or", "logsumexp", "lt", "masked_fill", "matmul", "max", "max_pool1d", "max_pool2d",
    "maximum", "mean", "min", "minimum", "mish", "mm", "mul", "narrow", "ne", "neg", "permute", "pow", "prod",
    "reciprocal", "relu", "relu6", "remainder", "reshape", "round", "rsqrt", "rsub", "select", "selu",
    "sigmoid", "sign", "silu", "sin", "cos", "size", "slice", "softmax", "softplus", "softsign", "split",
    "sqrt", "square", "squeeze", "stack", "std", "sub", "sum", "t", "tanh", "to", "transpose", "trunc",
    "type_as", "unflatten", "unsqueeze", "view", "where", "_softmax", "chunk", "unbind", "hstack", "vstack",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d",
})  # fmt: skip
# Keywords of schemas that write nowhere: `out=` would change a constant, and with it the policy.
ALLOWED_KEYWORDS = frozenset({"alpha", "approximate", "dtype", "rounding_mode"})
# Operations that are random or keep state unless this positional argument is False.
MUST_BE_FALSE = {"batch_norm": 5, "dropout": 2}
ALLOWED_PRIMITIVES = frozenset({"NumToTensor"})
_TYPES = frozenset({"List", "Optional", "Tuple", "Tensor", "int", "float", "bool", "number"})
_CASTS = frozenset({"annotate", "int", "float", "bool"})
_RESERVED = frozenset({"self", "ops", "torch", "CONSTANTS"})
_STRINGS = frozenset({"none", "tanh", "floor", "trunc"})
_TEXT = re.compile(rb"[\n\x20-\x7e]*")


def check_archive(policy: bytes, input_count: int = 1) -> None:
    """Return when policy.pt holds nothing but tensor maths on so many inputs.

    Raises BundleRefused FORBIDDEN_CODE for code, operations, objects or entries that are not on the lists, and for an
    archive that is not in the canonical form of archive.py.
    """
    entries = archive.unpack(policy)
    tensors = archive.parse_constants(entries.get(archive.CONSTANTS_NAME, b""))
    constants = [f"archive/constants/{key}" for key in archive.storage_keys(tensors)]
    expected = [archive.DATA_NAME, archive.CODE_NAME, *constants, archive.CONSTANTS_NAME, archive.VERSION_NAME,
                archive.BYTEORDER_NAME]  # fmt: skip
    if list(entries) != expected:
        _refuse(f"its entries are {', '.join(map(repr, list(entries)[:8]))}, expected {', '.join(expected[:8])}")
    if entries[archive.DATA_NAME] != archive.DATA_PICKLE:
        _refuse("data.pkl holds more than a module without attributes")
    if entries[archive.BYTEORDER_NAME] != b"little" or not re.fullmatch(rb"\d{1,2}\n", entries[archive.VERSION_NAME]):
        _refuse("version or byteorder is odd")
    for tensor in tensors:
        _check_tensor(tensor, len(entries[f"archive/constants/{tensor.key}"]))
    check_code(entries[archive.CODE_NAME], len(tensors), input_count)


def _check_tensor(tensor: ConstantTensor, stored_bytes: int) -> None:
    if tensor.storage_count * archive.STORAGE_BYTES[tensor.storage] != stored_bytes:
        _refuse(f"constant {tensor.key} has {stored_bytes} bytes for {tensor.storage_count} elements")
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    if 0 not in tensor.shape and last >= tensor.storage_count:
        _refuse(f"constant {tensor.key} reads beyond its storage")


def check_code(code: bytes, constant_count: int, input_count: int = 1) -> None:
    """Return when `code` is one class with one straight-line `forward` of allowed operations on so many tensors.

    Raises BundleRefused FORBIDDEN_CODE.
    """
    # Comments carry types in TorchScript and escapes hide text: neither is needed.
    if len(code) > MAX_CODE_BYTES or _TEXT.fullmatch(code) is None or b"#" in code or b"\\" in code:
        _refuse("its code is too long or holds comments, escapes or characters beyond ASCII")
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BundleRefused(RejectCode.FORBIDDEN_CODE, f"policy.pt: its code can't be parsed ({error})") from error
    _check_depth(tree)
    match tree.body:
        case [
            ast.ClassDef(
                name="Policy",
                bases=[ast.Name(id="Module")],
                keywords=[],
                decorator_list=[],
                body=[
                    ast.Assign(targets=[ast.Name(id="__parameters__")], value=ast.List(elts=[])),
                    ast.Assign(targets=[ast.Name(id="__buffers__")], value=ast.List(elts=[])),
                    ast.FunctionDef(name="forward", decorator_list=[]) as forward,
                ],
            )
        ]:
            _check_forward(forward, constant_count, input_count)
        case _:
            _refuse("its code is more than one class with one method `forward`")


def _check_depth(tree: ast.AST) -> None:
    level: list[ast.AST] = [tree]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    _refuse(f"its code is nested more than {MAX_DEPTH} levels deep")


def _check_forward(forward: ast.FunctionDef, constant_count: int, input_count: int) -> None:
    arguments = forward.args
    extra = (arguments.posonlyargs, arguments.kwonlyargs, arguments.vararg, arguments.kwarg, arguments.defaults)
    shape = [ast.unparse(argument.annotation) if argument.annotation else "" for argument in arguments.args]
    if any(extra) or shape != [archive.CLASS_NAME, *["Tensor"] * input_count] or forward.returns is None:
        _refuse(f"`forward` doesn't take {input_count} Tensor(s)")
    if ast.unparse(forward.returns) != "Tuple[Tensor, Tensor]":
        _refuse("`forward` doesn't return (action, outputs)")
    *statements, last = forward.body
    for statement in statements:
        match statement:
            case ast.Assign(targets=[ast.Name() as target], value=value) if _is_variable(target):
                _check_expression(value, constant_count)
            case ast.Assign(targets=[ast.Tuple(elts=elements)], value=value) if all(map(_is_variable, elements)):
                _check_expression(value, constant_count)
            case _:
                _refuse(f"statement `{ast.unparse(statement)[:80]}` is not allowed")
    if not (isinstance(last, ast.Return) and isinstance(last.value, ast.Tuple | ast.Name)):
        _refuse("`forward` doesn't end by returning two values")
    _check_expression(last.value, constant_count)


def _check_expression(root: ast.expr, constant_count: int) -> None:
    pending: list[ast.expr] = [root]
    while pending:
        node = pending.pop()
        match node:
            case ast.Call(func=function, args=arguments, keywords=keywords):
                _check_function(node)
                if isinstance(function, ast.Name) and function.id == "annotate":
                    _check_type(arguments.pop(0) if arguments else node)
                pending += arguments
                pending += [keyword.value for keyword in keywords]
            case ast.Constant(value=value) if value is None or isinstance(value, bool | int | float):
                pass
            case ast.Constant(value=str(text)) if text in _STRINGS:
                pass
            case ast.Attribute(value=ast.Name(id="CONSTANTS"), attr=name) if _is_constant(name, constant_count):
                pass
            case ast.Name() if _is_variable(node):
                pass
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                pending += elements
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                pending.append(operand)
            case _:
                _refuse(f"expression `{ast.unparse(node)[:80]}` is not allowed")


def _check_function(call: ast.Call) -> None:
    function = call.func
    if odd := [keyword.arg for keyword in call.keywords if keyword.arg not in ALLOWED_KEYWORDS]:
        _refuse(f"argument `{odd[0]}` of `{ast.unparse(function)[:80]}` is not allowed")
    match function:
        case ast.Attribute(value=ast.Name(id="torch"), attr=name) if name in ALLOWED_OPERATIONS:
            if name in MUST_BE_FALSE and not _is_false(call.args, MUST_BE_FALSE[name]):
                _refuse(f"`torch.{name}` in training mode is not allowed")
            return
        case ast.Attribute(value=ast.Attribute(value=ast.Name(id="ops"), attr="prim"), attr=name) if (
            name in ALLOWED_PRIMITIVES
        ):
            return
        case ast.Name(id=name) if name in _CASTS:
            return
    _refuse(f"operation `{ast.unparse(function)[:80]}` is not on the list of tensor maths")


def _is_false(arguments: list[ast.expr], index: int) -> bool:
    return (
        index < len(arguments)
        and isinstance(arguments[index], ast.Constant)
        and ast.unparse(arguments[index]) == "False"
    )


def _is_variable(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id not in _RESERVED


def _check_type(node: ast.expr) -> None:
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and part.id in _TYPES:
            continue
        if not isinstance(part, ast.Subscript | ast.Tuple | ast.Load):
            _refuse(f"type `{ast.unparse(node)[:80]}` is not allowed")


def _is_constant(name: str, constant_count: int) -> bool:
    return re.fullmatch(r"c\d{1,6}", name) is not None and int(name[1:]) < constant_count


def _refuse(detail: str) -> NoReturn:
    raise BundleRefused(RejectCode.FORBIDDEN_CODE, f"policy.pt: {detail}")
