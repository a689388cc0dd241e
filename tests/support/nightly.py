"""A batch that runs every night over a table, with the images of all nights in one folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.batch_tries import Batch


@dataclass
class NightlyBatch(Batch):
    """One batch task in one DAG run after the other.

    :ivar night: number of the DAG run.
    """

    night: int = 0

    def context(self) -> Any:
        """Return the context of the current try."""
        context = super().context()
        context["ti"].run_id = f"scheduled__{self.night}"
        return context

    def next_night(self, **changes: Any) -> dict[str, Any]:
        """Run the batch in the next DAG run, and return its summary."""
        self.night += 1
        self.try_number = 0
        return self.retry(**changes)

    def plan(self, **changes: Any) -> Any:
        """Return the plan of the batch in the next DAG run."""
        self.arguments |= changes
        self.night += 1
        try:
            return self.new_operator().plan(self.context())
        finally:
            self.night -= 1


def nightly(folder: Path, requests: Any, **arguments: Any) -> NightlyBatch:
    """Return a batch that reuses the images of earlier nights."""
    path = f"{folder}/out/{{key}}.{{ext}}"
    return NightlyBatch({"requests": requests, "output_path": path, "reuse": "always", **arguments})


def products(*keys: str, text: str = "fox") -> list[dict[str, Any]]:
    """Return a row for each key."""
    return [{"key": key, "prompt": f"{text} {key}"} for key in keys]


def files_in(folder: Path) -> set[str]:
    """Return the names of the files of images below a folder, without the ledger and manifests."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and "ledger" not in path.parts and "manifest" not in path.name
    }
