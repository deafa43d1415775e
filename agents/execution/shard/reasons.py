"""Which of several causes a denial names: the gate sees only that entries are barred, the shard knows why. Pure."""

import msgspec

from agents.execution.shard.desk import Desk
from agents.risk.gate import Proposal
from agents.risk.limits_in_force import Share
from messages import Denial, DenialCode
from messages.control import HaltLevel


def named(
    denial: Denial,
    proposal: Proposal,
    desk: Desk,
    *,
    level: HaltLevel | None,
    risk_alive: bool,
    is_blind: bool,
    share: Share,
) -> Denial:
    """Return the denial with the code of what bars entries, and whether its limit is the shard's share.

    `level`: the strictest Halt in force. Of several causes the one counts that a person has to end first: a Halt,
    then Risk's silence, then unreadable input.
    """
    if (denial.code, denial.limit) in {
        (DenialCode.MAX_GROSS_EXPOSURE, share.gross),
        (DenialCode.MAX_NET_EXPOSURE, share.net),
    }:
        return msgspec.structs.replace(denial, is_share=True)
    if denial.code is DenialCode.AWAITING_REPORT and desk.is_disputed and not desk.account.is_unanswered:
        return Denial(code=DenialCode.REPORT_DISPUTED)
    if denial.code is not DenialCode.REDUCE_ONLY or proposal.reduce_only or level is not None:
        return denial
    if not risk_alive:
        return msgspec.structs.replace(denial, code=DenialCode.RISK_AWAY)
    return msgspec.structs.replace(denial, code=DenialCode.BAD_INPUT) if is_blind else denial
