"""Checks of the store of ``output_path`` and of the ledger, with an object that is deleted."""

from __future__ import annotations

import uuid
from collections import Counter
from contextlib import suppress

from airflow_provider_flux.bfl.errors import FluxExistsError, FluxRequestError
from airflow_provider_flux.cli.doctor.check import Finding
from airflow_provider_flux.landing.output_path import check_output_path, fixed_folder
from airflow_provider_flux.ledger.ledger_folder import LEDGER_FOLDER
from airflow_provider_flux.object_store import fsspec_adapter
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.errors import describe_error
from airflow_provider_flux.object_store.filesystem import check_writable, open_path, run_sync
from airflow_provider_flux.object_store.objects import list_uris, put, read
from airflow_provider_flux.recovery.find import RecordFilter, find_records

_OPTIONS = WriteOptions("text/plain")
_NO_PATH = "No --output-path was given."


class StorageChecks:
    """Checks of one ``output_path``.

    :param output_path: path as for the operators, which may have templates; ``None`` to skip.
    :param ledger_path: folder of the ledger; ``None`` for the one below ``output_path``.
    """

    def __init__(self, output_path: str | None, ledger_path: str | None) -> None:
        self._output_path = output_path
        self._ledger_path = ledger_path

    def check_store(self) -> Finding:
        """Check that the store can create, protect, read and delete an object."""
        if self._output_path is None:
            return Finding("skipped", _NO_PATH)
        folder = _folder_of(self._output_path)
        uri = f"{folder}_flux/doctor-{uuid.uuid4().hex}.txt"
        path = open_path(uri)
        check_writable(uri)
        content = f"Written by airflow flux doctor: {uri}\n".encode()
        run_sync(put(uri, content, _OPTIONS, exclusive=True))
        try:
            problem = _find_problem(uri, content)
        finally:
            error = None
            try:
                run_sync(fsspec_adapter.call(path.fs, "rm_file", path.path))
            except Exception as failure:
                error = failure
        if problem is not None:
            return problem
        if error is not None:
            return Finding(
                "warning",
                f"{folder} can be written and read. The probe {uri} could not be deleted "
                f"({describe_error(error)}).",
                "Delete it. Tasks delete nothing, so they need no right to delete.",
            )
        return Finding("ok", f"{folder}: write, exclusive create, read and delete work.")

    def check_ledger(self) -> Finding:
        """Check that each record in the ledger can be read, and count those without an image."""
        if self._ledger_path:
            folder = f"{self._ledger_path.rstrip('/')}/"
        elif self._output_path is None:
            return Finding("skipped", _NO_PATH)
        else:
            folder = f"{_folder_of(self._output_path)}{LEDGER_FOLDER}"
        open_path(folder, field="ledger_path")
        if not run_sync(list_uris(folder)):
            return Finding("ok", f"{folder} has no records yet.")
        found = find_records(RecordFilter([folder], None, None))
        if found.unreadable:
            first = found.unreadable[0]
            return Finding(
                "failed",
                f"{_count(len(found.unreadable))} cannot be read. The first: {first.error}",
                "Restore them. A task whose record cannot be read submits nothing.",
            )
        phases = Counter(stored.record.phase for stored in found.records)
        waiting = phases["submitted"] + phases["persisted"]
        counts = ", ".join(f"{count} {phase}" for phase, count in sorted(phases.items()))
        if waiting or phases["intent"]:
            return Finding(
                "warning",
                f"{folder} has {_count(len(found.records))}: {counts}.",
                f"If no task works on them, run: airflow flux recover --prefix {folder}",
            )
        return Finding("ok", f"{folder} has {_count(len(found.records))}: {counts}.")


def _count(number: int) -> str:
    return f"{number} record{'s' * (number != 1)}"


def _folder_of(output_path: str) -> str:
    folder = fixed_folder(check_output_path(output_path))
    if not folder:
        raise FluxRequestError(
            f"--output-path={output_path!r} begins with no folder before its first template."
        )
    return folder


def _find_problem(uri: str, content: bytes) -> Finding | None:
    """Return what the store does wrong with an object that was just created."""
    if run_sync(read(uri)) != content:
        return Finding(
            "failed",
            f"{uri} was written and cannot be read.",
            "Grant the credentials the right to read: the ledger needs it.",
        )
    with suppress(FluxExistsError):
        run_sync(put(uri, b"A second writer.\n", _OPTIONS, exclusive=True))
        return Finding(
            "failed",
            f"The store let a second writer replace {uri}, although both created it exclusively.",
            "Two tries of a task could submit at once there. Use another store for --ledger-path.",
        )
    return None
