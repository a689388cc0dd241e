"""What is usually written in place of the batch operator, to be measured beside it."""
