"""Many images in one task: the rows, at the speed of the quota, and what became of each."""
