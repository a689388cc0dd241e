"""Clients of the BFL API. They need no Airflow."""
