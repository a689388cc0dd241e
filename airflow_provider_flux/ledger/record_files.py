"""Records as files in an object store or a folder, for every version of Airflow.

The file of a record is ``<folder>/<dag>/<run>/<task>-<hash>.<number>.json``.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

from airflow_provider_flux.bfl.errors import FluxExistsError, FluxLedgerError, FluxRequestError
from airflow_provider_flux.landing.object_name import cut, find_length_problem
from airflow_provider_flux.landing.provenance import TaskIdentity
from airflow_provider_flux.landing.target import Target
from airflow_provider_flux.ledger.delivered_answer import (
    MAX_ANSWER_BYTES,
    DeliveredAnswer,
    parse_answer,
)
from airflow_provider_flux.ledger.record import Record, parse_record
from airflow_provider_flux.ledger.record_store import StoredRecord
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import open_path, run_sync
from airflow_provider_flux.object_store.objects import put, read, read_hint

_RECORD_NAME = re.compile(r"-[0-9a-f]{16}\.[0-9]+\.json$")
_UNSAFE = re.compile(r"[^\w.\-]")
_MAX_NAME_CHARS = 80
#: Leaves room for the map index, the hash and the number of a record in the 255 bytes of a file.
_MAX_NAME_BYTES = 210
_HASH_DIGITS = 16
#: Bytes of the largest record: more than any prompt has.
MAX_RECORD_BYTES = 2 * 1024 * 1024
#: End of the longest name after a stem: that of a segment of a journal.
_LONGEST_ENDING = f".rows/{'0' * 32}.000000.jsonl"


class FileRecordStore:
    """The records of one task instance as files.

    :param stem: the part that the URIs of all records begin with, see :func:`stem_of`.
    :param options: options of each write.
    """

    def __init__(self, stem: str, options: WriteOptions) -> None:
        self._stem = stem
        self._options = options

    def location(self, number: int) -> str:
        """Return the URI of a record.

        :param number: number of the record.
        """
        return f"{self._stem}.{number}.json"

    def uri(self, number: int) -> str:
        """Return the URI of a record.

        :param number: number of the record.
        """
        return self.location(number)

    def read(self, number: int) -> Record | None:
        """Return a record; ``None`` if there is none.

        :param number: number of the record.
        :raises FluxLedgerError: if the record exists and cannot be read.
        :raises FluxStorageError: if the store fails.
        """
        return run_sync(read_record_file(self.location(number)))

    def read_answer(self, number: int) -> DeliveredAnswer | None:
        """Return the answer that a webhook delivered for a record; ``None`` if there is none.

        :param number: number of the record.
        :raises FluxStorageError: if the store fails.
        """
        return parse_answer(run_sync(read_hint(self._answer_uri(number), MAX_ANSWER_BYTES)))

    def keep_answer(self, number: int, answer: DeliveredAnswer) -> bool:
        """Keep the answer that a webhook delivered for a record. The first one counts.

        :param number: number of the record.
        :param answer: the answer.
        :return: whether it was kept.
        :raises FluxStorageError: if it cannot be written.
        """
        data = answer.model_dump_json().encode()
        try:
            run_sync(put(self._answer_uri(number), data, self._options, exclusive=True))
        except FluxExistsError:
            return False
        return True

    def _answer_uri(self, number: int) -> str:
        return f"{self._stem}.{number}.answer.json"

    def create(self, number: int, record: Record) -> None:
        """Claim a number by an exclusive create, right after a read that found no record.

        :param number: the number to claim.
        :param record: the new record.
        :raises FluxLedgerError: if another process has claimed the number.
        :raises FluxStorageError: if it cannot be written.
        """
        uri = self.location(number)
        try:
            run_sync(put(uri, record.as_bytes(), self._options, exclusive=True, check_first=False))
        except FluxExistsError:
            raise FluxLedgerError(
                f"The record {uri} exists already. Either another process submits for this task, "
                "or the credentials may not read the ledger. Nothing was submitted. Use "
                "credentials that may read as well as write."
            ) from None

    def update(self, number: int, record: Record) -> None:
        """Replace a record of this task.

        :param number: number of the record.
        :param record: its new content.
        :raises FluxStorageError: if it cannot be written.
        """
        run_sync(put(self.location(number), record.as_bytes(), self._options))


async def read_record_file(uri: str) -> Record | None:
    """Return the record in a file; ``None`` if there is none. Run it on the loop of the stores.

    :param uri: URI of the file.
    :raises FluxLedgerError: if the record exists and cannot be read.
    :raises FluxStorageError: if the store fails.
    """
    data = await read(uri, retry=True, max_bytes=MAX_RECORD_BYTES)
    return None if data is None else parse_record(data, uri)


async def replace_record_file(uri: str, record: Record, options: WriteOptions) -> None:
    """Replace the record in a file. Run it on the loop of the stores.

    :param uri: URI of the file.
    :param record: its new content.
    :param options: options of the write.
    :raises FluxStorageError: if it cannot be written.
    """
    await put(uri, record.as_bytes(), options)


def open_record(uri: str, target: Target | None) -> StoredRecord | None:
    """Return the record in a file; ``None`` if it is gone.

    :param uri: URI of the file.
    :param target: where the image lands, for the options of the writes.
    :raises FluxLedgerError: if the URI names no record, or the record cannot be read.
    :raises FluxStorageError: if the store fails.
    """
    store, number = _split_uri(uri, target)
    open_path(uri, field="ledger_path")
    record = store.read(number)
    return None if record is None else StoredRecord(store, number, record)


def stored_in_file(uri: str, record: Record) -> StoredRecord:
    """Return a record that was read from a file, with its store.

    :param uri: URI of the file.
    :param record: the record.
    :raises FluxLedgerError: if the URI names no record.
    """
    store, number = _split_uri(uri, record.target)
    return StoredRecord(store, number, record)


def is_record_uri(uri: str) -> bool:
    """Whether a URI is that of a record, by its name.

    :param uri: any URI.
    """
    return _RECORD_NAME.search(uri) is not None


def is_record_of(uri: str, folder: str, owner: TaskIdentity) -> bool:
    """Whether a URI is that of a record, or of the journal, of a task that keeps them in a folder.

    :param uri: URI of the record or of the journal.
    :param folder: folder of the ledger.
    :param owner: the task instance.
    """
    return uri.startswith(f"{stem_of(folder, owner)}.")


def stem_of(folder: str, owner: TaskIdentity) -> str:
    """Return the part that the URIs of all records of a task begin with.

    People read the names of DAG, run and task in it. The hash at its end makes it unique, also if
    the names are so long that they are cut.

    :param folder: folder of the ledger.
    :param owner: the task instance.
    :raises FluxRequestError: if the folder leaves no room for the names of its records.
    """
    identity = "\0".join(map(str, (owner.dag_id, owner.run_id, owner.task_id, owner.map_index)))
    digest = hashlib.sha256(identity.encode()).hexdigest()[:_HASH_DIGITS]
    task = _safe_name(owner.task_id)
    if owner.map_index >= 0:
        task = f"{task}.{owner.map_index}"
    names = "/".join([_safe_name(owner.dag_id), _safe_name(owner.run_id), task])
    stem = f"{folder.rstrip('/')}/{names}-{digest}"
    if problem := find_length_problem(f"{stem}{_LONGEST_ENDING}"):
        raise FluxRequestError(
            f"The ledger in {folder} {problem}. Set ledger_path to a folder with a shorter name."
        )
    return stem


def record_write_options(uri: str, target: Target | None) -> WriteOptions:
    """Return the options with which records are written.

    Records beside the images are encrypted like the images. They never get the ``ACL`` of the
    images, because a record of a public image must not be public.

    :param uri: URI of a record, or of the folder of the ledger.
    :param target: where the images land; ``None`` without ``output_path``.
    """
    content_type = "application/json"
    if not (target and target.root and uri.startswith(target.root)):
        return WriteOptions(content_type)
    options = target.companion_write_options(content_type)
    private = {name: value for name, value in options.options.items() if name != "ACL"}
    return replace(options, options=private)


def _split_uri(uri: str, target: Target | None) -> tuple[FileRecordStore, int]:
    stem, _, number = uri.removesuffix(".json").rpartition(".")
    if not number.isdecimal():
        raise FluxLedgerError(f"{uri} is not the name of a record.")
    return FileRecordStore(stem, record_write_options(uri, target)), int(number)


def _safe_name(text: str | None) -> str:
    name = _UNSAFE.sub("_", text or "none")[:_MAX_NAME_CHARS].lstrip(".")
    return cut(name, _MAX_NAME_BYTES) or "_"
