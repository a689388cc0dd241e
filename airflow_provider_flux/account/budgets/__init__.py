"""Budgets of an account: credits per day, week or month that no submit exceeds."""
