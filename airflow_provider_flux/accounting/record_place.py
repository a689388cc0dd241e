"""Whether an object of a ledger stands where the task that it names keeps its records.

Whoever may write to the bucket may write a record in the name of any task, but only where that
bucket is.
"""

from __future__ import annotations

from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.landing.provenance import TaskIdentity
from airflow_provider_flux.ledger.record_files import is_record_of

#: Characters of an id. Airflow's own ids have 250 at most.
MAX_ID_CHARACTERS = 250
#: Map indexes that Airflow's database can hold.
_MAP_INDEXES = range(-1, 2**31)
#: Schemes of the stores of ledgers. An XCom may name any other, such as http, which is not opened.
_SCHEMES = frozenset({"", "file", "local", "s3", "s3a", "s3n", "gs", "gcs", "abfs", "abfss"})


def is_at_place_of(uri: str, ledger: str, owner: TaskIdentity) -> bool:
    """Whether an object stands in the place of the task instance that it names.

    :param uri: URI of a record, of a segment, or of the folder of a journal.
    :param ledger: folder of the ledger.
    :param owner: the task instance that the object names.
    """
    ids = (owner.dag_id, owner.run_id, owner.task_id)
    if owner.map_index not in _MAP_INDEXES or any(len(i or "") > MAX_ID_CHARACTERS for i in ids):
        return False
    try:
        return is_record_of(uri, ledger, owner)
    except (FluxError, UnicodeEncodeError):  # no ledger has such a name
        return False


def is_store(folder: str) -> bool:
    """Whether a folder is in a store that ledgers can be in, by its scheme.

    :param folder: a folder that an XCom names.
    """
    return (folder.partition("://")[0] if "://" in folder else "") in _SCHEMES
