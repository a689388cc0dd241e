"""The costs of an account, and the check of its balance, read from ledgers and journals."""
