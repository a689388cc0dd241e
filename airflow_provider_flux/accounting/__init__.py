"""The spending of an account, read from ledgers and journals: costs, and the balance explained."""
