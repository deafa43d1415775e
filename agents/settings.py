"""The settings file and the environment, turned into frozen Structs. The only reader of the environment."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml
from msgspec import Meta, Struct

from agents.errors import SettingsError
from agents.execution.config import ExecutionConfig
from agents.feed.config import FeedConfig
from agents.orchestrator.config import OrchestratorConfig
from agents.risk.config import RiskConfig
from agents.risk.instruments import Instrument, instruments_by_name
from agents.risk.limits import Limits
from agents.trainer.config import TrainerConfig
from agents.venue.config import VenueConfig

PREFIX = "TICKPILOT_"
_NOT_SETTINGS = frozenset({"TICKPILOT_DATA", "TICKPILOT_SETTINGS"})


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that an agent is told. `strategies` names the instruments of each; an instrument has at most one.

    `shards` is the number of partitions of the sharded topics, fixed when they are created. `trust` is a directory of
    public keys. `cash` is what the portfolio starts with, in the instruments' currency.
    """

    bus: str = "memory://"
    prefix: str = ""
    shards: Annotated[int, Meta(ge=1, le=4096)] = 4
    replication: Annotated[int, Meta(ge=1, le=9)] = 1
    instruments: tuple[Instrument, ...] = ()
    strategies: dict[str, tuple[str, ...]] = {}
    cash: float = 100_000.0
    trust: str | None = None
    allow_unsigned: bool = False
    registry: str = "file://registry"
    limits: Limits = Limits()
    execution: ExecutionConfig = ExecutionConfig()
    orchestrator: OrchestratorConfig = OrchestratorConfig()
    risk: RiskConfig = RiskConfig()
    venue: VenueConfig = VenueConfig()
    trainer: TrainerConfig = TrainerConfig()
    feed: FeedConfig = FeedConfig()

    @property
    def instruments_by_name(self) -> dict[str, Instrument]:
        """The reference data by name. Raises SettingsError for doubles and mixed currencies."""
        return instruments_by_name(self.instruments)

    @property
    def strategy_of(self) -> dict[str, str]:
        """The strategy of each instrument. Raises SettingsError for unknown instruments and shared ones."""
        known, found = self.instruments_by_name, dict[str, str]()
        for strategy, names in self.strategies.items():
            for name in names:
                if name not in known:
                    raise SettingsError(f"strategies.{strategy}", f"instrument {name!r} is not among `instruments`")
                if name in found:
                    raise SettingsError(
                        f"strategies.{strategy}", f"instrument {name!r} is traded by {found[name]!r} already"
                    )
                found[name] = strategy
        return found


def read_settings(path: str | Path | None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of a YAML file (None: defaults), with `TICKPILOT_KEY__SUBKEY` variables over it.

    Raises SettingsError that names the key and what is wrong with it.
    """
    where = "file" if path is None else f"file {path}"
    raw: Any = {}
    if path is not None:
        try:
            raw = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError) as error:
            raise SettingsError(where, str(error)) from error
    if not isinstance(raw, dict):
        raise SettingsError(where, f"must hold keys and values, found {type(raw).__name__}")
    for name, value in sorted(environment.items()):
        if name.startswith(PREFIX) and name not in _NOT_SETTINGS:
            _override(raw, name, value)
    return parse_settings(raw, where)


def parse_settings(raw: Mapping[str, Any], where: str = "file") -> Settings:
    """Return checked settings from plain values. Raises SettingsError."""
    try:
        settings = msgspec.convert(dict(raw), Settings)
    except msgspec.ValidationError as error:
        raise SettingsError(where, str(error)) from error
    _ = settings.strategy_of
    return settings


def _override(raw: dict[str, Any], name: str, value: str) -> None:
    keys = name.removeprefix(PREFIX).lower().split("__")
    target = raw
    for key in keys[:-1]:
        target = target.setdefault(key, {})
        if not isinstance(target, dict):
            raise SettingsError(name, f"{key!r} is a value, not a group of keys")
    target[keys[-1]] = yaml.safe_load(value)


EXAMPLE = """\
# tickpilot settings. Every key can be overridden by TICKPILOT_KEY, nested keys by TICKPILOT_KEY__SUBKEY.
bus: kafka://127.0.0.1:9092     # or memory:// inside one process
prefix: ""                      # stands before every topic name
shards: 4                       # partitions of the sharded topics; fixed when they are created
cash: 100000.0                  # the portfolio starts with this, in the instruments' currency
trust: keys/trusted             # directory of public keys whose bundles may trade
registry: file://registry       # where the trainer stores bundles: any fsspec URI

instruments:
  - instrument: BTCUSDT
    price_step: 0.01            # quote currency
    quantity_step: 0.00001      # units
    currency: USDT
    taker_fee_bps: 1.0
    maker_fee_bps: 0.0

strategies:
  default: [BTCUSDT]            # an instrument is traded by one strategy

limits:
  defaults:
    max_position: 0.5           # units
    max_order_value: 50000.0    # currency
  portfolio:
    max_drawdown: 0.1           # fraction of the highest equity
"""
