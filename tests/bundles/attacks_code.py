"""Hostile graphs and golden vectors, signed with the trusted key: only the scan and the golden run are left."""

import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from bundles import archive
from bundles.archive import ConstantTensor
from bundles.golden import GoldenVectors, decode_golden, encode_golden
from bundles.manifest import GOLDEN_NAME, POLICY_NAME
from messages import RejectCode
from tests.bundles.evil import evil_policy, looping_policy, reading_policy, writing_policy
from tests.bundles.hostile import Attack, Prey
from tests.bundles.samples import OBS, crafted_policy, endless_policy, resigned, with_weights

END = "return (torch.argmax(obs, 1), torch.slice(obs, 1, 0, 3))"
Make = Callable[[Prey], dict[str, bytes]]


def policy(make: Callable[[Prey], bytes]) -> Make:
    return lambda prey: resigned(prey.files, prey.key, {POLICY_NAME: make(prey)})


def graph(*lines: str, constants: Mapping[str, ConstantTensor] | None = None) -> Make:
    return policy(lambda _: crafted_policy([*lines] if lines[-1].startswith("return") else [*lines, END], constants))


def entries(change: Callable[[dict[str, bytes], Prey], dict[str, bytes]], name: str = POLICY_NAME) -> Make:
    """An archive with other entries, in canonical form."""
    return lambda prey: resigned(
        prey.files, prey.key, {name: archive.pack(change(archive.unpack(prey.files[name]), prey))}
    )


def with_entry(entry: str, content: bytes) -> Make:
    return entries(lambda found, _: {**found, entry: content})


def with_code(old: str, new: str) -> Make:
    return entries(
        lambda found, _: {**found, archive.CODE_NAME: found[archive.CODE_NAME].replace(old.encode(), new.encode(), 1)}
    )


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (self.path, "w"))


def touching(prey: Prey) -> bytes:
    return pickle.dumps(Touch(str(prey.marker)), protocol=2)


def zipped(contents: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as made:
        for name, content in contents.items():
            made.writestr(name, content)
    return buffer.getvalue()


def bomb(_: Prey) -> bytes:
    """A megabyte that becomes a gigabyte."""
    return _bomb()


@cache
def _bomb() -> bytes:  # takes seconds to make
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made,
        made.open(archive.DATA_NAME, "w") as entry,
    ):
        for _megabyte in range(1024):
            entry.write(bytes(2**20))
    return buffer.getvalue()


def overlapping(_: Prey) -> bytes:
    """A thousand entries that are all the same megabyte."""
    first = archive.pack({"a": bytes(2**20)})
    start = first.rindex(b"PK\x01\x02")
    listed = first[start : first.rindex(b"PK\x05\x06")] * 1000
    return first[:start] + listed + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1000, 1000, len(listed), start, 0)


def listed_too_often(_: Prey) -> bytes:
    """Names alone: a reader that lists them first holds 300,000 objects."""
    first = archive.pack({"a": b""})
    start = first.rindex(b"PK\x01\x02")
    listed = first[start : first.rindex(b"PK\x05\x06")] * 300_000
    count = 0xFFFF
    return first[:start] + listed + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(listed), start, 0)


def golden(change: Callable[[Prey, dict[str, Any]], bytes]) -> Make:
    def make(prey: Prey) -> dict[str, bytes]:
        vectors = decode_golden(prey.files[GOLDEN_NAME], (OBS,))
        arrays = {name: np.array(getattr(vectors, name)) for name in ("observations", "actions", "outputs")}
        return resigned(prey.files, prey.key, {GOLDEN_NAME: change(prey, arrays)})

    return make


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npz(prey: Prey, arrays: dict[str, Any], **replaced: bytes) -> bytes:
    return archive.pack(
        {**{f"{n}.npy": npy(a) for n, a in arrays.items()}, **{f"{n}.npy": c for n, c in replaced.items()}}
    )


def pickled(prey: Prey, arrays: dict[str, Any]) -> bytes:
    """An object array whose object makes a file when it is read."""
    content = np.empty(1, object)
    content[0] = Touch(str(prey.marker))
    return npz(prey, arrays, observations=npy(content))


def huge_header(prey: Prey, arrays: dict[str, Any]) -> bytes:
    """Promises 10^18 numbers."""
    honest = npy(arrays["observations"])
    return npz(prey, arrays, observations=honest.replace(b"(256, 4), }        ", b"(999999999, 999999)", 1))


def vectors(**changes: Callable[[Any], Any]) -> Make:
    def change(_: Prey, arrays: dict[str, Any]) -> bytes:
        return encode_golden(GoldenVectors(**{n: changes.get(n, lambda a: a)(a) for n, a in arrays.items()}))

    return golden(change)


def _with(array: Any, value: float) -> Any:
    array[17, 0] = value
    return array


def growing() -> list[str]:
    """Straight-line code whose last line needs 16 GiB at once, more than the verifier process may have."""
    lines = ["_0 = obs"]
    lines += [f"_{n} = torch.cat([_{n - 1}, _{n - 1}], 1)" for n in range(1, 15)]
    return [
        *lines,
        "_15 = torch.slice(torch.mm(torch.transpose(_14, 0, 1), _14), 0, 0, 3)",
        "return (torch.argmax(_15, 1), _15)",
    ]


def _attacks(
    group: str, code: RejectCode, *, loads: bool = False, endless: bool = False, **makes: Make
) -> list[Attack]:
    return [
        Attack(name=f"{group}: {name.replace('_', ' ')}", code=code, make=make, loads=loads, endless=endless)
        for name, make in makes.items()
    ]


FORBIDDEN = [
    *_attacks(
        "module",
        RejectCode.FORBIDDEN_CODE,
        that_writes_when_loaded=policy(lambda prey: evil_policy(prey.marker)),
        that_writes_when_called=policy(lambda prey: writing_policy(prey.marker)),
        that_reads_when_called=policy(lambda prey: reading_policy(prey.room / "bundle" / "metadata.json")),
        with_an_endless_loop=policy(lambda _: looping_policy()),
    ),
    *_attacks(
        "graph",
        RejectCode.FORBIDDEN_CODE,
        that_writes=graph('_0 = torch.save(obs, "marker")'),
        that_reads=graph('_0 = torch.from_file("/etc/passwd", False, 8)'),
        that_loops=graph("while True:\n      pass"),
        with_a_custom_operator=graph("_0 = ops.mylib.run(obs)"),
        with_an_unknown_operator=graph("_0 = torch.frobnicate(obs)"),
        that_calls_python=graph("_0 = ops.prim.PythonOp(obs)"),
        that_prints=graph('print("x")'),
        that_is_random=graph("_0 = torch.rand([2, 2])"),
        that_remembers=graph("_0 = torch.add_(CONSTANTS.c0, obs)"),
        that_renames=graph("torch = obs"),
        deep_in_names=graph("_0 = obs" + ".a" * 900),
        deep_in_signs=graph("_0 = " + "-" * 2000 + "obs"),
        deep_in_brackets=graph("_0 = " + "(" * 50_000 + "obs" + ")" * 50_000),
        too_long=graph(*["_0 = torch.relu(obs)"] * 20_000),
        with_a_long_number=graph("_0 = torch.mul(obs, " + "9" * 5000 + ")"),
        with_comments=graph("_0 = obs # type: Any"),
        with_other_letters=graph("_0 = torch.relu(\N{GREEK SMALL LETTER ALPHA})"),
        with_a_second_method=with_code(
            "  def forward", "  def __setstate__(self, x: Tensor) -> None:\n    return None\n  def forward"
        ),
    ),
    *_attacks(
        "archive",
        RejectCode.FORBIDDEN_CODE,
        bomb=policy(bomb),
        overlapping=policy(overlapping),
        listed_too_often=policy(listed_too_often),
        compressed=policy(lambda prey: zipped(archive.unpack(prey.files[POLICY_NAME]))),
        named_upwards=with_entry("../escape.py", b"x"),
        named_absolutely=with_entry("/etc/cron.d/x", b"x"),
        with_more_code=with_entry("archive/code/__torch__/more.py", b"class More(Module):\n  pass\n"),
        with_something_before=policy(lambda prey: b"MZ" + prey.files[POLICY_NAME]),
        with_something_behind=policy(lambda prey: prey.files[POLICY_NAME] + b"x"),
        with_pickled_attributes=entries(lambda found, prey: {**found, archive.DATA_NAME: touching(prey)}),
        with_pickled_constants=entries(lambda found, prey: {**found, archive.CONSTANTS_NAME: touching(prey)}),
        empty=policy(lambda _: b""),
        of_another_kind=policy(touching),
        with_a_constant_beyond_its_numbers=graph(
            END, constants={"c0": ConstantTensor("FloatStorage", "0", 1, 0, (2,), (1,))}
        ),
    ),
]

GOLDEN = [
    *_attacks(
        "golden vectors",
        RejectCode.GOLDEN_MISMATCH,
        pickled=golden(pickled),
        promising_too_much=golden(huge_header),
        compressed=golden(lambda _, arrays: zipped({f"{n}.npy": npy(a) for n, a in arrays.items()})),
        bomb=golden(lambda prey, _: bomb(prey)),
        too_few=vectors(observations=lambda a: a[:9], actions=lambda a: a[:9], outputs=lambda a: a[:9]),
        of_different_length=vectors(actions=lambda a: a[:-1]),
        with_more_arrays=golden(lambda prey, arrays: npz(prey, {**arrays, "more": np.zeros(3, np.float32)})),
        empty=golden(lambda *_: b""),
    ),
    *_attacks(
        "golden vectors",
        RejectCode.NOT_FINITE,
        of_nan=vectors(observations=lambda a: _with(a, float("nan"))),
        of_infinity=vectors(outputs=lambda a: _with(a, float("inf"))),
    ),
    *_attacks(
        "golden vectors",
        RejectCode.WRONG_SHAPE,
        of_other_observations=vectors(observations=lambda a: np.ascontiguousarray(a[:, :3])),
        beyond_the_action_space=vectors(actions=lambda a: a + 3),
    ),
]

WRONG_ANSWERS = [
    *_attacks(
        "weights",
        RejectCode.NOT_FINITE,
        loads=True,
        of_nan=policy(lambda prey: with_weights(prey.files[POLICY_NAME], float("nan"))),
        of_infinity=policy(lambda prey: with_weights(prey.files[POLICY_NAME], float("inf"))),
    ),
    *_attacks(
        "weights",
        RejectCode.GOLDEN_MISMATCH,
        loads=True,
        of_another_model=lambda prey: resigned(prey.files, prey.key, {POLICY_NAME: prey.other[POLICY_NAME]}),
        set_by_hand=policy(lambda prey: with_weights(prey.files[POLICY_NAME], 0.3)),
    ),
    *_attacks(
        "golden vectors",
        RejectCode.GOLDEN_MISMATCH,
        loads=True,
        with_other_actions=vectors(actions=lambda a: (a + 1) % 3),
        with_other_outputs=vectors(outputs=lambda a: a + 0.01),
    ),
    *_attacks(
        "answer",
        RejectCode.WRONG_SHAPE,
        loads=True,
        of_two_outputs=graph("return (torch.argmax(obs, 1), torch.slice(obs, 1, 0, 2))"),
        of_another_type=graph("return (torch.to(torch.argmax(obs, 1), 6), torch.slice(obs, 1, 0, 3))"),
        of_the_whole_batch=graph("return (torch.argmax(obs, 0), torch.slice(obs, 1, 0, 3))"),
    ),
    *_attacks(
        "graph",
        RejectCode.LOAD_FAILED,
        loads=True,
        that_fails=graph("_0 = torch.mm(obs, obs)", "return (torch.argmax(_0, 1), _0)"),
        that_returns_one=graph("return obs"),
        with_arguments_that_no_one_has=graph("return (torch.argmax(obs, 1, 2, 3, 4), obs)"),
        with_names_that_are_not_there=graph("_0 = torch.relu(nothing)"),
    ),
]

ENDLESS = [
    *_attacks("endless", RejectCode.TIMED_OUT, endless=True, multiplication=policy(lambda _: endless_policy())),
    *_attacks("endless", RejectCode.LOAD_FAILED, endless=True, memory=graph(*growing())),
]

CODE_ATTACKS = [*FORBIDDEN, *GOLDEN, *WRONG_ANSWERS, *ENDLESS]
