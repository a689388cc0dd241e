"""The documentation site: what mkdocs needs beside the pages in ``docs/``.

``make site`` runs ``facts.py`` in the environment of the tests, which can import Airflow, and then
``python -m scripts.site`` in the environment of mkdocs, which cannot. Nothing in the built site
comes from another host.
"""
