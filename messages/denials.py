"""What each denial says, what to do about it, and which numbers of the limits file it serves."""

from collections.abc import Mapping

from msgspec import Struct

from messages.decisions import DenialCode


class DenialText(Struct, frozen=True):
    """A denial for people: one line of meaning, one of what to do. `limits`: names in the limits file."""

    says: str
    to_do: str
    limits: tuple[str, ...] = ()


DENIAL_TEXTS: Mapping[DenialCode, DenialText] = {
    DenialCode.UNKNOWN_INSTRUMENT: DenialText(
        "the gate has no limits or no reference data for the instrument",
        "add the instrument to the settings, or take it out of the strategy",
    ),
    DenialCode.NO_REFERENCE: DenialText(
        "no price is known for the instrument, or bid and ask are crossed or not positive",
        "look at the feed: has `market` good quotes of it?",
    ),
    DenialCode.STALE_REFERENCE: DenialText(
        "the last price is older than `max_reference_age_ms`",
        "look at the feed; raise the limit only for what is quoted rarely",
        ("max_reference_age_ms",),
    ),
    DenialCode.NOT_FINITE: DenialText(
        "a price, a quantity, or a figure that the order is judged by is no possible number",
        "a defect: keep the log and report it; the order was not sent",
    ),
    DenialCode.PRICE_STEP: DenialText(
        "the limit price is missing, or no positive whole number of price steps",
        "check the bundle's limit offsets against the instrument's `price_step`",
    ),
    DenialCode.QUANTITY_STEP: DenialText(
        "the quantity is no positive whole number of quantity steps, or too large to count exactly",
        "check the bundle's `max_position` against the instrument's `quantity_step`",
    ),
    DenialCode.MIN_ORDER_QUANTITY: DenialText(
        "the quantity is below `min_order_quantity`",
        "none where it is rare; else give the bundle a larger dead band",
        ("min_order_quantity",),
    ),
    DenialCode.MIN_ORDER_VALUE: DenialText(
        "the order's value is below `min_order_value`",
        "none where it is rare; else give the bundle a larger dead band",
        ("min_order_value",),
    ),
    DenialCode.PRICE_COLLAR: DenialText(
        "the price is more than `price_collar_bps` away from the mid price",
        "look at the spread and at the bundle's limit offsets",
        ("price_collar_bps",),
    ),
    DenialCode.PRICE_COLLAR_PERIOD: DenialText(
        "the mid price is more than `price_collar_period_bps` from that of recent orders",
        "look whether the market has really moved; it ends with the period",
        ("price_collar_period_bps", "price_collar_period_ms"),
    ),
    DenialCode.MAX_ORDER_QUANTITY: DenialText(
        "the quantity is above `max_order_quantity`",
        "give the bundle a `max_change`, or allow larger orders",
        ("max_order_quantity",),
    ),
    DenialCode.MAX_ORDER_VALUE: DenialText(
        "the order's value is above `max_order_value`",
        "give the bundle a `max_change`, or allow larger orders",
        ("max_order_value",),
    ),
    DenialCode.MAX_POSITION: DenialText(
        "the position could become larger than `max_position`, all filled",
        "let open orders fill or cancel them; check the bundle's `max_position`",
        ("max_position",),
    ),
    DenialCode.MAX_GROSS_EXPOSURE: DenialText(
        "the gross exposure could pass `max_gross_exposure` or the shard's share, filled",
        "reduce positions; of a share, Risk moves more to where it is used",
        ("max_gross_exposure",),
    ),
    DenialCode.MAX_NET_EXPOSURE: DenialText(
        "the net exposure could pass `max_net_exposure` or the shard's share, filled",
        "reduce positions; of a share, Risk moves more to where it is used",
        ("max_net_exposure",),
    ),
    DenialCode.MAX_OPEN_ORDERS: DenialText(
        "`max_open_orders` orders of the instrument are open",
        "look why the venue does not fill or end them",
        ("max_open_orders",),
    ),
    DenialCode.MESSAGE_RATE: DenialText(
        "`max_messages_per_s` orders and cancels were sent in the last second",
        "it ends by itself; if it is frequent, let the policy decide less often",
        ("max_messages_per_s",),
    ),
    DenialCode.DUPLICATE: DenialText(
        "an equal order was sent less than `duplicate_window_ms` ago",
        "it ends by itself; if it is frequent, look why fills do not come back",
        ("duplicate_window_ms",),
    ),
    DenialCode.REPEATED_EXECUTION: DenialText(
        "the repeated-execution throttle has closed: a person has to look",
        "find out why there were so many orders, then resume what Risk has halted",
        ("max_repeated_executions", "repeated_execution_window_ms"),
    ),
    DenialCode.BUNDLE_LIMIT: DenialText(
        "a limit of the bundle itself forbids it, where the limits file would not",
        "look at the bundle's `limits`: `tickpilot bundle inspect`",
    ),
    DenialCode.AWAITING_REPORT: DenialText(
        "an order was not answered in time: only exits pass until a report comes",
        "look at the venue adapter",
    ),
    DenialCode.REPORT_DISPUTED: DenialText(
        "a report could not be booked: only exits pass until a person has looked",
        "compare the position with the venue's, correct it, then resume",
    ),
    DenialCode.POLICY_ERROR: DenialText(
        "the policy failed: an exception, NaN, a wrong shape or an action out of bounds",
        "roll back, or publish a bundle that works",
    ),
    DenialCode.REDUCE_ONLY: DenialText(
        "only orders that reduce the position pass, and this one might not",
        "look who has halted (`tickpilot status`), and resume when the reason is gone",
    ),
    DenialCode.RISK_AWAY: DenialText(
        "Risk's heartbeat is missing: only orders that reduce the position pass",
        "start Risk; it ends with its heartbeat",
    ),
    DenialCode.BAD_INPUT: DenialText(
        "too much of `market` or `reports` can't be read: only orders that reduce the position pass",
        "look into `dead-letters`, mend the writer; it ends with good records",
    ),
    DenialCode.HALTED: DenialText(
        "a Halt is in force: no order passes",
        "look who has halted (`tickpilot status`), and resume when the reason is gone",
    ),
}
