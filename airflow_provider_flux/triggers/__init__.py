"""The trigger that waits for a generation, and lands it."""
