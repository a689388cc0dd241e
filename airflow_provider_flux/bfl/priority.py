"""The priority of a submit among the clients of one account. BFL itself has none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from airflow_provider_flux.bfl.errors import FluxRequestError

Priority = Literal["high", "normal", "low"]

PRIORITIES: tuple[Priority, ...] = get_args(Priority)
#: Clients with a larger number come first.
RANKS: Mapping[Priority, int] = {"high": 2, "normal": 1, "low": 0}


def check_priority(value: Any) -> Priority:
    """Return a priority that a user wrote.

    :param value: ``high``, ``normal`` or ``low``.
    :raises FluxRequestError: if it is anything else.
    """
    for priority in PRIORITIES:
        if value == priority:
            return priority
    raise FluxRequestError(
        f"priority={value!r} is not known. Use one of: {', '.join(map(repr, PRIORITIES))}."
    )
