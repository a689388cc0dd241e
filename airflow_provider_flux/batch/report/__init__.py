"""What a batch reports: counters, thresholds, manifest and progress."""
