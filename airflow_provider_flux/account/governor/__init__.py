"""The governor: clients of one account share its quota of active generations."""
