"""Which of several causes a denial names: the gate sees only that entries are barred, the shard knows why. Pure."""

import msgspec

from agents.execution.shard.desk import Desk
from agents.execution.shard.switches import Switches
from agents.risk.gate import Proposal
from messages import Denial, DenialCode


def named(denial: Denial, proposal: Proposal, desk: Desk, switches: Switches, *, is_blind: bool) -> Denial:
    """Return the denial with the code of what bars entries, and whether its limit is the shard's share.

    Of several causes the one counts that a person has to end first: a Halt, then Risk's silence, then unreadable input.
    """
    share = switches.share
    if (denial.code, denial.limit) in {
        (DenialCode.MAX_GROSS_EXPOSURE, share.gross),
        (DenialCode.MAX_NET_EXPOSURE, share.net),
    }:
        return msgspec.structs.replace(denial, is_share=True)
    if denial.code is DenialCode.AWAITING_REPORT and desk.is_disputed and not desk.account.is_unanswered:
        return Denial(code=DenialCode.REPORT_DISPUTED)
    if denial.code is not DenialCode.REDUCE_ONLY or proposal.reduce_only or switches.level(desk) is not None:
        return denial
    if not switches.risk_alive:
        return msgspec.structs.replace(denial, code=DenialCode.RISK_AWAY)
    return msgspec.structs.replace(denial, code=DenialCode.BAD_INPUT) if is_blind else denial
