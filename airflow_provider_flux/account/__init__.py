"""The account of one key: the folder, budgets and quota of its tasks. It reads no ledger."""
