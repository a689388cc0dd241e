"""Facts and pure decisions about the BFL service: models, schemas, answers, errors and rules.

No module of this package does I/O, or imports Airflow or an HTTP library. The clients, the hook and
the emulator share these facts.
"""
