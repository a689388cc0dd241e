"""Reports of a task to the monitoring of Airflow: metrics, traces, links and lineage."""
