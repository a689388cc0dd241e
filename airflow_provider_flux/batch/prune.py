"""Delete the images of rows that the input does not have any more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import conf

from airflow_provider_flux.batch.previous_rows import PreviousRows
from airflow_provider_flux.batch.row_reader import RowReader, open_database
from airflow_provider_flux.batch.run_loop import ManifestTarget
from airflow_provider_flux.batch.run_survey import BatchSurvey
from airflow_provider_flux.batch.survey import find_prune_problem
from airflow_provider_flux.bfl.errors import FluxConfigurationError
from airflow_provider_flux.bfl.redaction import escape_control, redact_line
from airflow_provider_flux.landing.delete import delete_own_image
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.object_store.filesystem import run_sync

log = logging.getLogger(__name__)

#: Images that are deleted at once. Each is read before, to compare its hash.
_MAX_CONCURRENT = 8
_DEFAULT_SHARE = 0.5
#: Refusals that are logged one by one.
_MAX_LOGGED = 100
_MAX_REASON_CHARACTERS = 500


def max_prune_share() -> float:
    """Return the share of the images that may be deleted at once, from ``[flux] max_prune_share``.

    :raises FluxConfigurationError: if it is no number from 0 to 1.
    """
    text = conf.get("flux", "max_prune_share", fallback="") or str(_DEFAULT_SHARE)
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise FluxConfigurationError(f"[flux] max_prune_share={text!r} must be from 0 to 1.")
    return share


@dataclass
class Pruner:
    """Deletes the images of gone rows after a batch has ended, and logs each.

    :param rows_file: file of the row store, which nobody else uses any more.
    :param plan: landing plan of the batch.
    :param manifest: location of the manifest, which is written again.
    """

    rows_file: Path
    plan: LandingPlan
    manifest: ManifestTarget
    _kept: int = 0

    def run(self, survey: BatchSurvey, *, is_complete: bool, is_owner: Callable[[], bool]) -> int:
        """Delete the images that are proven to be those of this task.

        :param survey: survey of the batch.
        :param is_complete: whether all rows were tried.
        :param is_owner: returns whether no later try of the task works on the batch.
        :return: the number of rows whose image was deleted.
        :raises FluxStorageError: if the manifest cannot be written again.
        """
        counts = survey.counts
        if counts is None or not counts.gone:
            return 0
        problem = find_prune_problem(
            counts,
            max_share=max_prune_share(),
            is_mapped=self.plan.task.map_index >= 0,
            has_manifest=survey.has_manifest,
        )
        if not is_complete:
            problem = "not all rows were tried"
        elif problem is None and not is_owner():
            problem = "a later try of this task works on the batch"
        if problem:
            log.warning("No image of the %d gone rows is deleted: %s.", counts.gone, problem)
            return 0
        with RowReader(self.rows_file) as reader:
            deleted = self._delete_images(reader)
            self.manifest.write(reader)
        return deleted

    def _delete_images(self, reader: RowReader) -> int:
        deleted = 0
        reader.index_files()
        with closing(open_database(self.rows_file)) as db:
            previous = PreviousRows(db, self.plan.target.folder, is_new=False)
            gone = reader.gone_rows()
            while rows := list(islice(gone, _MAX_CONCURRENT)):
                problems = run_sync(_delete_all(rows, self.plan, reader))
                for row, problem in zip(rows, problems, strict=True):
                    self._log(row, problem)
                    if problem is None:
                        previous.mark_deleted(str(row["key"]))
                        deleted += 1
        if self._kept > _MAX_LOGGED:
            log.warning("%d further images of gone rows are kept", self._kept - _MAX_LOGGED)
        return deleted

    def _log(self, row: Mapping[str, Any], problem: str | None) -> None:
        key, uri = escape_control(str(row["key"])), escape_control(str(row["uri"]))
        if problem is None:
            log.info("Deleted %s with the files beside it: the row %r is gone", uri, key)
            return
        self._kept += 1
        if self._kept <= _MAX_LOGGED:
            # The problem may quote a sidecar, which anyone who writes to the bucket may have made.
            reason = redact_line(escape_control(problem))[:_MAX_REASON_CHARACTERS]
            log.warning("%s of the gone row %r is not deleted: %s", uri, key, reason)


async def _delete_all(
    rows: Sequence[Mapping[str, Any]], plan: LandingPlan, reader: RowReader
) -> list[str | None]:
    work = (delete_own_image(row, plan, reader.has_file) for row in rows)
    return list(await asyncio.gather(*work))
