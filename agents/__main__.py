"""`python -m agents` is `tickpilot`."""

from agents.cli.main import main

main()
