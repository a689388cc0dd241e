"""Reconcile: the balance of the account against the ledgers, and uncertain submits settled."""
