"""A batch: the rows of a table become images at the speed of the quota, in one task."""
