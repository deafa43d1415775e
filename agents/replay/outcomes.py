"""What each outcome and each denial means, in a sentence. docs/outcomes.md holds the same tables."""

from collections.abc import Mapping

from messages import DenialCode, OutcomeCode

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

DENIALS: Mapping[DenialCode, str] = {
    DenialCode.UNKNOWN_INSTRUMENT: "the gate has no limits or no reference data for the instrument",
    DenialCode.NO_REFERENCE: "no price is known for the instrument yet",
    DenialCode.STALE_REFERENCE: "the last price is older than `max_reference_age_ms`",
    DenialCode.NOT_FINITE: "a price or a quantity is no finite number",
    DenialCode.PRICE_STEP: "the limit price is missing, or no positive whole number of price steps",
    DenialCode.QUANTITY_STEP: "the quantity is no positive whole number of quantity steps",
    DenialCode.MIN_ORDER_QUANTITY: "the quantity is below `min_order_quantity`",
    DenialCode.MIN_ORDER_VALUE: "the order's value is below `min_order_value`",
    DenialCode.PRICE_COLLAR: "the price is more than `price_collar_bps` away from the mid price",
    DenialCode.PRICE_COLLAR_PERIOD: "the mid price is more than `price_collar_period_bps` from that of recent orders",
    DenialCode.MAX_ORDER_QUANTITY: "the quantity is above `max_order_quantity`",
    DenialCode.MAX_ORDER_VALUE: "the order's value is above `max_order_value`",
    DenialCode.MAX_POSITION: "the position could become larger than `max_position`, all filled",
    DenialCode.MAX_GROSS_EXPOSURE: "the gross exposure could pass `max_gross_exposure` or the shard's share, filled",
    DenialCode.MAX_NET_EXPOSURE: "the net exposure could pass `max_net_exposure` or the shard's share, filled",
    DenialCode.MAX_OPEN_ORDERS: "`max_open_orders` orders of the instrument are open",
    DenialCode.MESSAGE_RATE: "`max_messages_per_s` orders and cancels were sent in the last second",
    DenialCode.DUPLICATE: "an equal order was sent less than `duplicate_window_ms` ago",
    DenialCode.REPEATED_EXECUTION: "the repeated-execution throttle has closed: a person has to Resume it",
    DenialCode.BUNDLE_LIMIT: "a limit of the bundle itself forbids it, where the limits file would not",
    DenialCode.AWAITING_REPORT: "an order was not answered in time: only exits pass until a report comes",
    DenialCode.REPORT_DISPUTED: "a report could not be booked: only exits pass until a person has looked",
    DenialCode.POLICY_ERROR: "the policy failed: an exception, NaN, a wrong shape or an action out of bounds",
    DenialCode.REDUCE_ONLY: "only orders that reduce the position pass, and this one might not",
    DenialCode.RISK_AWAY: "Risk's heartbeat is missing: only orders that reduce the position pass",
    DenialCode.BAD_INPUT: "too much of `market` or `reports` can't be read: only orders that reduce the position pass",
    DenialCode.HALTED: "a Halt is in force: no order passes",
}
# Which half of HOLD's sentence it was.
NOT_DUE = "nothing to do: the policy was not due on this record"
CONTENT = "nothing to do: the policy wants what is held and in flight"
UNDECIDED = "no step has read it yet"
LOST = "it lies in a gap: retention took it before a step could read it, or the offset holds no record"
