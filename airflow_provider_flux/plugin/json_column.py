"""Values of JSON columns of Airflow's database."""

from __future__ import annotations

import json
from typing import Any


def decode_column(value: Any) -> Any:
    """Decode the value of a JSON column, which some databases and versions return as text.

    :param value: value of the column. A task may have returned any text.
    :return: the decoded value; a text that is not JSON, or is nested too deeply, as it is.
    """
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value
