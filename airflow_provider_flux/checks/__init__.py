"""Checks of images: whether a picture is blank, repeated, too small, or lacks its text.

The checks are pure functions on Pillow images. A child process carries them out, because a check
may hang or end its process. Nothing here knows Airflow, a store or the service.
"""
