"""The retry policy of the tasks of this provider."""
