"""The agents: Execution, Risk, Trainer, Orchestrator, paper venue, feed, and what they share."""
