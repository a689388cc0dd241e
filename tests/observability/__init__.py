"""Tests of metrics, traces and lineage."""
