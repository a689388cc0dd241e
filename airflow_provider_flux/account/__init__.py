"""What all tasks of one BFL account share: its folder, budgets and quota. It reads no ledger."""
