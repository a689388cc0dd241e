"""``airflow flux recover``: find and land the generations that no task returned."""
