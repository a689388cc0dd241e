"""The sensor that waits for the balance of an account."""
