"""What an account spent, read from ledgers and journals: costs and reconcile."""
