"""Run a command of tickpilot and print, at its end, where its processor time went: a stack each millisecond of it.

python tests/bench/execution/sampled.py REPORT -m agents run execution ...
"""

import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

_EVERY_S = 0.001
_DEPTH = 40
_LINES = 70

own: Counter[str] = Counter()
within: Counter[str] = Counter()
lines: Counter[str] = Counter()


def _look(_number: int, frame: FrameType | None) -> None:
    if frame is None:
        return
    own[_name(frame)] += 1
    lines[f"{_name(frame)}:{frame.f_lineno}"] += 1
    seen = set()
    for _ in range(_DEPTH):
        if frame is None:
            break
        seen.add(_name(frame))
        frame = frame.f_back
    within.update(seen)


def _name(frame: FrameType) -> str:
    code = frame.f_code
    return f"{'/'.join(code.co_filename.rsplit('/', 2)[-2:])}:{code.co_qualname}"


def _text() -> str:
    total = max(1, sum(own.values()))
    parts = [f"{total} samples of {_EVERY_S * 1e3:g} ms of processor time"]
    for title, counter in (("own", own), ("with callees", within), ("lines", lines)):
        parts.append(f"\n{title}")
        parts += [f"{100 * n / total:6.2f} %  {name}" for name, n in counter.most_common(_LINES)]
    return "\n".join(parts)


def main() -> None:
    report, _, module, *arguments = sys.argv[1:]
    sys.argv = [module, *arguments]
    from agents.cli.main import main as run
    from agents.lifecycle import process

    calm = process.calm_garbage_collector  # type: ignore[attr-defined] # borrowed, not used

    def begin() -> None:
        calm()
        signal.setitimer(signal.ITIMER_PROF, _EVERY_S, _EVERY_S)

    signal.signal(signal.SIGPROF, _look)
    process.calm_garbage_collector = begin  # type: ignore[attr-defined] # the moment when all agents are up: compiling is not of interest
    try:
        run()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        Path(report).write_text(_text())


main()
