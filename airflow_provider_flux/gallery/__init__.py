"""The gallery: cards of images, from records of tasks to pages of HTML. No Airflow, no FastAPI."""
