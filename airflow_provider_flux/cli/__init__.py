"""The commands of ``airflow flux``."""
