"""Settings that apply to running tasks: ``max_active`` and ``pause``, without a restart.

They come from the connection, and from the Airflow Variable ``flux_quota``, which is a JSON object
with the members ``max_active`` and ``pause``, or with such an object for each connection id.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow.providers.common.compat.sdk import Variable

from airflow_provider_flux.bfl.errors import FluxConfigurationError
from airflow_provider_flux.bfl.quota_settings import MAX_ACTIVE, read_flag, read_max_active
from airflow_provider_flux.hooks.flux import FluxHook

log = logging.getLogger(__name__)

QUOTA_VARIABLE = "flux_quota"
#: Seconds between two looks at the settings.
LIVE_SECONDS = 10.0
_MEMBERS = frozenset({"max_active", "pause"})
#: Longest text of the Variable that is read.
_MAX_CHARACTERS = 20_000


@dataclass(frozen=True)
class LiveSettings:
    """What the account allows now.

    :param max_active: ``max_active`` of the Variable; ``None`` if it sets none.
    :param of_connection: ``max_active`` of the connection.
    :param paused_by: what pauses the submits; ``None`` if nothing does.
    """

    max_active: int | None
    of_connection: int
    paused_by: str | None

    def limit(self, of_task: int | None = None) -> int:
        """Return the number of generations that a task may have active.

        :param of_task: ``max_active`` of the task; ``None`` if it has none.
        """
        limit = self.of_connection if self.max_active is None else self.max_active
        if of_task is None:
            return limit
        return of_task if self.max_active is None else min(of_task, self.max_active)


def read_live_settings(flux_conn_id: str) -> LiveSettings:
    """Read the settings now, on the main thread of a task.

    :param flux_conn_id: id of the connection to BFL.
    :raises FluxConfigurationError: if the connection, or the Variable, is malformed.
    """
    settings = FluxHook(flux_conn_id).settings
    variable = parse_quota_variable(_read_variable(), flux_conn_id)
    paused_by = None
    if settings.pause:
        paused_by = f"pause of the connection {flux_conn_id!r}"
    elif variable.get("pause"):
        paused_by = f"the Variable {QUOTA_VARIABLE!r}"
    return LiveSettings(variable.get("max_active"), settings.max_active, paused_by)


def parse_quota_variable(text: str | None, flux_conn_id: str) -> dict[str, Any]:
    """Return the checked members of the Variable that concern a connection.

    :param text: text of the Variable; ``None`` if there is none.
    :param flux_conn_id: id of the connection.
    :raises FluxConfigurationError: if it is malformed.
    """
    if not text or not text.strip():
        return {}
    source = f"the Variable {QUOTA_VARIABLE!r}"
    try:
        value = json.loads(text) if len(text) <= _MAX_CHARACTERS else None
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, Mapping) and not _MEMBERS & value.keys():
        value = value.get(flux_conn_id, {})
    if not isinstance(value, Mapping) or value.keys() - _MEMBERS:
        raise FluxConfigurationError(
            f"{source} is no JSON object with 'max_active' (1 to {MAX_ACTIVE}) and 'pause' (true "
            "or false), or with such an object for each connection id. Example: "
            '{"max_active": 12, "pause": false}.'
        )
    members: dict[str, Any] = {}
    if value.get("max_active") is not None:
        members["max_active"] = read_max_active(value, source)
    members["pause"] = read_flag(value, "pause", source)
    return members


def _read_variable() -> str | None:
    value = Variable.get(QUOTA_VARIABLE, default=None)
    return None if value is None else str(value)


class LiveReader:
    """Reader of the settings of a running task, which goes on with the last ones after an error.

    :param flux_conn_id: id of the connection to BFL.
    :param seconds: seconds between two looks.
    """

    def __init__(self, flux_conn_id: str, seconds: float = LIVE_SECONDS) -> None:
        self._flux_conn_id = flux_conn_id
        self._seconds = seconds
        self._next = 0.0
        self._has_failed = False

    def read_first(self, now: float) -> LiveSettings | None:
        """Return the settings before the first submit; ``None`` if they cannot be read now.

        :param now: seconds of a monotonic clock.
        :raises FluxConfigurationError: if they are malformed.
        """
        self._next = now + self._seconds
        try:
            return read_live_settings(self._flux_conn_id)
        except FluxConfigurationError:
            raise
        except Exception as error:
            self._report(error)
            return None

    def read(self, now: float) -> LiveSettings | None:
        """Return the settings; ``None`` if a look is not due, or if they cannot be read now.

        :param now: seconds of a monotonic clock.
        """
        if now < self._next:
            return None
        self._next = now + self._seconds
        try:
            settings = read_live_settings(self._flux_conn_id)
        except Exception as error:
            self._report(error)
            return None
        self._has_failed = False
        return settings

    def _report(self, error: Exception) -> None:
        if not self._has_failed:
            log.warning(
                "max_active and pause cannot be read now, and are as they were (%s). %s",
                type(error).__name__,
                error,
            )
        self._has_failed = True
