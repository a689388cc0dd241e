"""The pictures in ``docs/images``: screenshots of a real Airflow, and a recording of the demo.

``make pictures`` renews all of them. Look at each one before you commit it.
"""
