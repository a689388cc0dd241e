"""The event loop of a batch: prepare rows, submit them, wait for them and land them."""
