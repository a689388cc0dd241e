"""Costs of an account by DAG, task, model, day or outcome."""
