"""Print, as JSON, the facts of the reference that only an import of the package can tell.

``python -m scripts.site.facts`` runs where Airflow is installed: commands, options, the connection
form, metrics and the schemas of files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel


def collect_facts() -> dict[str, Any]:
    """Return all facts, by their kind."""
    from airflow_provider_flux import __version__
    from airflow_provider_flux.bfl import errors
    from airflow_provider_flux.cli.commands import COMMANDS
    from airflow_provider_flux.emulator.faults import FAULTS
    from airflow_provider_flux.emulator.options import OPTIONS
    from airflow_provider_flux.observability.metrics import METRICS
    from airflow_provider_flux.provider_info import get_provider_info

    info = get_provider_info()
    (connection,) = info["connection-types"]
    return {
        "version": __version__,
        "commands": [
            {
                "name": command.name,
                "help": command.help,
                "description": command.description,
                "options": [_option(arg.flags, arg.kwargs) for arg in command.args],
            }
            for command in COMMANDS
        ],
        "emulator": [_option([flag], settings) for flag, settings in OPTIONS.items()],
        "faults": sorted(FAULTS),
        "config": info["config"]["flux"]["options"],
        "connection": connection["conn-fields"],
        "metrics": [
            {"name": metric.name, "kind": metric.kind, "tags": metric.tags, "text": metric.meaning}
            for metric in METRICS
        ],
        "permanent": [
            name
            for name, item in vars(errors).items()
            if isinstance(item, type) and getattr(item, "is_permanent", False)
        ],
        "schemas": {model.__name__: model.model_json_schema() for model in _models()},
    }


def _models() -> Sequence[type[BaseModel]]:
    """Return the models of the files that other programs may read."""
    from airflow_provider_flux.landing.sidecar import Sidecar
    from airflow_provider_flux.ledger.journal_entries import JournalEntry, SegmentHeader
    from airflow_provider_flux.ledger.record import Record
    from airflow_provider_flux.review.record import ReviewRecord

    return Sidecar, Record, SegmentHeader, JournalEntry, ReviewRecord


def _option(flags: Iterable[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return an option of a command as texts. A callable that Airflow sets has no text."""
    default = settings.get("default")
    text = " ".join(str(settings.get("help") or "").split())
    for name in ("s", "g"):
        text = text.replace(f"%(default){name}", str(default))
    kind = settings.get("type")
    return {
        "flags": [str(flag) for flag in flags],
        "default": default if isinstance(default, (str, int, float, bool)) else None,
        "choices": [str(choice) for choice in settings.get("choices") or ()],
        "type": kind.__name__ if isinstance(kind, type) else "",
        "is_flag": str(settings.get("action", "")).startswith("store_"),
        "is_required": bool(settings.get("required")),
        "text": text.replace("%%", "%"),
    }


if __name__ == "__main__":
    json.dump(collect_facts(), sys.stdout, indent=1)
