"""What each outcome and each denial means, in a sentence. docs/outcomes.md holds the same tables."""

from collections.abc import Mapping

from messages import DenialCode, OutcomeCode
from messages.denials import DENIAL_TEXTS

OUTCOMES: Mapping[OutcomeCode, str] = {
    OutcomeCode.ORDER: "an order went out: another position is wanted than held and in flight, and the gate allows it",
    OutcomeCode.HOLD: "nothing to do: the policy was not due on this record, or it wants what is held and in flight",
    OutcomeCode.DEAD_BAND: "the policy wants another position, but nearer to the one held than the bundle's dead band",
    OutcomeCode.CONFLATED: "a newer record of the instrument stood in the same step: this one only fed the features",
    OutcomeCode.STALE: "older than `max_decision_age_ms` when it was read: it only fed the features",
    OutcomeCode.DENIED: "an order was wanted, and not let pass: the denial says why",
    OutcomeCode.OVERRIDE: "a person's Override or a Flatten sets the position, and nothing is left to send for it",
    OutcomeCode.SHADOW: "a shadow bundle decided: what it wants is logged, and nothing is sent",
    OutcomeCode.WARMING_UP: "the bundle's features have not seen enough records yet",
    OutcomeCode.NO_BUNDLE: "no bundle trades the instrument: none is active, or the active one is not loaded here",
    OutcomeCode.REFUSED: "the record can't be used: it is in `dead-letters`, with the reason",
}

DENIALS: Mapping[DenialCode, str] = {code: text.says for code, text in DENIAL_TEXTS.items()}
# Which half of HOLD's sentence it was.
NOT_DUE = "nothing to do: the policy was not due on this record"
CONTENT = "nothing to do: the policy wants what is held and in flight"
UNDECIDED = "no step has read it yet"
LOST = "it lies in a gap: retention took it before a step could read it, or the offset holds no record"
