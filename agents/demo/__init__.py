"""The demo: all agents in one process on the in-memory bus, from market data to a policy that is swapped live."""
