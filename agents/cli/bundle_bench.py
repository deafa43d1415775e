"""`tickpilot bundle bench`: the figures of one bundle on this machine."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from agents.cli.options import AsJson
from agents.lifecycle.process import run_async
from bundles.bench import SLO_FIGURE, Effort, Figure, all_figures, circumstances
from bundles.latency import SLO_US
from bundles.registry import read_files
from bundles.signing import TrustStore
from bundles.verifier import Verifier
from messages import SystemClock

QUICK = Effort(rounds=3, calls=200, paced_calls=50, timed_loads=3, loads=20)


def bench(
    uri: Annotated[str, typer.Argument(help="the bundle's directory, or its address in a store")],
    trust: Annotated[Path | None, typer.Option("--trust", help="the directory of trusted .pub files")] = None,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="a tenth of the calls: seconds, rougher figures")] = False,
    json: AsJson = False,
) -> None:
    """Measure a bundle: calls beside the bare call, a sparse feed, loading, growth. A minute on a quiet machine.

    Exit status 1 when the SLO is missed. Without --trust its signature is not judged: for bundles of your own.
    """
    store = TrustStore.read(trust) if trust is not None else None
    figures = run_async(_figures(uri, store, QUICK if quick else Effort()))
    judged = next(figure for figure in figures if figure.name == SLO_FIGURE)
    answer = circumstances()
    answer["slo"] |= {"value_us": judged.value, "pass": judged.value <= SLO_US}
    if json:
        typer.echo(msgspec.json.encode({**answer, "results": [_row(figure) for figure in figures]}).decode())
    else:
        for figure in figures:
            typer.echo(_line(figure))
        verdict = "met" if answer["slo"]["pass"] else "MISSED"
        typer.echo(f"SLO {verdict}: {SLO_FIGURE} is {judged.value:.1f} us, the limit is {SLO_US:g} us")
    if not answer["slo"]["pass"]:
        raise typer.Exit(1)


async def _figures(uri: str, trust: TrustStore | None, effort: Effort) -> list[Figure]:
    files = await asyncio.to_thread(read_files, uri)
    async with Verifier() as verifier:
        return await all_figures(files, trust, verifier, SystemClock(), effort)


def _row(figure: Figure) -> dict[str, Any]:
    return {**msgspec.to_builtins(figure), "ratio": None if not figure.baseline else figure.value / figure.baseline}


def _line(figure: Figure) -> str:
    ratio = f"  {figure.value / figure.baseline:6.2f} x the baseline" if figure.baseline else ""
    return f"{figure.name:<50} {figure.value:10.2f} {figure.unit}{ratio}"
