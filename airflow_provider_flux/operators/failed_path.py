"""The argument ``failed_path`` of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_flux.bfl.inputs import is_path
from airflow_provider_flux.operators.arguments import is_resolved_later, refuse_template

if TYPE_CHECKING:
    from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator


def check_literal_failed_path(operator: FluxGenerateBatchOperator) -> None:
    """Check the argument when the DAG is parsed, if it is a literal.

    :param operator: the operator.
    :raises FluxRequestError: if it is no path of a file of rows, or that of another file.
    """
    path = _literal(operator.failed_path)
    if path is None:
        return
    # It imports sqlite, which parsing most DAGs does not need.
    from airflow_provider_flux.batch.report.failed_rows import check_failed_path, check_other_path

    check_failed_path(path)
    others = {"the manifest": operator.manifest_path, "the input": operator.requests}
    check_other_path(path, {label: _literal(value) for label, value in others.items()})


def rendered_failed_path(operator: FluxGenerateBatchOperator) -> str | None:
    """Return the argument after Airflow rendered it; ``None`` if there is to be no such file.

    :param operator: the operator.
    :raises FluxRequestError: if a template is left in it.
    """
    path = str(operator.failed_path or "").strip()
    return refuse_template("failed_path", path) if path else None


def _literal(value: Any) -> str | None:
    is_literal = (isinstance(value, str) or is_path(value)) and not is_resolved_later(value)
    return str(value).strip() or None if is_literal else None
