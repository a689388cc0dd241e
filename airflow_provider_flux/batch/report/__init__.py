"""Reports of a batch: counters, thresholds, manifest and progress."""
