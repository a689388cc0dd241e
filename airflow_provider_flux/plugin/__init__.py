"""The plugin of Airflow's UI: the gallery of landed images, as pages of the API server."""
