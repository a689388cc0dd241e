"""The ids under which a command keeps its ledger: those of a task, or its own."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from airflow_provider_flux.batch.input.excel_format import split_sheet
from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxRequestError
from airflow_provider_flux.cli.console import tell
from airflow_provider_flux.landing.object_name import safe_name
from airflow_provider_flux.landing.provenance import identify_task
from airflow_provider_flux.ledger.ledger_folder import LEDGER_FOLDER_XCOM

#: DAG and run that the ledger of a command names, unless it has the ids of a task.
COMMAND_DAG_ID = "flux_command"
COMMAND_RUN_ID = "command"
_HASH_DIGITS = 12
_T = TypeVar("_T")


@dataclass
class CommandTaskInstance:
    """The parts of a task instance that operators use, for a command.

    :param dag_id: id of the DAG.
    :param run_id: id of the DAG run.
    :param task_id: id of the task.
    :param map_index: map index; -1 for a task that is not mapped.
    :param try_number: number of the try; a command is always the first.
    :param is_command: read by :func:`~airflow_provider_flux.ledger.clear_id.clear_id_of`.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    try_number: int = 1
    is_command: bool = True
    _xcoms: dict[str, Any] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep a value for this process.

        :param key: key of the XCom.
        :param value: its value.
        """
        self._xcoms[key] = value

    def xcom_pull(self, *, key: str, **_: Any) -> Any:
        """Return a value of :meth:`xcom_push`; ``None`` if there is none.

        :param key: key of the XCom.
        """
        return self._xcoms.get(key)


def read_ids(args: argparse.Namespace, own_task_id: str) -> CommandTaskInstance:
    """Return the ids of the options ``--as``, ``--map-index`` and ``--run-id``.

    :param args: the parsed options of the command.
    :param own_task_id: id of the task without ``--as``.
    :raises FluxRequestError: if ``--as`` and ``--run-id`` contradict each other.
    :raises FluxConfigurationError: if the task runs at this moment.
    """
    if args.as_task is None:
        run_id = args.run_id or COMMAND_RUN_ID
        return CommandTaskInstance(COMMAND_DAG_ID, run_id, own_task_id, args.map_index)
    if args.run_id:
        raise FluxRequestError("--run-id and --as exclude each other: --as names the run.")
    dag_id, task_id, run_id = args.as_task
    ti = CommandTaskInstance(dag_id, run_id, task_id, args.map_index)
    _refuse_active_task(ti)
    return ti


def refuse_other_ledger(args: argparse.Namespace, ti: CommandTaskInstance) -> None:
    """Refuse to pay if the task of ``--as`` keeps its ledger in another folder.

    Call it before the submit, after the operator has published the folder of the ledger.

    :param args: the parsed options of the command. ``--ledger-path`` overrides the check.
    :param ti: the ids of the command.
    :raises FluxConfigurationError: if Airflow's database names other folders only.
    """
    from airflow_provider_flux.recovery.metadata_db import ledger_folders_of_task

    own = ti.xcom_pull(key=LEDGER_FOLDER_XCOM)
    if args.as_task is None or args.ledger_path or own is None:
        return
    try:
        folders = ledger_folders_of_task(identify_task(ti))
    except Exception:  # read_ids has said so
        return
    if folders and own not in folders:
        raise FluxConfigurationError(
            f"The task {ti.dag_id}/{ti.task_id} keeps its ledger in {', '.join(sorted(folders))}, "
            f"and this command in {own}, so that both would pay. Nothing was submitted. Add "
            f"--ledger-path {min(folders)}"
        )


def _refuse_active_task(ti: CommandTaskInstance) -> None:
    """Refuse the ids of a task that runs: it lands its images by itself."""
    from airflow_provider_flux.recovery.metadata_db import has_active_task

    try:
        is_active = has_active_task(identify_task(ti))
    except Exception as error:  # a laptop may have no database, or an empty one
        tell(f"Airflow's database does not tell whether the task runs ({type(error).__name__}).")
        return
    if is_active:
        raise FluxConfigurationError(
            f"The task {ti.dag_id}/{ti.task_id} of the run {ti.run_id} runs at this moment, and "
            "lands its images by itself. Wait until it has ended."
        )


def own_task_id(prefix: str, *identity: Any) -> str:
    """Return a task id that the same command gets again.

    :param prefix: beginning of the id.
    :param identity: JSON values that make two commands differ.
    """
    text = json.dumps(identity, sort_keys=True, default=str)
    return f"{safe_name(prefix)}-{hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]}"


def absolute_path(path: str) -> str:
    """Return a path that does not depend on the current folder. A URI stays as it is.

    :param path: a local path or a URI.
    """
    return path if "://" in path else os.path.abspath(Path(path).expanduser())


def existing_file(path: str) -> str:
    """Return the absolute path of a file of the user. A URI stays as it is.

    :param path: a local path or a URI.
    :raises FluxRequestError: if a local file does not exist, so that no further try helps.
    """
    path = absolute_path(path)
    if "://" not in path and not os.path.exists(split_sheet(path)[0]):
        raise FluxRequestError(f"{path} does not exist.")
    return path


def read_json_option(name: str, text: str | None) -> dict[str, Any] | None:
    """Read an option that is a JSON object.

    :param name: name of the option, for the error.
    :param text: its value; ``None`` if it is not set.
    :raises FluxRequestError: if the text is no JSON object.
    """
    return _read_json(name, text, dict, "object, for example '{\"width\": 512}'")


def read_json_list(name: str, text: str | None) -> list[Any] | None:
    """Read an option that is a JSON list.

    :param name: name of the option, for the error.
    :param text: its value; ``None`` if it is not set.
    :raises FluxRequestError: if the text is no JSON list.
    """
    return _read_json(name, text, list, "list, for example '[\"not_blank\"]'")


def _read_json(name: str, text: str | None, kind: type[_T], expected: str) -> _T | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, kind):
        raise FluxRequestError(f"{name} must be a JSON {expected}.")
    return value
