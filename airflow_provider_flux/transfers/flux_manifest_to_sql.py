"""FluxManifestToSqlOperator: write the manifest of a batch into a table of a database."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, ClassVar, get_args

from airflow_provider_flux.bfl.errors import (
    FluxConfigurationError,
    FluxError,
    FluxRequestError,
    FluxStorageError,
)
from airflow_provider_flux.bfl.inputs import is_path
from airflow_provider_flux.compat import is_from_mapped
from airflow_provider_flux.ledger.resume_policy import check_choices
from airflow_provider_flux.observability.task_files import TaskFiles
from airflow_provider_flux.operators import arguments
from airflow_provider_flux.operators.batch import SUMMARY_XCOM
from airflow_provider_flux.operators.failures import fail_without_retry
from airflow_provider_flux.operators.templates import TextTemplatesOperator
from airflow_provider_flux.policies.task_policy import add_retry_policy
from airflow_provider_flux.transfers.table_columns import (
    DEFAULT_COLUMNS,
    OnGone,
    OnMissing,
    TableColumns,
    check_table,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_flux.hooks.sql import SqlDatabase
    from airflow_provider_flux.transfers.manifest_values import ManifestValues, TableRow

_SPOOL_BYTES = 8 * 1024 * 1024


class FluxManifestToSqlOperator(TextTemplatesOperator):
    """Write the rows of a manifest into a table: update those that changed, insert those missing.

    A second run changes nothing. The task reads and checks the whole manifest first. Then it writes
    in one transaction, so that a task that fails leaves the table as it was, and a retry is safe.
    It works with every connection whose hook is a ``DbApiHook`` of
    ``apache-airflow-providers-common-sql``, and creates no table.

    The XCom is a dict: ``rows`` that were written or equal already, ``inserted``, ``updated``,
    ``unchanged``, ``skipped``, ``gone``, and the ``table``.

    :param conn_id: id of the connection to the database. (templated)
    :param table: name of the table, with a schema if it needs one. It stands in the statements as
        it is, so a name that needs quotes is written with them. (templated)
    :param manifest_path: path of the manifest, or the summary that a batch returns, as
        ``batch.output``; or a list of either. Default: the manifest of the batch that is the only
        such task upstream, also if that has failed. (templated)
    :param columns: dict of the column of the manifest by column of the table, for example
        ``{"sku": "key", "image_url": "uri", "alt_text": "alt_text", "name": "input.name"}``.
        ``input.<column>`` is a column of the input that the batch has in ``keep_columns``, and
        ``renditions.<name>`` a copy of the image. Default: the most useful columns of the manifest
        under their own names. (templated)
    :param key_columns: list of the columns of the table that identify a row. Default ``["key"]``.
    :param outcomes: list of outcomes of the rows to write. Default: ``landed`` and ``reused``.
    :param on_missing: action for a row that the table does not have: ``insert`` it (default), or
        ``skip`` it, for a table whose rows come from another system.
    :param on_gone: action for a row of the table that the input of the batch lost: ``keep`` it
        (default), ``null`` its columns about the image, or ``delete`` it.
    :param image_root: folder that all files of the manifest are below. Default: the folder of the
        manifest. (templated)
    :param public_url: URL that replaces ``image_root`` in the written URIs, for example
        ``https://cdn.example.com/media/``. Default: the URIs stay as they are. (templated)
    :raises FluxRequestError: when the DAG is parsed, if a literal argument is wrong.
    """

    template_fields: Sequence[str] = (
        *("conn_id", "table", "manifest_path", "columns", "image_root", "public_url"),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"columns": "json"}
    text_fields: ClassVar[frozenset[str]] = frozenset(
        {"conn_id", "table", "image_root", "public_url"}
    )
    ui_color = "#d8e8f0"

    def __init__(
        self,
        *,
        conn_id: str,
        table: str,
        manifest_path: Any = None,
        columns: Mapping[str, str] | None = None,
        key_columns: Sequence[str] = ("key",),
        outcomes: Collection[str] = ("landed", "reused"),
        on_missing: OnMissing = "insert",
        on_gone: OnGone = "keep",
        image_root: str | None = None,
        public_url: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        add_retry_policy(self)
        self.conn_id = conn_id
        self.table = table
        self.manifest_path = manifest_path
        self.columns = DEFAULT_COLUMNS if columns is None else columns
        self.key_columns = key_columns
        self.outcomes = outcomes
        self.on_missing = on_missing
        self.on_gone = on_gone
        self.image_root = image_root
        self.public_url = public_url
        #: Files of this phase of the task, for lineage.
        self.task_files = TaskFiles()
        self._database: SqlDatabase | None = None
        if not is_from_mapped(self):
            self._check_literals()

    def _check_literals(self) -> None:
        """Check literal arguments at parse time; others are checked before anything is written."""
        check_choices(
            {"on_missing": self.on_missing, "on_gone": self.on_gone},
            {"on_missing": OnMissing, "on_gone": OnGone},
        )
        _check_outcomes(self.outcomes)
        if not arguments.is_resolved_later(self.table):
            check_table(self.table)
        if not arguments.is_resolved_later(self.columns):
            self._parse_columns()
        if isinstance(self.manifest_path, str) and not arguments.is_template(self.manifest_path):
            _check_manifest_path(self.manifest_path)

    def execute(self, context: Context) -> dict[str, Any]:
        """Read the manifest, and write its rows into the table.

        :param context: context of the task.
        :return: the number of rows by what became of them, and the table.
        :raises AirflowFailException: for errors that a retry cannot help.
        :raises FluxError: for errors that a retry may help.
        """
        from airflow_provider_flux.transfers.manifest_values import ManifestValues

        self.task_files = TaskFiles()
        with fail_without_retry(self), tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as spool:
            columns, table = self._parse_columns(), check_table(self.table)
            values = ManifestValues(
                columns,
                self.outcomes,
                has_gone=self.on_gone != "keep",
                public_url=self.public_url and f"{self.public_url.rstrip('/')}/",
            )
            count = 0
            for manifest in self._find_manifests(context):
                self.task_files.inputs.add(manifest)
                count += self._spool_rows(manifest, values, spool)
            values.check_all_found()
            spool.seek(0)
            rows = (
                row for row in _read_spool(spool) if row.action == "write" or values.is_lost(row)
            )
            counts = self._write(rows, table, columns)
            self.log.info("%s: %d rows, %s", table, count, counts)
            return {"rows": count, **counts, "table": table}

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return the manifest that the task read, and the table that it wrote, for OpenLineage.

        :param task_instance: the task instance; not needed.
        """
        from airflow_provider_flux.observability.lineage import add_table, build_lineage

        lineage = build_lineage(self.task_files)
        if self._database is not None:
            add_table(lineage, self._database.hook, str(self.table))
        return lineage

    def _parse_columns(self) -> TableColumns:
        from airflow_provider_flux.batch.report.manifest import ManifestRow

        names = tuple(ManifestRow.__annotations__)
        return TableColumns.parse(self.columns, self.key_columns, names)

    def _find_manifests(self, context: Context) -> list[str]:
        """Return the URIs of the manifests to read.

        :raises FluxRequestError: if there is none, or a value is no manifest.
        """
        value = self.manifest_path
        if value is None:
            value = self._pull_summary(context)
        is_list = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
        manifests = [_uri_of(item) for item in (value if is_list else [value])]
        for manifest in manifests:
            _check_manifest_path(manifest)
        return list(dict.fromkeys(manifests))

    def _pull_summary(self, context: Context) -> Any:
        """Return the summary of the batch upstream. A batch that has failed leaves it, too."""
        task_ids = sorted(self.upstream_task_ids)
        found = {
            task_id: summary
            for task_id in task_ids
            if (summary := context["ti"].xcom_pull(task_ids=task_id, key=SUMMARY_XCOM))
        }
        if len(found) != 1:
            named = ", ".join(found or task_ids) or "no task"
            raise FluxRequestError(
                f"manifest_path is required: upstream of this task, {len(found)} tasks have a "
                f"manifest ({named}). Set manifest_path, for example to my_batch.output."
            )
        return next(iter(found.values()))

    def _spool_rows(self, manifest: str, values: ManifestValues, spool: IO[bytes]) -> int:
        """Read and check the rows of a manifest, and return the number of those to write."""
        from airflow_provider_flux.gallery.manifest_cards import read_manifest_rows
        from airflow_provider_flux.object_store.filesystem import open_path, run_sync
        from airflow_provider_flux.object_store.ranges import find_object
        from airflow_provider_flux.transfers.manifest_values import Place

        open_path(manifest, field="manifest_path")
        root = self.image_root or manifest[: manifest.rindex("/") + 1]
        facts, count = run_sync(find_object(manifest)), 0
        if facts is None:
            raise FluxStorageError(f"{manifest} does not exist. Has the batch written it?")
        for number, row in enumerate(read_manifest_rows(manifest)):
            selected = values.read(row, Place(manifest, number), f"{root.rstrip('/')}/")
            if selected is not None:
                spool.write(json.dumps(selected).encode() + b"\n")
                count += selected.action == "write"
        if run_sync(find_object(manifest)) != facts:
            raise FluxStorageError(f"{manifest} changed while it was read. Nothing was written.")
        return count

    def _write(self, rows: Iterator[TableRow], table: str, columns: TableColumns) -> dict[str, int]:
        """Write the rows in one transaction, and return their number by what became of them."""
        from airflow_provider_flux.batch.prune import max_prune_share
        from airflow_provider_flux.hooks.sql import open_database
        from airflow_provider_flux.transfers.table_writer import TableWriter

        max_share = max_prune_share()
        database = self._database = open_database(self.conn_id, "conn_id")
        try:
            with database.connect() as connection:
                if database.hook.supports_autocommit:
                    database.hook.set_autocommit(connection, False)
                writer = TableWriter(
                    connection.cursor(),
                    database.hook.placeholder,
                    table,
                    columns,
                    on_missing=self.on_missing,
                    on_gone=self.on_gone,
                )
                writer.check_table()
                writer.write_all(rows)
                writer.check_gone(max_share)
                connection.commit()
        except FluxError:
            raise
        except Exception as error:
            raise _translate_error(error, table, database) from None
        return writer.counts.as_dict()


def _check_outcomes(outcomes: Any) -> None:
    from airflow_provider_flux.batch.row_policy import RowOutcome

    allowed = get_args(RowOutcome)
    is_list = isinstance(outcomes, Collection) and not isinstance(outcomes, (str, bytes))
    if not is_list or not outcomes or not set(outcomes) <= set(allowed):
        raise FluxRequestError(
            f"outcomes={outcomes!r} must be a list of some of {', '.join(map(repr, allowed))}."
        )


def _uri_of(value: Any) -> str:
    """Return the URI of a manifest from a summary, or from a path."""
    if isinstance(value, Mapping):
        value = value.get("manifest")
    if not (isinstance(value, str) or is_path(value)) or not str(value).strip():
        raise FluxRequestError(
            f"manifest_path is {type(value).__name__}, and must be a path that ends in .jsonl, "
            ".ndjson or .parquet, or the output of a batch. Pass my_batch.output."
        )
    return arguments.refuse_template("manifest_path", str(value).strip())


def _check_manifest_path(path: str) -> None:
    from airflow_provider_flux.batch.report.manifest import check_manifest_path

    check_manifest_path(path)


def _read_spool(spool: IO[bytes]) -> Iterator[TableRow]:
    from airflow_provider_flux.transfers.manifest_values import TableRow

    for line in spool:
        yield TableRow(*json.loads(line))


def _translate_error(error: Exception, table: str, database: SqlDatabase) -> FluxError:
    """Return the error of this package for an error of a driver. Nothing was committed."""
    from airflow_provider_flux.hooks.sql_errors import classify, describe_sql_error

    reason = describe_sql_error(error, database.secrets)
    subject = f"table={table!r} on the connection {database.conn_id!r}"
    kind = classify(error)
    if kind == "transient":
        return FluxStorageError(f"{subject} was not written ({reason}). A retry may help.")
    if kind == "access":
        return FluxConfigurationError(
            f"{subject} may not be written ({reason}). Check host, database and login of the "
            "connection, and let its user read and write the table."
        )
    return FluxRequestError(
        f"{subject} was not written, and nothing in it changed ({reason}). Check table, columns "
        "and key_columns. A name that is a word of SQL needs the quotes of the database."
    )
