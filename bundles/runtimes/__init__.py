"""Backends that run a policy."""
