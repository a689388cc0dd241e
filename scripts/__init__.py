"""The programs that the make targets run."""
