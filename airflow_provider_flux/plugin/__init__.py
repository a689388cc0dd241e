"""The plugin of Airflow's UI: the gallery and the review page, in the API server."""
