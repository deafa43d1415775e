"""The bus in memory: deterministic, with faults on request."""
