"""From a connection of Airflow to its database, whatever the driver.

Any hook that is a ``DbApiHook`` of ``apache-airflow-providers-common-sql`` will do. The package is
an extra, so it is imported when a database is used.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider_flux.bfl.errors import FluxConfigurationError
from airflow_provider_flux.bfl.redaction import redact

log = logging.getLogger(__name__)

#: Names of extras of a connection whose values are never shown.
_SECRET_NAMES = re.compile(r"(?i)pass|secret|token|key|credential|private|auth")


@dataclass(frozen=True)
class SqlDatabase:
    """The database of a connection.

    :param conn_id: id of the connection.
    :param conn_type: its type, for example ``postgres``.
    :param hook: its hook, a ``DbApiHook``.
    :param secrets: values of the connection that no message may quote.
    """

    conn_id: str
    conn_type: str
    hook: Any = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @contextmanager
    def connect(self) -> Iterator[Any]:
        """Open a DB-API connection, and close it at the end of the ``with`` block.

        What was not committed is rolled back. Errors are those of the driver.
        """
        connection = self.hook.get_conn()
        try:
            yield connection
        finally:
            try:
                connection.close()
            except Exception as error:  # of a connection that is lost, for example
                log.debug(
                    "The connection %r did not close (%s)", self.conn_id, type(error).__name__
                )


def open_database(conn_id: str, argument: str = "sql_conn_id") -> SqlDatabase:
    """Return the database of a connection, without connecting to it.

    :param conn_id: id of the connection.
    :param argument: name of the argument, for errors.
    :raises FluxConfigurationError: if the connection does not exist, is no database, or its
        provider is not installed.
    """
    shown = f"{argument}={conn_id!r}"
    try:
        from airflow.providers.common.sql.hooks.sql import DbApiHook
    except ImportError:
        raise FluxConfigurationError(
            f"{shown} needs apache-airflow-providers-common-sql. Run pip install "
            "'airflow-provider-flux[sql]', and install the provider of the database."
        ) from None
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise FluxConfigurationError(
            f"{shown}: this connection does not exist. Create it, or correct the id."
        ) from None
    conn_type = connection.conn_type or ""
    secrets = tuple(_secrets_of(connection))
    try:
        hook = connection.get_hook()  # type: ignore[no-untyped-call]
    except Exception as error:
        reason = redact(f"{type(error).__name__}: {error}", *secrets)[:200]
        raise FluxConfigurationError(
            f"{shown} has the type {conn_type!r}, whose hook cannot be loaded ({reason}). Install "
            "the provider of this type, or correct the type."
        ) from None
    if not isinstance(hook, DbApiHook):
        raise FluxConfigurationError(
            f"{shown} has the type {conn_type!r}, which is no SQL database: its hook "
            f"{type(hook).__name__} is no DbApiHook. Name a connection to a database."
        )
    return SqlDatabase(conn_id, conn_type, hook, secrets)


def _secrets_of(connection: Any) -> Iterator[str]:
    if connection.password:
        yield str(connection.password)
    yield from _secret_members(connection.extra_dejson or {}, is_secret=False)


def _secret_members(value: Any, *, is_secret: bool) -> Iterator[str]:
    """Yield the texts of extras that have the name of a secret, at any level."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            is_named = bool(_SECRET_NAMES.search(str(name)))
            yield from _secret_members(item, is_secret=is_secret or is_named)
    elif isinstance(value, list):
        for item in value:
            yield from _secret_members(item, is_secret=is_secret)
    elif is_secret and isinstance(value, str) and value:
        yield value
