"""`tickpilot demo`."""
