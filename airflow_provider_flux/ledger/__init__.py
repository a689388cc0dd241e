"""The ledger: each submit of a task is recorded before it is sent, and after BFL has answered."""
