"""Execution: market data in, orders out, with a policy that is swapped live."""

from agents.execution.stub import create_execution_agent_stub

__all__ = ["create_execution_agent_stub"]
