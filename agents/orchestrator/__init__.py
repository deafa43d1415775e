"""The Orchestrator: which bundle a strategy trades with, decided on `control` and on nothing else."""
