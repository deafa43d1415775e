"""What the Risk agent knows of the portfolio and of Execution, and whom it tells. Only `catch_up` and `herald` await."""
