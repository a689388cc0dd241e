"""The names of Airflow that common-compat does not give in every version we support."""

from __future__ import annotations

try:
    from airflow.sdk.log import mask_secret
except (
    ImportError
):  # Airflow 3.0; common-compat has the name from 1.22 only, managed images ship older ones
    from airflow.sdk.execution_time.secrets_masker import mask_secret  # type: ignore[no-redef]

__all__ = ["mask_secret"]
