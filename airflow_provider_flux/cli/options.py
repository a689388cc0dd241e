"""The options of the commands: flag, and arguments of ``ArgumentParser.add_argument``."""

from __future__ import annotations

import math
from typing import Any, Literal

from airflow_provider_flux.bfl.priority import PRIORITIES
from airflow_provider_flux.bfl.stable_seed import STABLE, is_stable

Options = dict[str, dict[str, Any]]
#: Longest duration of an option. The waits of the operating system have a limit.
_MAX_SECONDS = 86_400.0


def amount(text: str) -> float:
    """Return an amount of credits, 0 or more. No comparison with ``nan`` would ever stop a submit.

    :param text: value of an option.
    :raises ValueError: for any other text.
    """
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError(text)
    return number


def seed(text: str) -> int | str:
    """Return a seed: a whole number from 0, or ``stable``.

    :param text: value of an option.
    :raises ValueError: for any other text.
    """
    if is_stable(text):
        return STABLE
    number = int(text)
    if number < 0:
        raise ValueError(text)
    return number


def names(text: str) -> list[str] | Literal["all"]:
    """Return the names in a text that separates them by commas, or ``all``.

    :param text: value of an option.
    """
    if text.strip() == "all":
        return "all"
    return [name for part in text.split(",") if (name := part.strip())]


def duration(text: str) -> float:
    """Return a number of seconds, more than 0 and at most a day.

    :param text: value of an option.
    :raises ValueError: for any other text.
    """
    number = float(text)
    if not 0 < number <= _MAX_SECONDS:
        raise ValueError(text)
    return number


def date(text: str) -> Any:
    """Return a date, in UTC unless it names another zone.

    :param text: value of an option.
    :raises ValueError: for text that is no date.
    """
    import pendulum

    return pendulum.parse(text, tz="UTC")


_CONNECTION: Options = {
    "--flux-conn-id": {
        "default": "flux_default",
        "metavar": "CONN_ID",
        "help": "Connection to BFL; flux_default by default",
    },
}
_PRIORITY: Options = {
    "--priority": {
        "choices": PRIORITIES,
        "default": "normal",
        "help": "Priority of the submits among the tasks of the account; normal by default",
    },
}
_YES: Options = {
    "--yes": {
        "action": "store_true",
        "help": "Submit without a question. The cost is printed nevertheless",
    },
}
_IDS: Options = {
    "--as": {
        "nargs": 3,
        "dest": "as_task",
        "metavar": ("DAG", "TASK", "RUN"),
        "help": "Keep the ledger under the ids of a task, so that this task goes on with what the "
        "command did, and the command with what the task did",
    },
    "--map-index": {
        "type": int,
        "default": -1,
        "metavar": "N",
        "help": "Map index of the task of --as; -1, the default, for a task that is not mapped",
    },
    "--run-id": {
        "metavar": "NAME",
        "help": "Name of this run without --as. The same command with another name pays again",
    },
}
_LANDING: Options = {
    "--output-path": {
        "required": True,
        "metavar": "PATH",
        "help": "Where to land, as output_path of the operator: a local path or a URI, for example "
        "s3://my_conn@bucket/{key}.{ext}",
    },
    "--ledger-path": {
        "metavar": "FOLDER",
        "help": "Folder of the ledger; _flux/ledger/ below the folder of --output-path by default",
    },
    "--if-exists": {
        "choices": ("overwrite", "skip", "error"),
        "default": "overwrite",
        "help": "Action for an object that exists; overwrite by default",
    },
    "--no-sidecar": {"action": "store_true", "help": "Write no <name>.json beside an image"},
    "--renditions": {
        "metavar": "JSON",
        "help": "Smaller or cropped copies beside an image, for example "
        "'{\"small\": {\"width\": 640}}'; by default a thumb of 320 pixels, none with '{}'",
    },
    "--on-uncertain": {
        "choices": ("fail", "resubmit"),
        "default": "fail",
        "help": "Action for a submit whose answer was lost: fail, the default, or resubmit, which "
        "BFL may bill twice",
    },
}
_MODEL: Options = {
    "--model": {
        "default": "flux-pro-1.1",
        "metavar": "NAME",
        "help": "Name of the model; flux-pro-1.1 by default. In a file, that of rows without one",
    },
}
_ROWS: Options = {
    "file": {
        "nargs": "?",
        "metavar": "FILE",
        "help": "Rows as .jsonl, .csv, .parquet or .xlsx: a local path or a URI. Without it, --sql "
        "names the rows",
    },
    "--sql": {
        "metavar": "QUERY",
        "help": "Query whose result has the rows in place of a file, or the path of a .sql file "
        "with it, as sql of the operator. One of its columns is the key",
    },
    "--sql-conn-id": {
        "metavar": "CONN_ID",
        "help": "Connection to the database of --sql",
    },
    "--sql-parameters": {
        "metavar": "JSON",
        "help": "Values for the placeholders in --sql: a JSON object or list",
    },
    "--column-names": {
        "metavar": "NAMES",
        "help": "Names of the values of lines of JSONL that are lists, separated by commas, for "
        "example key,prompt",
    },
    **_MODEL,
    "--columns": {
        "metavar": "JSON",
        "help": 'Column for each parameter, for example \'{"prompt": "description"}\'',
    },
    "--defaults": {
        "metavar": "JSON",
        "help": "Parameters of rows that do not set them, for example '{\"width\": 512}'",
    },
    "--prompt": {
        "metavar": "TEMPLATE",
        "help": "Prompt of each row, with names of columns, for example 'Photo of {name}'",
    },
    "--matrix": {
        "metavar": "JSON",
        "help": "Values by axis, for example '{\"seed\": [1, 2]}'. Each row is tried with each "
        "combination",
    },
    "--keep-columns": {
        "type": names,
        "default": [],
        "metavar": "NAMES",
        "help": "Columns to keep in the manifest, separated by commas, or all. They are "
        "placeholders of --output-path, too",
    },
    "--seed": {
        "type": seed,
        "metavar": "N",
        "help": "Seed of rows that have none: a number, or stable for one that follows from key "
        "and request",
    },
}
_MAX_COST: Options = {
    "--max-cost": {
        "type": amount,
        "metavar": "CREDITS",
        "help": "Credits (1 credit = 0.01 USD) that the command, with all its earlier runs, may "
        "cost; no limit by default",
    },
}

CREDITS: Options = _CONNECTION
BUDGETS: Options = _CONNECTION
MODELS: Options = {}
ESTIMATE: Options = _ROWS
GENERATE: Options = {
    "prompt": {"nargs": "?", "metavar": "PROMPT", "help": "Description of the image"},
    **_MODEL,
    "--width": {"type": int, "metavar": "PIXELS", "help": "Width of the image"},
    "--height": {"type": int, "metavar": "PIXELS", "help": "Height of the image"},
    "--seed": {
        "type": seed,
        "metavar": "N",
        "help": "Number that makes an image reproducible, or stable for one that follows from the "
        "request",
    },
    "--output-format": {"metavar": "FORMAT", "help": "jpeg, png or webp; by default the suffix"},
    "--parameters": {
        "metavar": "JSON",
        "help": 'Further parameters, for example \'{"input_image": "/tmp/a.png"}\'',
    },
    **_LANDING,
    **_MAX_COST,
    **_IDS,
    **_CONNECTION,
    **_PRIORITY,
    **_YES,
}
BATCH: Options = {
    **_ROWS,
    **_LANDING,
    "--manifest-path": {
        "metavar": "PATH",
        "help": "Path of the manifest; manifest-<task>.jsonl beside the images by default",
    },
    "--failed-path": {
        "metavar": "PATH",
        "help": "File for the rows that did not work: .jsonl, .csv or .parquet; pass it as FILE to "
        "run them again",
    },
    **_MAX_COST,
    "--max-active": {
        "type": int,
        "metavar": "N",
        "help": "Active generations at most; by default max_active of the connection",
    },
    "--max-failed": {
        "default": "0",
        "metavar": "ROWS",
        "help": "Rows, or a share such as 2%%, that may have no image with exit code 0; 0 by "
        "default",
    },
    "--max-moderated": {
        "metavar": "ROWS",
        "help": "Rows, or a share such as 2%%, that may be moderated; any number by default",
    },
    "--max-rejected": {
        "metavar": "ROWS",
        "help": "Rows, or a share such as 2%%, whose image checks may reject; any number by "
        "default",
    },
    "--checks": {
        "metavar": "JSON",
        "help": "Checks of each image before it lands, for example "
        '\'["not_blank", {"ratio": "16:9"}]\'; none by default',
    },
    "--max-rerolls": {
        "default": "0",
        "metavar": "N",
        "help": "Further submits, each billed, of a row whose image is rejected; 0 by default",
    },
    "--check-timeout": {
        "type": duration,
        "default": 30.0,
        "metavar": "SECONDS",
        "help": "Time that each check of an image has; 30 by default",
    },
    "--on-budget": {
        "choices": ("fail", "trim"),
        "default": "fail",
        "help": "Rows that cost more than --max-cost or the balance: fail before the first submit "
        "(default), or trim: submit the first rows that fit",
    },
    "--on-invalid-row": {
        "choices": ("fail", "skip"),
        "default": "fail",
        "help": "Action for rows that are not valid: fail, the default, before the first submit, "
        "or skip",
    },
    **_IDS,
    **_CONNECTION,
    **_PRIORITY,
    **_YES,
}
COSTS: Options = {
    "path": {
        "nargs": "*",
        "metavar": "PATH",
        "help": "Folders at the beginning of output_path or ledger_path. By default, Airflow's "
        "database names the folders in which tasks keep their records",
    },
    "--by": {
        "choices": ("dag", "task", "model", "day", "outcome"),
        "default": "dag",
        "help": "Group the costs; by dag by default",
    },
    "--from": {
        "dest": "start",
        "metavar": "DATE",
        "help": "First moment that counts, for example 2026-12-01; that of the first submit by "
        "default",
    },
    "--to": {
        "dest": "end",
        "metavar": "DATE",
        "help": "Moment before which submits count, for example 2027-01-01 for all of December; "
        "now by default",
    },
    "--timezone": {
        "default": "UTC",
        "metavar": "ZONE",
        "help": "Time zone of dates and days, for example Europe/Berlin; UTC by default",
    },
    "--dag-id": {"help": "Count only what tasks of this DAG submitted"},
    "--flux-conn-id": {
        "metavar": "CONN_ID",
        "help": "Count only what was submitted by this connection to BFL; all by default",
    },
}
RECOVER: Options = {
    "--prefix": {
        "action": "append",
        "default": [],
        "metavar": "URI",
        "help": "Folder at the beginning of output_path or ledger_path; repeatable. By default, "
        "Airflow's database names the folders in which tasks keep their records",
    },
    "--dag-id": {"help": "Recover only what tasks of this DAG submitted"},
    "--run-id": {"help": "Recover only what tasks of this DAG run submitted"},
    "--output-path": {
        "help": "Where to land instead of the output_path of each task, for example "
        "s3://my_conn@bucket/{request_id}.{ext}. Needed for tasks without output_path",
    },
    "--flux-conn-id": {
        "metavar": "CONN_ID",
        "help": "Connection to BFL for all records. By default that of each task by Airflow's "
        "database, or flux_default. A record in a bucket cannot choose one",
    },
    "--dry-run": {
        "action": "store_true",
        "help": "List the records that would be recovered, and change nothing",
    },
}
RECONCILE: Options = {
    "paths": {
        "nargs": "*",
        "metavar": "PATH",
        "help": "Folders at the beginning of output_path or ledger_path. By default, Airflow's "
        "database names the folders in which tasks keep their records",
    },
    "--from": {
        "dest": "since",
        "type": date,
        "metavar": "DATE",
        "help": "Begin at the last reading of the balance before this time, for example "
        "2026-12-01 or 2026-12-01T06:00; a day before --to by default",
    },
    "--to": {
        "dest": "until",
        "type": date,
        "metavar": "DATE",
        "help": "End at the last reading before this time. By default the command reads the "
        "balance, which is free",
    },
    "--settle": {
        "action": "store_true",
        "help": "Write what is proven of submits whose answer was lost into their records: a "
        "retry submits those that were not charged, and no others",
    },
    **_CONNECTION,
}
PLAN: Options = {
    "dag_id": {"metavar": "DAG", "help": "Id of the DAG"},
    "task_id": {"metavar": "TASK", "help": "Id of the task, a FluxGenerateBatchOperator"},
    "--run-id": {
        "metavar": "RUN",
        "help": "Plan the next try of this DAG run, with its dates, conf and XComs. By default a "
        "run that does not exist yet is planned",
    },
    "--logical-date": {
        "type": date,
        "metavar": "DATE",
        "help": "Logical date of a run that does not exist yet, for example 2026-12-24; now by "
        "default",
    },
    "--conf": {"metavar": "JSON", "help": "Conf of a run that does not exist yet"},
    "--map-index": {
        "type": int,
        "default": -1,
        "metavar": "N",
        "help": "Map index of a mapped task",
    },
    "--format": {
        "choices": ("text", "json"),
        "default": "text",
        "help": "Format of the output; text by default",
    },
}
GALLERY: Options = {
    "prefix": {
        "metavar": "PREFIX",
        "help": "Folder of the images, or a manifest: a local path or a URI, for example "
        "s3://my_conn@bucket/catalog/",
    },
    "-o": {
        "dest": "sheet",
        "default": "sheet.html",
        "metavar": "FILE",
        "help": "HTML file to write: a local path or a URI; sheet.html by default. A file of this "
        "name is replaced. Tiles link to images below the folder of this file",
    },
    "--title": {"metavar": "TEXT", "help": "Title; by default the last name of PREFIX"},
    "--max-size": {
        "type": float,
        "default": 64.0,
        "metavar": "MIB",
        "help": "Size of all thumbnails at most; 64 MiB by default. Further images have none",
    },
}
INIT_POOL: Options = {
    "--pool": {"default": "flux", "metavar": "NAME", "help": "Name of the pool; flux by default"},
    "--slots": {
        "type": int,
        "help": "Number of slots, 1 or more. By default max_active of the connection, or 24 if the "
        "connection flux_default does not exist",
    },
    "--flux-conn-id": {
        "default": "flux_default",
        "metavar": "CONN_ID",
        "help": "Connection whose max_active counts without --slots; flux_default by default",
    },
    "--dry-run": {
        "action": "store_true",
        "help": "Print what would be changed, and change nothing",
    },
}
DOCTOR: Options = {
    **_CONNECTION,
    "--output-path": {
        "metavar": "PATH",
        "help": "Check the store of this output_path with an object that is written and deleted",
    },
    "--ledger-path": {
        "metavar": "FOLDER",
        "help": "Folder of the ledger; _flux/ledger/ below the folder of --output-path by default",
    },
    "--pool": {"default": "flux", "metavar": "NAME", "help": "Name of the pool; flux by default"},
    "--timeout": {
        "type": duration,
        "default": 20.0,
        "metavar": "SECONDS",
        "help": "Time that each check has in all; 20 by default",
    },
    "--spend": {
        "action": "store_true",
        "help": "Generate one image of the cheapest model, which BFL bills",
    },
    **_YES,
}
