"""A reader of the rows of a batch, beside the thread that works on them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow_provider_flux.batch.input.rows import Row
from airflow_provider_flux.batch.previous_rows import read_gone_rows
from airflow_provider_flux.batch.rejected import RejectedImages
from airflow_provider_flux.batch.row_policy import RowOutcome
from airflow_provider_flux.batch.row_states import EndedRow
from airflow_provider_flux.batch.survey import SurveyCounts
from airflow_provider_flux.bfl.request import GenerationRequest

#: A row that has not ended has no outcome in its table. A claim says that it was submitted.
_OUTCOME = "coalesce(outcome, CASE WHEN claim IS NULL THEN 'pending' ELSE 'submitted' END)"
#: A row with the request of an earlier one waits for its image, and is not submitted.
_TO_SUBMIT = "outcome IS NULL AND claim IS NULL AND NOT is_trimmed AND NOT is_copy"


class RowReader:
    """Reader of a :class:`~airflow_provider_flux.batch.row_store.RowStore`.

    Each method reads one consistent state of the table. A reader belongs to one thread, beside the
    one that writes.

    :param path: file of the row store.
    """

    def __init__(self, path: Path) -> None:
        self._db = open_database(path)

    def __enter__(self) -> RowReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def tried_rows(
        self, restore: Callable[[str, Mapping[str, Any]], GenerationRequest]
    ) -> Iterator[Row]:
        """Yield the valid rows that earlier tries submitted, in the order of the input.

        :param restore: rebuilds the request of a row from its model and parameters.
        """
        rows = self._db.execute(
            "SELECT n, key, model, parameters, fallback FROM rows "
            "WHERE outcome IS NULL AND key IN (SELECT key FROM entries) ORDER BY n"
        )
        for index, key, model, parameters, fallback in rows:
            request = restore(model, json.loads(parameters))
            other = restore(*json.loads(fallback)) if fallback else None
            yield Row(index, key, model, request, other, None)

    def invalid_rows(self) -> Iterator[Row]:
        """Yield the rows that are not valid, in the order of the input."""
        rows = self._db.execute(
            "SELECT n, key, model, reason FROM rows WHERE outcome = 'invalid' ORDER BY n"
        )
        for index, key, model, reason in rows:
            yield Row(index, key, model, None, None, reason)

    def all_rows(
        self, *, with_prompts: bool = False, with_data: bool = False
    ) -> Iterator[EndedRow]:
        """Yield all rows with their outcomes, in the order of the input.

        :param with_prompts: also read the prompt of each row, ``False`` by default.
        :param with_data: also read the values of the input, ``False`` by default.
        """
        request_json = "CASE WHEN is_fallback THEN fallback ELSE parameters END"
        rows = self._db.execute(
            f"SELECT n, key, {_OUTCOME}, reason, model, estimate, generation, "  # noqa: S608
            f"is_fallback, uncertain_submits, latency, {request_json if with_prompts else 'NULL'}, "
            f"{'data' if with_data else 'NULL'}, rejected, previous_uri FROM rows ORDER BY n"
        )
        for row in rows:
            index, key, outcome, reason, model, estimate, generation, is_fallback, *rest = row
            uncertain_submits, latency, request, data, rejected, previous_uri = rest
            yield EndedRow(
                index,
                key,
                outcome,
                reason,
                model,
                estimate,
                None if generation is None else json.loads(generation),
                bool(is_fallback),
                uncertain_submits,
                latency,
                _prompt_of(request),
                json.loads(data) if data else {},
                RejectedImages.decode(rejected),
                previous_uri,
            )

    def input_rows(
        self, outcomes: Collection[RowOutcome] | None
    ) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield index and values of rows as the input has them, in its order.

        :param outcomes: outcomes of the rows, which have ended; ``None`` for all rows.
        """
        names = tuple(outcomes or ())
        marks = ", ".join("?" * len(names))
        condition = "" if outcomes is None else f"WHERE outcome IN ({marks}) "
        rows = self._db.execute(f"SELECT n, data FROM rows {condition}ORDER BY n", names)  # noqa: S608
        for index, data in rows:
            yield index, json.loads(data) if data else {}

    def gone_rows(self) -> Iterator[Mapping[str, Any]]:
        """Yield the rows of the previous manifest that the input does not have any more."""
        return read_gone_rows(self._db)

    def count_survey(self) -> SurveyCounts:
        """Return the rows before the first submit, compared with the previous manifest."""
        groups = self._db.execute(
            f"SELECT {_OUTCOME} AS ended, previous_uri IS NOT NULL AS had_image, count(*) "  # noqa: S608
            "FROM rows GROUP BY ended, had_image"
        ).fetchall()
        (gone,) = self._db.execute("SELECT count(*) FROM previous").fetchone()
        return SurveyCounts.count(
            ((outcome, bool(had_image), count) for outcome, had_image, count in groups), gone=gone
        )

    def prices(self) -> Iterator[tuple[int, float | None]]:
        """Yield index and expected cost of each row to submit, in the order of the input."""
        yield from self._db.execute(
            f"SELECT n, estimate FROM rows WHERE {_TO_SUBMIT} ORDER BY n"  # noqa: S608
        )

    def count_trimmed(self) -> int:
        """Return the number of rows beyond the budget."""
        return int(self._db.execute("SELECT count(*) FROM rows WHERE is_trimmed").fetchone()[0])

    def index_files(self) -> None:
        """Remember the URIs that the rows of the input have, for :meth:`has_file`."""
        self._db.execute(
            "CREATE TEMP TABLE files AS SELECT DISTINCT file.value AS uri "
            "FROM rows, json_tree(rows.generation) AS file "
            "WHERE rows.generation IS NOT NULL AND file.type = 'text' AND file.value LIKE '%/%' "
            "UNION SELECT previous_uri FROM rows WHERE previous_uri IS NOT NULL"
        )
        self._db.execute("CREATE INDEX files_by_uri ON files (uri)")

    def has_file(self, uri: str) -> bool:
        """Return whether a row of the input has a file, after :meth:`index_files`.

        :param uri: URI of an image, a sidecar or a rendition.
        """
        found = self._db.execute("SELECT 1 FROM files WHERE uri = ?", (uri,))
        return found.fetchone() is not None

    def count_outcomes(self) -> dict[RowOutcome, int]:
        """Return the number of rows of each outcome that occurs, with pending and submitted."""
        return dict(
            self._db.execute(f"SELECT {_OUTCOME} AS ended, count(*) FROM rows GROUP BY ended")  # noqa: S608
        )

    def expected_cost(self) -> tuple[float, int]:
        """Return the expected cost of the rows to submit, and the number of those without one.

        :return: credits, and a number of rows.
        """
        total, unknown = self._db.execute(
            "SELECT coalesce(sum(estimate), 0), sum(estimate IS NULL) FROM rows "  # noqa: S608
            f"WHERE {_TO_SUBMIT}"
        ).fetchone()
        return float(total), int(unknown or 0)

    def expected_by_model(self) -> list[tuple[str, int, float]]:
        """Return model, number and expected cost of the rows to submit, the dearest model first."""
        return self._db.execute(
            "SELECT model, count(*), coalesce(sum(estimate), 0.0) FROM rows "  # noqa: S608
            f"WHERE {_TO_SUBMIT} GROUP BY model ORDER BY 3 DESC, 1"
        ).fetchall()

    def unpriced_rows(self, limit: int) -> tuple[list[str], int]:
        """Return the rows to submit whose price is not known, whatever their inputs are.

        :param limit: how many rows to name at most.
        :return: key and model of the first ones, and the number of all.
        """
        rows = self._db.execute(
            f"SELECT key, model FROM rows WHERE {_TO_SUBMIT} AND is_unpriced ORDER BY n"  # noqa: S608
        ).fetchall()
        return [f"key {key!r}: {model}" for key, model in rows[:limit]], len(rows)


def _prompt_of(request: str | None) -> str | None:
    """Return the prompt of the parameters of a row, or of model and parameters of its fallback."""
    parameters = json.loads(request) if request else {}
    if isinstance(parameters, list):
        parameters = parameters[1]
    prompt = parameters.get("prompt")
    return prompt if isinstance(prompt, str) else None


def open_database(path: Path) -> sqlite3.Connection:
    """Open the file of a row store.

    Its content is needed for one try only, so nothing is synced to the disk.

    :param path: the file. It is created if it does not exist.
    """
    db = sqlite3.connect(path, check_same_thread=False, timeout=60)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = OFF")
    return db
