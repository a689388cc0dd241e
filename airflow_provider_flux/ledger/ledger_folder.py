"""The folder of a ledger, and the XCom that names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Folder of the records below the fixed beginning of an ``output_path``.
LEDGER_FOLDER = "_flux/ledger/"
#: Key of the XCom that names the folder, for ``airflow flux recover``.
LEDGER_FOLDER_XCOM = "flux_ledger"


def publish_ledger_folder(context: Mapping[str, Any], folder: str | None) -> None:
    """Push the folder of a task's ledger as an XCom, before anything can fail.

    :param context: the context of the running task.
    :param folder: the folder; ``None`` if the ledger is not in files.
    """
    from airflow_provider_flux.landing.provenance import identify_task  # not at parse time

    if folder and identify_task(context["ti"]).dag_id is not None:
        context["ti"].xcom_push(key=LEDGER_FOLDER_XCOM, value=folder)
