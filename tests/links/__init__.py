"""Tests of the links of a task instance."""
