"""The input of a batch: from a list or a file to checked rows."""
