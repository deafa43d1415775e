"""What the Risk agent knows of the portfolio and Execution, and whom it tells. Only `catch_up` and `herald` await."""
