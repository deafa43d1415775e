"""What may be traded: calculators, ledger, limits, gate, and the agent that watches the portfolio."""

from agents.risk.engine import RiskAdvisor, RiskEngine

__all__ = ["RiskAdvisor", "RiskEngine"]
