"""Names of Airflow that common-compat does not have in every supported version."""

from __future__ import annotations

try:
    from airflow.sdk.log import mask_secret
except ImportError:
    # Airflow 3.0. common-compat has the name since 1.22, but managed images ship older versions.
    from airflow.sdk.execution_time.secrets_masker import mask_secret  # type: ignore[no-redef]

__all__ = ["mask_secret"]
