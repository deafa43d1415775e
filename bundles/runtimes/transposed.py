"""The same policy in a form that TorchScript runs faster: linear layers with weights that are transposed already.

`linear` turns its weights round at every call before it calls `addmm`; with weights that are stored turned round,
`addmm` is called at once, on the same memory in the same order: the same bits in about six sevenths of the time.
"""

import ast
from collections import Counter

import msgspec

from bundles import archive
from bundles.archive import ConstantTensor

# What keeps rows rows, [B, n], when all else that it is given is a number or a constant of at most two dimensions.
_ELEMENTWISE = frozenset({
    "abs", "add", "clamp", "clamp_max", "clamp_min", "div", "elu", "exp", "gelu", "hardtanh", "leaky_relu", "maximum",
    "minimum", "mul", "neg", "relu", "relu6", "selu", "sigmoid", "silu", "softplus", "sub", "tanh", "to",
})  # fmt: skip


def with_transposed_weights(policy: bytes) -> bytes:
    """Return policy.pt with `addmm` for each `linear` over rows; itself when there is none.

    Only for bytes that scan.check_archive has accepted, of a graph whose observation is [B, n].
    """
    entries = archive.unpack(policy)
    constants = list(archive.parse_constants(entries[archive.CONSTANTS_NAME]))
    code = entries[archive.CODE_NAME].decode("ascii")
    layers = _Layers(ast.parse(code), constants).found()
    if not layers:
        return policy
    entries[archive.CODE_NAME] = _rewritten(code, layers).encode("ascii")
    for layer in layers:
        weights = constants[layer.weights]
        constants[layer.weights] = msgspec.structs.replace(
            weights, shape=weights.shape[::-1], strides=weights.strides[::-1]
        )
    entries[archive.CONSTANTS_NAME] = archive.format_constants(tuple(constants))
    return archive.pack(entries)


class _Layer(msgspec.Struct, frozen=True):
    call: ast.Call
    rows: ast.expr
    weights: int
    bias: int


class _Layers:
    """Follows the rows through a straight line of statements."""

    def __init__(self, tree: ast.Module, constants: list[ConstantTensor]) -> None:
        self._constants = constants
        self._uses = Counter(index for node in ast.walk(tree) if (index := _constant(node)) is not None)
        self._forward = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
        self._rows = {self._forward.args.args[1].arg}
        self._layers: list[_Layer] = []

    def found(self) -> list[_Layer]:
        for statement in self._forward.body:
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                name = statement.targets[0].id
                (self._rows.add if self._is_rows(statement.value) else self._rows.discard)(name)
            elif isinstance(statement, ast.Assign):
                self._rows -= {node.id for node in ast.walk(statement.targets[0]) if isinstance(node, ast.Name)}
            elif isinstance(statement, ast.Return) and isinstance(statement.value, ast.Tuple):
                for value in statement.value.elts:
                    self._is_rows(value)
        return self._layers

    def _is_rows(self, node: ast.expr) -> bool:
        match node:
            case ast.Name(id=name):
                return name in self._rows
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr="linear"), args=[rows, *numbers]):
                return self._is_rows(rows) and self._is_layer(node, rows, numbers)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr=operation), args=arguments) if (
                operation in _ELEMENTWISE
            ):
                # Every argument is looked at, for the layers inside it.
                kinds = [(self._is_rows(argument), self._is_flat(argument)) for argument in arguments]
                return any(rows for rows, _ in kinds) and all(rows or flat for rows, flat in kinds)
            case _:
                return False

    def _is_layer(self, call: ast.Call, rows: ast.expr, numbers: list[ast.expr]) -> bool:
        indices = [_constant(number) for number in numbers]
        match indices:
            case [int() as weights, int() as bias] if self._uses[weights] == 1 and weights != bias:
                if len(self._constants[weights].shape) == 2 and len(self._constants[bias].shape) == 1:
                    self._layers.append(_Layer(call, rows, weights, bias))
                    return True
        return False

    def _is_flat(self, node: ast.expr) -> bool:
        index = _constant(node)
        if index is not None:
            return len(self._constants[index].shape) <= 2
        return isinstance(node.operand if isinstance(node, ast.UnaryOp) else node, ast.Constant)


def _constant(node: ast.AST) -> int | None:
    match node:
        case ast.Attribute(value=ast.Name(id="CONSTANTS"), attr=name):
            return int(name[1:])
        case _:
            return None


def _rewritten(code: str, layers: list[_Layer]) -> str:
    starts = [0]
    for line in code.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def span(node: ast.expr) -> tuple[int, int]:
        end_line, end = node.end_lineno or node.lineno, node.end_col_offset or 0
        return starts[node.lineno - 1] + node.col_offset, starts[end_line - 1] + end

    edits = []
    for layer in layers:
        (call_from, call_to), (rows_from, rows_to) = span(layer.call), span(layer.rows)
        edits.append((call_from, rows_from, f"torch.addmm(CONSTANTS.c{layer.bias}, "))
        edits.append((rows_to, call_to, f", CONSTANTS.c{layer.weights})"))
    for start, end, text in sorted(edits, reverse=True):
        code = code[:start] + text + code[end:]
    return code
