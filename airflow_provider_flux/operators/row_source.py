"""Source of the rows of a batch: the argument ``requests``, or a query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_flux.batch.input.sql import SqlQuery, check_query
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.operators.arguments import is_resolved_later, is_xcom_arg

if TYPE_CHECKING:
    from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator

#: Arguments of a query.
SQL_FIELDS = ("sql", "sql_conn_id", "sql_parameters")


def check_source_arguments(operator: FluxGenerateBatchOperator) -> None:
    """Check which arguments name the rows; literals when the DAG is parsed.

    :param operator: the operator, with its arguments.
    :raises FluxRequestError: if there are two sources or none, or an argument of a query is wrong.
    """
    if operator.sql is None:
        for name in SQL_FIELDS[1:]:
            if getattr(operator, name) is not None:
                raise FluxRequestError(f"{name} is set without sql. Write the query in sql.")
        if operator.requests is None and not operator._is_from_mapped:
            raise FluxRequestError(
                "requests or sql is required: a batch reads its rows from one of them."
            )
        return
    if operator.requests is not None:
        raise FluxRequestError("requests and sql are both set. Rows come from one of them.")
    if operator.sql_conn_id is None:
        raise FluxRequestError("sql_conn_id is required with sql: the connection to the database.")
    if operator.column_names is not None:
        raise FluxRequestError(
            "column_names is for rows that are lists. Name the columns in sql: SELECT sku AS key."
        )
    if not is_xcom_arg(operator.sql):
        parameters = operator.sql_parameters
        check_query(operator.sql, None if is_resolved_later(parameters) else parameters)
    columns = operator.columns
    if isinstance(columns, Mapping) and "key" not in columns:
        raise FluxRequestError(
            "columns has no key. Rows of a query need one, because a table has no order by which a "
            "retry finds them again. Add the column that identifies a row, for example "
            "columns={'key': 'sku', ...}."
        )


def row_source(operator: FluxGenerateBatchOperator) -> Any:
    """Return the source of the rows after Airflow rendered the arguments.

    :param operator: the operator.
    :raises FluxRequestError: if an argument of a query is wrong.
    """
    if operator.sql is None and not any(getattr(operator, name) for name in SQL_FIELDS[1:]):
        return operator.requests
    check_query(operator.sql, operator.sql_parameters)
    conn_id = operator.sql_conn_id
    if not isinstance(conn_id, str) or not conn_id.strip():
        raise FluxRequestError("sql_conn_id is empty. Name the connection to the database.")
    assert isinstance(operator.sql, str)  # noqa: S101 - check_query says so
    return SqlQuery(conn_id.strip(), operator.sql, operator.sql_parameters)
