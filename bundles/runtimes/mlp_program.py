"""From the code of a policy to the program of the mlp runtime, for graphs that are one chain of layers.

What Stable-Baselines3 exports of an MlpPolicy is such a chain: normaliser, linear layers with relu or tanh, then the
largest output, or scaling and bounds. Anything else has no program here, and is served by another runtime.
"""

import ast
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from bundles import archive
from bundles.runtimes import mlp_kernel

Numbers = np.ndarray[Any, np.dtype[np.float64]]
Weights = np.ndarray[Any, np.dtype[np.float32]]
Integers = np.ndarray[Any, np.dtype[np.int64]]

_STORED: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "LongStorage": np.dtype("<i8"),
}
_ELEMENTWISE = {
    "add": mlp_kernel.ADD,
    "sub": mlp_kernel.SUBTRACT,
    "mul": mlp_kernel.MULTIPLY,
    "div": mlp_kernel.DIVIDE,
    "maximum": mlp_kernel.MAXIMUM,
    "minimum": mlp_kernel.MINIMUM,
}
_COMMUTES = {"add", "mul", "maximum", "minimum"}
_ACTIVATIONS = {"relu": mlp_kernel.RELU, "tanh": mlp_kernel.TANH}


class MlpProgram(Struct, frozen=True):
    """What mlp_kernel runs: the lines [n, 5], the memory [m] with constants in place, and the layers' weights [w]."""

    lines: Integers
    memory: Numbers
    weights: Weights

    @property
    def observation_size(self) -> int:
        """How many values an observation has."""
        return int(self.lines[0, mlp_kernel.OBSERVATION])

    @property
    def output_size(self) -> int:
        """How many outputs there are."""
        return int(self.lines[0, mlp_kernel.N_OUTPUTS])

    @property
    def action_size(self) -> int:
        """How many values an action has; one when discrete."""
        return int(self.lines[0, mlp_kernel.N_ACTION])

    @property
    def is_discrete(self) -> bool:
        """Whether the action is the index of the largest output."""
        return bool((self.lines[1:, 0] == mlp_kernel.ARGMAX).any())


class _NoChain(Exception):  # noqa: N818 - an answer, not an accident
    """The graph is no chain of layers."""


class _Line(Struct, frozen=True):
    operation: int
    inputs: int
    outputs: int
    numbers: tuple[float, ...]
    is_rounded: bool


class _Value(Struct, frozen=True):
    """A vector somewhere in the graph: the lines that lead to it from the observation."""

    lines: tuple[_Line, ...]
    size: int
    is_single: bool  # float32
    is_index: bool = False

    def then(self, operation: int, size: int, numbers: Numbers | None = None, *, is_single: bool) -> "_Value":
        flat = () if numbers is None else tuple(numbers.tolist())
        return _Value((*self.lines, _Line(operation, self.size, size, flat, is_single)), size, is_single)


def mlp_program(policy: bytes, obs_shape: tuple[int, ...]) -> MlpProgram | None:
    """Return the program of a policy.pt that scan.check_archive has accepted, or None when it is no chain of layers."""
    entries = archive.unpack(policy)
    try:
        constants = _constants(entries)
        forward = _forward(entries[archive.CODE_NAME])
        action, outputs = _Reader(constants, obs_shape).answer(forward)
        return _assembled(obs_shape, action, outputs)
    except _NoChain:
        return None


def _forward(code: bytes) -> ast.FunctionDef:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef) and node.name == "forward":
            return node
    raise _NoChain


def _constants(entries: Mapping[str, bytes]) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    found = {}
    for index, tensor in enumerate(archive.parse_constants(entries[archive.CONSTANTS_NAME])):
        dtype = _STORED.get(tensor.storage)
        if dtype is None:
            continue  # whoever uses it does not find it
        stored = np.frombuffer(entries[f"archive/constants/{tensor.key}"], dtype)
        strides = tuple(stride * dtype.itemsize for stride in tensor.strides)
        found[f"c{index}"] = np.lib.stride_tricks.as_strided(stored[tensor.offset :], tensor.shape, strides)
    return found


class _Reader:
    """Reads a forward statement by statement; every value is a vector, or the pair that is returned."""

    def __init__(self, constants: Mapping[str, np.ndarray[Any, np.dtype[Any]]], obs_shape: tuple[int, ...]) -> None:
        self._constants = constants
        self._size = int(np.prod(obs_shape))
        self._known: dict[str, _Value | tuple[_Value, _Value]] = {}

    def answer(self, forward: ast.FunctionDef) -> tuple[_Value, _Value]:
        names = [argument.arg for argument in forward.args.args[1:]]
        if len(names) != 1:
            raise _NoChain
        self._known[names[0]] = _Value((), self._size, is_single=True)
        for statement in forward.body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    self._known[name] = self._read(value)
                case ast.Return(value=value) if value is not None:
                    answer = self._read(value)
                    if isinstance(answer, tuple):
                        return answer
                    raise _NoChain
                case _:
                    raise _NoChain
        raise _NoChain

    def _read(self, node: ast.expr) -> _Value | tuple[_Value, _Value]:
        match node:
            case ast.Name(id=name) if name in self._known:
                return self._known[name]
            case ast.Tuple(elts=[first, second]):
                action = self._read(first)
                if isinstance(action, tuple):
                    raise _NoChain
                return action, self._vector(second)
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="torch"), attr=operation), args=[first, *more], keywords=[]
            ):
                return self._call(operation, first, more)
            case _:
                raise _NoChain

    def _vector(self, node: ast.expr) -> _Value:
        value = self._read(node)
        if isinstance(value, tuple) or value.is_index:
            raise _NoChain
        return value

    def _call(self, operation: str, first: ast.expr, more: Sequence[ast.expr]) -> _Value:
        if operation in _COMMUTES and self._is_constant(first):
            first, more = more[0], [first, *more[1:]]
        value = self._vector(first)
        match operation, [_number(node) for node in more]:
            case "to", [7]:  # torch's code of float64
                return _Value(value.lines, value.size, is_single=False)
            case "to", [6]:  # and of float32
                return value if value.is_single else value.then(mlp_kernel.ROUND, value.size, is_single=True)
            case "flatten", [1]:
                return value
            case "clamp", [float() | int() as low, float() | int() as high]:
                bounded = value.then(
                    mlp_kernel.MAXIMUM, value.size, np.full(value.size, float(low)), is_single=value.is_single
                )
                return bounded.then(
                    mlp_kernel.MINIMUM, value.size, np.full(value.size, float(high)), is_single=value.is_single
                )
            case "relu" | "tanh", []:
                return value.then(_ACTIVATIONS[operation], value.size, is_single=value.is_single)
            case "argmax", [1]:
                return msgspec.structs.replace(value.then(mlp_kernel.ARGMAX, 1, is_single=False), is_index=True)
            case "linear", [None, None]:
                return self._linear(value, self._constant(more[0]), self._constant(more[1]))
            case _, [None] if operation in _ELEMENTWISE:
                return self._elementwise(operation, value, self._constant(more[0]))
            case _:
                raise _NoChain

    def _linear(self, value: _Value, weights: Any, bias: Any) -> _Value:
        if (
            not value.is_single
            or {weights.dtype, bias.dtype} != {np.dtype(np.float32)}
            or weights.shape != (len(bias), value.size)
        ):
            raise _NoChain
        numbers = np.concatenate([bias.ravel(), weights.T.ravel()]).astype(np.float64)
        return value.then(mlp_kernel.LINEAR, len(bias), numbers, is_single=True)

    def _elementwise(self, operation: str, value: _Value, constant: Any) -> _Value:
        if constant.size not in {1, value.size} or constant.ndim > 2:
            raise _NoChain
        is_single = value.is_single and (constant.dtype != np.float64 or constant.ndim == 0)
        numbers = np.broadcast_to(constant.astype(np.float32 if is_single else np.float64).ravel(), (value.size,))
        return value.then(_ELEMENTWISE[operation], value.size, numbers.astype(np.float64), is_single=is_single)

    def _is_constant(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "CONSTANTS"

    def _constant(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Attribute) and self._is_constant(node) and node.attr in self._constants:
            return self._constants[node.attr]
        raise _NoChain


def _number(node: ast.expr) -> float | None:
    """Return a literal number, or None for any other argument."""
    match node:
        case ast.Constant(value=float() | int() as number):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=float() | int() as number)):
            return -number
        case _:
            return None


def _assembled(obs_shape: tuple[int, ...], action: _Value, outputs: _Value) -> MlpProgram:
    shared = len(outputs.lines)
    if not (outputs.is_single and (action.is_single or action.is_index)) or action.lines[:shared] != outputs.lines:
        raise _NoChain
    told = _Line(mlp_kernel.OUTPUTS, outputs.size, outputs.size, (), is_rounded=False)
    lines = [*outputs.lines, told, *action.lines[shared:]]
    size = int(np.prod(obs_shape))
    width = max(size, *(line.outputs for line in lines))
    place = first = outputs.size + action.size + 2 * width
    weights_place = 0
    table = [(size, outputs.size, action.size, width, first)]
    for line in lines:
        if line.operation == mlp_kernel.LINEAR:
            table.append((line.operation, line.inputs, line.outputs, weights_place, line.is_rounded))
            weights_place += len(line.numbers)
        else:
            table.append((line.operation, line.inputs, line.outputs, place, line.is_rounded))
            place += len(line.numbers)
    memory = np.zeros(place)
    memory[first:] = [n for line in lines if line.operation != mlp_kernel.LINEAR for n in line.numbers]
    weights = [n for line in lines if line.operation == mlp_kernel.LINEAR for n in line.numbers]
    return MlpProgram(np.array(table, dtype=np.int64), memory, np.array(weights, dtype=np.float32))
