"""Settings of the quota of an account: how many generations may be active, and whether any may."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_flux.bfl.errors import FluxConfigurationError

#: BFL's limit of active generations of an account (source: BFL's concurrency limits).
DEFAULT_MAX_ACTIVE = 24
#: Largest ``max_active`` that is no mistake.
MAX_ACTIVE = 10_000
_FLAGS: Mapping[str, bool] = {"true": True, "1": True, "false": False, "0": False, "": False}


def read_max_active(extra: Mapping[str, Any], source: str) -> int:
    """Return ``max_active``, 24 by default.

    :param extra: settings by their names, as texts or JSON values.
    :param source: origin of the values for the message.
    :raises FluxConfigurationError: if it is no whole number from 1 to :data:`MAX_ACTIVE`.
    """
    value = extra.get("max_active")
    if value is None or value == "":
        return DEFAULT_MAX_ACTIVE
    try:
        number = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = 0.0
    if not 1 <= number <= MAX_ACTIVE or number != int(number):
        raise FluxConfigurationError(
            f"max_active={str(value)[:40]!r} in {source} is not a whole number from 1 to "
            f"{MAX_ACTIVE}. It is the number of generations that the account may have active: "
            f"{DEFAULT_MAX_ACTIVE} unless BFL raised it."
        )
    return int(number)


def read_flag(extra: Mapping[str, Any], name: str, source: str) -> bool:
    """Return a setting that is true or false, false by default.

    :param extra: settings by their names, as texts or JSON values.
    :param name: name of the setting.
    :param source: origin of the values for the message.
    :raises FluxConfigurationError: if it is neither.
    """
    value = extra.get(name)
    flag = _FLAGS.get("" if value is None else str(value).strip().lower())
    if flag is None:
        raise FluxConfigurationError(
            f"{name}={str(value)[:40]!r} in {source} is neither true nor false."
        )
    return flag
