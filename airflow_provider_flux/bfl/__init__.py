"""What the BFL service is: models, schemas, answers, errors, rules.

Nothing here does I/O, and nothing here imports Airflow or an HTTP library: the sync hook, the
async client and the emulator all stand on the same facts.
"""
