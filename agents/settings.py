"""The settings file and the environment, turned into frozen Structs. The only reader of the environment."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from agents.errors import SettingsError
from agents.execution.config import ExecutionConfig
from agents.feed.config import FeedConfig
from agents.orchestrator.config import OrchestratorConfig
from agents.risk.config import RiskConfig
from agents.risk.instruments import Instrument, instruments_by_name
from agents.risk.limits.file import Limits
from agents.risk.limits.fit import check_fit
from agents.risk.limits.strict_yaml import parse_yaml, read_yaml
from agents.trainer.config import TrainerConfig
from agents.venue.config import VenueConfig
from messages import Secret, Security
from messages.bus.kafka.timeouts import KafkaTimeouts
from messages.bus.security import SecurityError
from messages.codec import check_finite
from messages.errors import NotFinite
from messages.fields import Name

PREFIX = "TICKPILOT_"
# Taken as they are: YAML would make a number of the password 1234, and a comment of #1234.
_TEXTS = frozenset({("security", "password"), ("security", "key_password"), ("security", "username")})
_NOT_SETTINGS = frozenset({"TICKPILOT_DATA", "TICKPILOT_SETTINGS"})


class FeatureSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The user's own features that bundles may use and the trainer may train on: names, each `module:function`."""

    allow: dict[Name, str] = {}


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that an agent is told. `strategies` names the instruments of each; an instrument has at most one.

    `shards` is the number of partitions of the sharded topics, fixed when they are created. `trust` is a directory of
    public keys. `limits` may be the path of a file that holds them. `cash` is what the portfolio starts with, in the
    instruments' currency. `kafka` is how long the bus waits. On `metrics_port` (none: off) a process shows its metrics,
    to this machine alone unless `metrics_host` says otherwise.
    """

    bus: str = "memory://"
    prefix: str = ""
    shards: Annotated[int, Meta(ge=1, le=4096)] = 4
    replication: Annotated[int, Meta(ge=1, le=9)] = 1
    security: Security = Security()
    kafka: KafkaTimeouts = KafkaTimeouts()
    metrics_port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    metrics_host: str = "127.0.0.1"
    instruments: tuple[Instrument, ...] = ()
    strategies: dict[str, tuple[str, ...]] = {}
    cash: float = 100_000.0
    trust: str | None = None
    allow_unsigned: bool = False
    registry: str = "file://registry"
    features: FeatureSettings = FeatureSettings()
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
        raw = read_yaml(path, where=where) or {}
    if not isinstance(raw, dict):
        raise SettingsError(where, f"must hold keys and values, found {type(raw).__name__}")
    for name, value in sorted(environment.items()):
        if name.startswith(PREFIX) and name not in _NOT_SETTINGS:
            _override(raw, name, value)
    return parse_settings(raw, where)


def parse_settings(raw: Mapping[str, Any], where: str = "file") -> Settings:
    """Return checked settings from plain values. Raises SettingsError."""
    plain = {**raw, "limits": _limits(raw.get("limits"), where)}
    try:
        settings = msgspec.convert(plain, Settings, dec_hook=_secret)
        check_finite(settings)
    except (msgspec.ValidationError, SecurityError, NotFinite, ValueError, OverflowError, RecursionError) as error:
        raise SettingsError(where, str(error)) from error
    _ = settings.strategy_of
    check_fit(settings.limits, settings.instruments_by_name, settings.strategies, where=f"{where}, limits")
    return settings


def shown(settings: Settings) -> dict[str, Any]:
    """Return the settings as plain values for people to read: secrets are not among them."""
    values: dict[str, Any] = msgspec.to_builtins(settings, enc_hook=repr)
    return values


def without_security(settings: Settings) -> Settings:
    """Return the settings as they may be written down: how to log in stays behind."""
    return msgspec.structs.replace(settings, security=Security())


def _secret(kind: type, value: Any) -> Any:
    if kind is not Secret:
        raise NotImplementedError
    if not isinstance(value, str):
        raise TypeError("a secret must be text; put it in quotes")
    return Secret(value)


def _limits(raw: Any, where: str) -> Any:
    """Return the section `limits`, or those in the file that it names, checked, as plain values."""
    if isinstance(raw, str):
        return msgspec.to_builtins(Limits.read(raw))
    return msgspec.to_builtins(Limits.convert(raw, where=f"{where}, limits"))


def _override(raw: dict[str, Any], name: str, value: str) -> None:
    keys = name.removeprefix(PREFIX).lower().split("__")
    target = raw
    for key in keys[:-1]:
        target = target.setdefault(key, {})
        if not isinstance(target, dict):
            raise SettingsError(name, f"{key!r} is a value, not a group of keys")
    target[keys[-1]] = value if tuple(keys) in _TEXTS else parse_yaml(value, where=name)


EXAMPLE = """\
# tickpilot settings. Every key can be overridden by TICKPILOT_KEY, nested keys by TICKPILOT_KEY__SUBKEY.
bus: kafka://127.0.0.1:9092     # or memory:// inside one process
prefix: ""                      # stands before every topic name
shards: 4                       # partitions of the sharded topics; fixed when they are created
# security:                     # how to log in to the brokers; without it: plain text, no login
#   tls: true                   # at least TLS 1.2; the broker's certificate and name are checked
#   ca_file: keys/ca.pem        # who signed the brokers' certificates; without it: the system's authorities
#   mechanism: SCRAM-SHA-512    # or SCRAM-SHA-256, or PLAIN (with TLS)
#   username: execution         # the password: TICKPILOT_SECURITY__PASSWORD, or password_file: keys/password
#   certificate_file: keys/me.pem   # a client certificate instead of a login, or beside it
#   key_file: keys/me.key
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

# features:
#   allow: {skew: my_features:skew}   # features of your own, as module:function (docs/features.md)

# execution:
#   decisions:
#     runtime: mlp              # chains of layers in microseconds; torchscript, the default, runs any policy

limits:
  defaults:
    max_position: 0.5           # units
    max_order_value: 50000.0    # currency
  portfolio:
    max_drawdown: 0.1           # fraction of the highest equity
"""
