"""Features of the last ticks: one spec, one ring, one kernel, for training, replay and live.

Every feature is a function of the ring (at most `capacity` ticks of one instrument) and of the account inputs; nothing
else is state. So warming a new policy reads the same ring, recovery refills the ring from the last ticks, and the batch
used in training gives the same bits as the stream.

Quotes: a quote is valid when 0 < bid <= ask; a locked one has spread 0. A crossed or zero quote counts as a tick and
changes nothing else: prices and sizes stay those of the last valid quote in the ring. A bar acts as a tick at its
close, and as a locked quote there as long as the ring holds no valid quote.

Only +, -, *, / and sqrt are used, so that the same ticks give the same bits on every machine.
"""

from bundles.features.kernel import (
    ASK,
    ASK_SIZE,
    BID,
    BID_SIZE,
    CLIP,
    COLUMNS,
    IS_BAR,
    IS_QUOTE,
    IS_TRADE,
    KIND,
    PRICE,
    SIGNED_SIZE,
    TS,
)
from bundles.features.library import LIBRARY_VERSION, MAX_EVENTS
from bundles.features.observer import Floats32, Observer, warm_kernel
from bundles.features.ring import RING_TICKS, Rows, TickRing, tick_rows, times_ns
from bundles.features.spec import (
    DEFAULT_FEATURES,
    Feature,
    FeatureSpec,
    FeaturesRefused,
    OtherLibrary,
    UnknownFeature,
    check_spec,
)
from bundles.features.user import (
    BadUserFeature,
    FeatureFailed,
    SourceChanged,
    UserFeature,
    load_user_features,
    user_feature,
)

__all__ = [
    "ASK",
    "ASK_SIZE",
    "BID",
    "BID_SIZE",
    "CLIP",
    "COLUMNS",
    "DEFAULT_FEATURES",
    "IS_BAR",
    "IS_QUOTE",
    "IS_TRADE",
    "KIND",
    "LIBRARY_VERSION",
    "MAX_EVENTS",
    "PRICE",
    "RING_TICKS",
    "SIGNED_SIZE",
    "TS",
    "BadUserFeature",
    "Feature",
    "FeatureFailed",
    "FeatureSpec",
    "FeaturesRefused",
    "Floats32",
    "Observer",
    "OtherLibrary",
    "Rows",
    "SourceChanged",
    "TickRing",
    "UnknownFeature",
    "UserFeature",
    "check_spec",
    "load_user_features",
    "tick_rows",
    "times_ns",
    "user_feature",
    "warm_kernel",
]
