"""Read and write objects in the stores that Airflow supports."""
