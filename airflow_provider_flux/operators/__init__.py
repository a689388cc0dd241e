"""The operators that generate: one image or video, or one for each row of a table."""
