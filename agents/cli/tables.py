"""Limits as tables for people."""

from collections.abc import Iterable, Sequence
from itertools import islice

from agents.risk.limits.effective import EffectiveLimits

_PAIRS_ABREAST = 4


def limits_tables(effective: EffectiveLimits) -> str:
    """Return the limits of each pair, a column each, those of the portfolio, and the shares of the shards."""
    tables = []
    pairs = iter(effective.pairs)
    while some := tuple(islice(pairs, _PAIRS_ABREAST)):
        heads = [f"{pair.strategy} {pair.instrument}" for pair in some]
        rows = [
            ("shard", *(str(pair.shard) for pair in some)),
            *((name, *(shown(pair.limits[name]) for pair in some)) for name in some[0].limits),
        ]
        tables.append(_table(["order limits", *heads], rows))
    tables.append(
        _table(["portfolio limits", ""], ((name, shown(value)) for name, value in effective.portfolio.items()))
    )
    shares = (
        (
            str(share.shard),
            f"{share.gross:.2%}",
            shown(share.max_gross_exposure),
            f"{share.net:.2%}",
            shown(share.max_net_exposure),
            " ".join(share.instruments) or "-",
        )
        for share in effective.shares
    )
    tables.append(_table(["shares: shard", "gross", "currency", "net", "currency", "instruments"], shares))
    return "\n".join(tables)


def shown(value: float | None) -> str:
    """Return a limit as people write it."""
    if value is None:
        return "no limit"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.12g}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        ).rstrip()
        + "\n"
        for line in lines
    )
