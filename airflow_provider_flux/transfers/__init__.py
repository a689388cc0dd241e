"""The operator that lands generations of other tasks in object storage."""
