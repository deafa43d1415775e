"""Features of the user's own: a plain function of the ring's ticks and whole numbers, compiled like the library's."""

import dis
import hashlib
import importlib
import inspect
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import CodeType, ModuleType
from typing import Any

import numpy as np
from msgspec import Struct

from bundles.features import kernel
from bundles.features.library import KINDS
from bundles.features.spec import Feature, FeatureSpec, FeaturesRefused, UnknownFeature
from messages import Refused

COLUMN_NAMES = frozenset({"TS", "KIND", "BID", "BID_SIZE", "ASK", "ASK_SIZE", "PRICE", "SIGNED_SIZE"})
KIND_NAMES = frozenset({"IS_QUOTE", "IS_TRADE", "IS_BAR"})
_MODULES = frozenset({"math", "numpy"})


class BadUserFeature(Refused):
    """Raised when a function can't be a feature."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"user feature {name!r}: {detail}")
        self.name, self.detail = name, detail


class SourceChanged(FeaturesRefused):
    """Raised when a user's feature is not the function that the policy was trained with."""

    def __init__(self, name: str, said: str, found: str) -> None:
        super().__init__(
            f"feature {name!r}: the bundle was trained with the source {said}, here it is {found}; "
            "bring that source back, or train again with this one"
        )
        self.name, self.said, self.found = name, said, found


class UserFeature(Struct, frozen=True, kw_only=True):
    """A user's function, compiled. `source` is the sha256 of its text, `params` its arguments behind `rows`."""

    name: str
    source: str
    params: tuple[str, ...]
    function: Callable[..., float]


def user_feature(name: str, function: Callable[..., float]) -> UserFeature:
    """Compile `function(rows, *params) -> float` as the feature `name`.

    `rows` [n, COLUMNS] are the ring's ticks, oldest first, read-only; the parameters are whole numbers. The function
    may use numbers, `math`, `numpy` and the constants of `bundles.features`, and what numba compiles; nothing else, so
    that its text says all. NaN, infinity and division by zero mean: no observation yet. Raises BadUserFeature.
    """
    if name in KINDS:
        raise BadUserFeature(name, "the library has a feature of that name; choose another")
    if not inspect.isfunction(function):
        raise BadUserFeature(name, f"{function!r} is no plain Python function; compiling it is done here")
    params = _params(name, function)
    for used in _globals_of(function.__code__):
        _check_global(name, used, function.__globals__)
    return UserFeature(
        name=name, source=_source(name, function), params=params, function=_compiled(name, function, len(params))
    )


def load_user_features(allow: Mapping[str, str]) -> dict[str, UserFeature]:
    """Import and compile what the settings allow: names, each with `module:function`. Raises BadUserFeature."""
    return {name: _loaded(name, where) for name, where in allow.items()}


@cache
def _loaded(name: str, where: str) -> UserFeature:
    return user_feature(name, _imported(name, where))


def resolved(spec: FeatureSpec, known: Mapping[str, UserFeature]) -> FeatureSpec:
    """Return the spec with the sources of its user's features filled in. Raises UnknownFeature, SourceChanged."""
    features = tuple(_resolved(feature, known) for feature in spec.features)
    return FeatureSpec(features=features, hash=spec.hash)


def _resolved(feature: Feature, known: Mapping[str, UserFeature]) -> Feature:
    if feature.name in KINDS:
        return feature
    found = known.get(feature.name)
    if found is None:
        raise UnknownFeature(
            feature.name,
            "neither in the library nor allowed here; if it is your own, allow it in the settings, "
            f"features: {{allow: {{{feature.name}: 'MODULE:FUNCTION'}}}}",
        )
    if set(feature.params) != set(found.params):
        raise UnknownFeature(
            feature.name, f"its function takes the parameters {sorted(found.params)}, not {sorted(feature.params)}"
        )
    if feature.source not in (None, found.source):
        raise SourceChanged(feature.name, str(feature.source), found.source)
    return Feature(name=feature.name, params=feature.params, source=found.source)


def _imported(name: str, where: str) -> Any:
    module, separator, function = where.partition(":")
    if not separator:
        raise BadUserFeature(name, f"{where!r} is not of the form 'module:function'")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadUserFeature(name, f"{where!r} can't be imported: {error}") from error


def _params(name: str, function: Any) -> tuple[str, ...]:
    arguments = list(inspect.signature(function).parameters.values())
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    if not arguments or any(one.kind not in plain or one.default is not one.empty for one in arguments):
        raise BadUserFeature(name, "it must take the rows and then its parameters, each by position, without defaults")
    if function.__closure__:
        raise BadUserFeature(name, "it uses variables of the function around it; hand them in as parameters")
    return tuple(one.name for one in arguments[1:])


def _globals_of(code: CodeType) -> Iterator[str]:
    yield from (each.argval for each in dis.get_instructions(code) if each.opname == "LOAD_GLOBAL")
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals_of(constant)


def _check_global(name: str, used: str, namespace: Mapping[str, Any]) -> None:
    if used not in namespace:  # a builtin, or a mistake that numba names
        return
    value = namespace[used]
    if isinstance(value, ModuleType) and value.__name__ in _MODULES:
        return
    if used in COLUMN_NAMES | KIND_NAMES and value == getattr(kernel, used):
        return
    raise BadUserFeature(name, f"it uses {used!r}, which its own text doesn't show; put it into the function")


def _source(name: str, function: Any) -> str:
    try:
        text = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise BadUserFeature(name, f"its source can't be read ({error}); put it into a file") from error
    return hashlib.sha256(text.encode()).hexdigest()


def _compiled(name: str, function: Any, params: int) -> Callable[..., float]:
    import numba
    from numba.core.errors import NumbaError

    rows = numba.types.Array(numba.types.float64, 2, "C", readonly=True)
    signature = numba.types.float64(rows, *[numba.types.int64] * params)
    try:
        # Bounds are checked, for beyond the ring's ticks lie others that a refilled ring doesn't have.
        compiled = numba.njit(signature, error_model="numpy", boundscheck=True)(function)
    except NumbaError as error:
        raise BadUserFeature(name, f"numba can't compile it: {error}") from error
    return compiled  # type: ignore[no-any-return]


class FeatureFailed(Refused):
    """Raised when a user's feature raised on some ticks."""

    def __init__(self, label: str, error: Exception) -> None:
        super().__init__(f"feature {label!r} raised {type(error).__name__}: {error}; return math.nan for 'not yet'")
        self.label = label


class UserProgram:
    """The user's features of a spec: what to call, and where its value goes."""

    def __init__(self, spec: FeatureSpec, known: Mapping[str, UserFeature]) -> None:
        self._calls = [
            (index, feature.label, known[feature.name].function, _arguments(feature, known[feature.name]))
            for index, feature in enumerate(spec.features)
            if feature.name not in KINDS
        ]

    def __bool__(self) -> bool:
        return bool(self._calls)

    def fill(self, rows: Any, out: Any) -> bool:
        """Write the values after the newest of `rows` into `out`; False when one isn't finite. Raises FeatureFailed."""
        for index, label, function, arguments in self._calls:
            try:
                value = function(rows, *arguments)
            except Exception as error:  # whatever a user's code raises
                raise FeatureFailed(label, error) from error
            out[index] = value
            if not math.isfinite(out[index]):
                return False
        return True


def _arguments(feature: Feature, found: UserFeature) -> tuple[int, ...]:
    arguments = tuple(feature.params[name] for name in found.params)
    limits = np.iinfo(np.int64)
    if any(not limits.min <= value <= limits.max for value in arguments):
        raise UnknownFeature(feature.name, f"a parameter among {arguments} has more than 64 bits")
    return arguments
