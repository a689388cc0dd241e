"""FluxGenerateBatchOperator: one task for the requests of a whole table."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_flux.batch.input.mapping import InputMapping
from airflow_provider_flux.batch.input.mapping_checks import check_keep_columns, check_mapping
from airflow_provider_flux.batch.report.thresholds import (
    RowThreshold,
    check_thresholds,
    parse_max_cost,
)
from airflow_provider_flux.batch.row_policy import (
    OnBatchClear,
    OnInvalidRow,
    OnRowChange,
    RowPolicies,
)
from airflow_provider_flux.batch.survey import OnBudget, Prune
from airflow_provider_flux.bfl.catalog import get_model
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.inputs import is_path
from airflow_provider_flux.bfl.priority import Priority, check_priority
from airflow_provider_flux.checks.check import text_columns
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.object_name import safe_name
from airflow_provider_flux.landing.output_path import (
    columns_in,
    fixed_folder,
    has_distinct_names,
    placeholders_in,
)
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.target import Reuse
from airflow_provider_flux.ledger.ledger_folder import LEDGER_FOLDER
from airflow_provider_flux.ledger.resume_policy import OnUncertain
from airflow_provider_flux.links.gallery import GalleryLink
from airflow_provider_flux.links.object_store import ManifestLink
from airflow_provider_flux.observability.spans import BATCH_SPAN, set_attributes, span
from airflow_provider_flux.operators import arguments
from airflow_provider_flux.operators.base import FluxLandingOperator
from airflow_provider_flux.operators.check_arguments import (
    check_checks,
    parse_check_timeout,
    parse_max_rerolls,
    refuse_mapped_checks,
)
from airflow_provider_flux.operators.failed_path import (
    check_literal_failed_path,
    rendered_failed_path,
)
from airflow_provider_flux.operators.failures import fail_without_retry
from airflow_provider_flux.operators.planning import PlannedTaskInstance, check_incremental
from airflow_provider_flux.operators.row_source import (
    SQL_FIELDS,
    check_source_arguments,
    row_source,
)
from airflow_provider_flux.operators.sibling_tasks import check_sibling_tasks
from airflow_provider_flux.operators.webhook_reference import refuse_receiver

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_flux.batch.plan import BatchPlan
    from airflow_provider_flux.batch.report.monitor import BatchMonitor
    from airflow_provider_flux.batch.run import BatchRun, BatchSettings
    from airflow_provider_flux.landing.target import Target

#: XCom key of the summary. A task that fails leaves it, too.
SUMMARY_XCOM = "flux_batch"
#: Members of the summary that the span of a batch has.
_SPAN_FIGURES = ("rows", "landed", "reused", "credits", "rate_limited", "quota_share")


class FluxGenerateBatchOperator(FluxLandingOperator):
    """Generate an image or video for each row of a table, and land them in object storage.

    One task and one event loop keep as many generations active as the account allows, so ten
    thousand images do not need ten thousand Airflow tasks. The task never defers: it runs on its
    worker until it has tried all rows. It records every submit in a journal, below the folder that
    ``output_path`` begins with, or in ``ledger_path``. A retry, or a clear, works on unfinished
    rows only.

    With ``reuse``, the task looks for the images of all rows before it submits, so that a nightly
    run over an unchanged table pays nothing, and logs new, changed, unchanged and gone rows.

    Each row ends as ``landed``, ``reused``, ``moderated``, ``rejected``, ``invalid``, ``failed``,
    ``uncertain`` or ``lost``. A row that was not submitted is ``pending``. A row whose image BFL
    bills, and whose image has not landed, is ``submitted``.

    The XCom is a small dict with the number of rows by outcome, the cost, durations, and the URI of
    the ``manifest``, which has a row for each row of the input, in the same order. A task that
    fails leaves it under the key ``flux_batch``.

    The arguments for where and how images land are those of
    :class:`~airflow_provider_flux.operators.base.FluxLandingOperator`. ``output_path`` is required,
    and needs a placeholder that differs from row to row, for example ``{key}``.

    :param requests: a list of prompts, or of dicts of parameters; or the path of a ``.jsonl``,
        ``.csv``, ``.parquet`` or ``.xlsx`` file, as an absolute path or a URI of
        ``ObjectStoragePath``. A row may also have a ``key``, a ``model``, a ``fallback_prompt`` and
        a ``fallback_model``. The fallback is submitted once if the row is moderated, or if its
        generation fails. Either this or ``sql`` is required. (templated)
    :param columns: dict of the input column for each parameter, for example
        ``{"prompt": "description", "key": "sku"}``. The task reads no other columns then. By
        default each column is a parameter, or one of the names above. If rows are lists, for
        example those of a database cursor: the position, from 0. (templated)
    :param defaults: dict of parameters for rows that do not set them. (templated)
    :param model: model of rows that name none. Default ``flux-pro-1.1``. (templated)
    :param max_active: largest number of active generations. Default: ``max_active`` of the
        connection, which is 24 by default.
    :param model_limits: dict of the largest number of active generations by model, if the account
        has unusual limits.
    :param max_cost: credits (1 credit = 0.01 USD) that the batch may cost over all its tries. No
        limit by default. A batch that cannot fit submits nothing. When the limit is reached, active
        generations land and the other rows stay pending. (templated)
    :param max_failed: number of rows, or share of them such as ``0.02`` or ``"2%"``, that may end
        as ``failed``, ``submitted``, ``uncertain`` or ``lost`` before the task fails. Default 0.
        Rows that end as ``invalid`` count as well unless ``on_invalid_row`` is ``skip``. ``None``
        allows any number. (templated)
    :param max_moderated: number or share of rows that may be moderated. Any number by default.
        (templated)
    :param on_invalid_row: action for rows that are no valid request: ``fail`` (default) before the
        first submit and name them, or ``skip`` them.
    :param on_uncertain: action for a row whose answer to the submit was lost, so that it may have
        been billed: ``fail`` (default) leaves it until a user clears the task, ``resubmit`` submits
        it again, which BFL may bill twice.
    :param on_change: action for a row that differs from what an earlier try submitted for it:
        submit the ``new`` request (default), or ``resume`` the old one.
    :param on_clear: action of a cleared task: ``resume`` (default) with the unfinished rows, or
        submit all rows as ``new`` requests.
    :param reuse: use an existing image with the same model, parameters and inputs in place of a
        submit: ``never`` (default), ``run`` (an image of this DAG run) or ``always``.
    :param manifest_path: path of the manifest, which ends in ``.jsonl``, ``.ndjson`` or
        ``.parquet``. Default: ``manifest-<task_id>.jsonl`` in the folder that the rendered
        ``output_path`` begins with. (templated)
    :param contact_sheet: also write a contact sheet beside the manifest: one HTML file with the
        thumbnails in it, for example ``manifest-<task_id>.html``. Default ``False``.
    :param ledger_path: folder for the journal, as an absolute path or a URI of
        ``ObjectStoragePath``. Default: ``_flux/ledger/`` below the folder that ``output_path``
        begins with before any template. (templated)
    :param partition_by_key: give the assets in ``outlets`` a partition for each row that has an
        image, named by the key of the row. The batch may have 500 rows then. A task may name
        partitions from Airflow 3.3 on. Default ``False``.
    :param timeout: seconds, or a ``timedelta``, from the submit of a row after which to give it up.
        Default: ten times the usual duration of its model, and at least ten minutes.
    :param checks: list of checks that each image must pass before it lands: ``"not_blank"``,
        ``"not_duplicate"``, ``{"text": "column"}``, ``{"min_size": [1024, 768]}``,
        ``{"ratio": "16:9"}``, and import paths of functions of an image and its row, for example
        ``"my_package.checks.brand_colour"``. A rejected image is kept below ``rejected/``. No check
        by default. See the page about checks.
    :param max_rerolls: how many times a row whose image is rejected is submitted again with another
        seed, over all tries, and with ``reuse="always"`` over all runs, from 0 to 20. Each submit
        is billed. Default 0. (templated)
    :param max_rejected: number or share of rows that may end as ``rejected``. Any number by
        default. (templated)
    :param check_timeout: seconds, or a ``timedelta``, that each check of an image has. Default 30.
    :param prune: action for images of rows that the input does not have any more: ``report`` them
        in the manifest (default), or ``delete`` those that this task landed, after a run in which
        all rows were tried.
    :param on_budget: action if the rows to submit cost more than ``max_cost`` or the balance:
        ``fail`` (default) before the first submit, or ``trim``: submit the first rows that fit, in
        the order of the input, and leave the others pending.
    :param validate: check the model and its parameters against the catalog of this version. Default
        ``True``. ``False`` sends unknown models and parameters.
    :param prompt: template of the prompts over the columns of a row, for example
        ``Photo of {name}, {colour}``. It has plain names of columns or of axes of ``matrix``, and
        ``{{`` and ``}}`` stand for a brace. Jinja renders first, so that in a DAG file Jinja
        has to write a double brace. A row whose column is empty is not valid. (templated)
    :param keep_columns: list of columns of the input to keep in the manifest, or ``"all"``. They
        are placeholders of ``output_path``, too, for example ``{category}``. Default: none.
    :param matrix: dict of lists of values by axis, for example ``{"style": ["oil", "ink"]}``. Each
        row is tried with each combination. An axis is a parameter, ``model``, or a name in
        ``prompt`` or ``output_path``. (templated)
    :param seed: seed of rows that have none: a number, or ``"stable"`` for one that follows from
        the key and the request of the row. Random by default. (templated)
    :param keep_null_text: send texts such as ``nan``, ``None``, ``NULL`` and ``#N/A`` as they are.
        By default a cell with such a text is empty.
    :param sql: one query whose result has the rows, or the name of a ``.sql`` file with it. Its
        columns are named as the query names them, and one of them is the ``key``. Nothing is
        committed. (templated)
    :param sql_conn_id: id of the connection to the database, of any type whose hook is a
        ``DbApiHook`` of ``apache-airflow-providers-common-sql``. Required with ``sql``. (templated)
    :param sql_parameters: list or dict of values for the placeholders of the driver in ``sql``. No
        placeholders by default. (templated)
    :param column_names: list of names for the values of rows that are lists or tuples, in order,
        for example of ``requests=query_task.output``. Rows of ``sql`` have names. (templated)
    :param failed_path: path of a ``.jsonl``, ``.csv`` or ``.parquet`` file for the rows that did
        not work, in the form of the input, to be passed as ``requests`` again. Rows that are
        pending or submitted are not in it, because a retry resumes them. Default: no file.
        (templated)
    :param priority: priority of the submits among the tasks of the account: ``high``, ``normal``
        (default) or ``low``. It needs ``account_path`` in the connection. See the page about
        sharing the quota.
    :param flux_conn_id: id of the connection to BFL. Default ``flux_default``. (templated)
    :raises FluxRequestError: when the DAG is parsed, if a literal argument is wrong.
    """

    #: Airflow's registry reads this marker: a retry resumes what an earlier try submitted.
    __supports_durable_execution: ClassVar[bool] = True
    template_fields: Sequence[str] = (
        "requests",
        *SQL_FIELDS,
        "column_names",
        "columns",
        "defaults",
        "model",
        "max_cost",
        "max_failed",
        "max_moderated",
        "max_rerolls",
        "max_rejected",
        "manifest_path",
        "ledger_path",
        "prompt",
        "matrix",
        "seed",
        "failed_path",
        *FluxLandingOperator.template_fields,
    )
    template_ext: Sequence[str] = (".sql",)
    file_fields: ClassVar[frozenset[str]] = frozenset({"sql"})
    key_source = "rows"
    operator_extra_links = (GalleryLink(), ManifestLink())
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **FluxLandingOperator.template_fields_renderers,
        "columns": "json",
        "defaults": "json",
        "matrix": "json",
        "sql": "sql",
        "sql_parameters": "json",
    }
    text_fields: ClassVar[frozenset[str]] = FluxLandingOperator.text_fields | {
        *("model", "manifest_path", "ledger_path", "prompt", "sql", "sql_conn_id", "failed_path")
    }

    def __init__(
        self,
        *,
        requests: Any = None,
        columns: Mapping[str, str | int] | None = None,
        defaults: Mapping[str, Any] | None = None,
        model: str = "flux-pro-1.1",
        max_active: int | None = None,
        model_limits: Mapping[str, int] | None = None,
        max_cost: float | str | None = None,
        max_failed: float | str | None = 0,
        max_moderated: float | str | None = None,
        on_invalid_row: OnInvalidRow = "fail",
        on_uncertain: OnUncertain = "fail",
        on_change: OnRowChange = "new",
        on_clear: OnBatchClear = "resume",
        reuse: Reuse = "never",
        manifest_path: str | PathLike[str] | None = None,
        contact_sheet: bool = False,
        ledger_path: str | None = None,
        partition_by_key: bool = False,
        timeout: float | timedelta | None = None,
        checks: Sequence[str | Mapping[str, Any]] | None = None,
        max_rerolls: int | str = 0,
        max_rejected: float | str | None = None,
        check_timeout: float | timedelta = 30.0,
        prune: Prune = "report",
        on_budget: OnBudget = "fail",
        prompt: str | None = None,
        keep_columns: Literal["all"] | Sequence[str] = (),
        matrix: Mapping[str, Sequence[Any]] | None = None,
        seed: int | str | None = None,
        validate: bool = True,
        keep_null_text: bool = False,
        sql: str | None = None,
        sql_conn_id: str | None = None,
        sql_parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        column_names: Sequence[str] | None = None,
        failed_path: str | PathLike[str] | None = None,
        priority: Priority = "normal",
        **kwargs: Any,
    ) -> None:
        # The check of output_path needs them.
        self.keep_columns, self.matrix = keep_columns, matrix
        super().__init__(**kwargs)
        self.requests = requests
        self.columns = columns
        self.defaults = defaults
        self.model = self._unrendered_model = model
        self.max_active = max_active
        self.model_limits = model_limits
        self.max_cost = max_cost
        self.max_failed = max_failed
        self.max_moderated = max_moderated
        self.on_invalid_row = on_invalid_row
        self.on_uncertain = on_uncertain
        self.on_change = on_change
        self.on_clear = on_clear
        self.reuse = reuse
        checked = arguments.check_ledger_path(ledger_path)
        self.ledger_path = ledger_path if self._is_from_mapped else checked
        self.manifest_path: Any = manifest_path
        if is_path(manifest_path) and not self._is_from_mapped:
            self.manifest_path = str(manifest_path)
        self._unrendered_manifest_path = self.manifest_path
        self.failed_path: Any = str(failed_path) if is_path(failed_path) else failed_path
        self._unrendered_failed_path = self.failed_path
        self.contact_sheet = contact_sheet
        self.partition_by_key = partition_by_key
        self.timeout = (
            None if timeout is None else arguments.parse_seconds("timeout", timeout, minimum=1)
        )
        self.checks = checks
        self._checks = check_checks(checks)
        self.max_rerolls = max_rerolls
        self.max_rejected = max_rejected
        self.check_timeout = parse_check_timeout(check_timeout)
        self.prune = prune
        self.on_budget = on_budget
        self.validate = validate
        self.keep_null_text = keep_null_text
        self.sql = sql
        self.sql_conn_id = sql_conn_id
        self.sql_parameters = sql_parameters
        self.column_names = column_names
        self.prompt = prompt
        self.seed = seed
        self.priority = check_priority(priority)
        self._batch_run: BatchRun | None = None
        self._is_killed = False
        #: Set by the command line: it asks before a submit, and shows the progress.
        self._monitor: BatchMonitor | None = None
        #: Durations of :class:`BatchSettings` that tests shorten, in seconds.
        self._timings: dict[str, float] = {}
        self._policies = RowPolicies.of(
            on_invalid_row=on_invalid_row,
            on_uncertain=on_uncertain,
            on_change=on_change,
            on_clear=on_clear,
        )
        if not self._is_from_mapped:
            self._webhook_hosts = arguments.find_webhook_hosts(defaults)
        arguments.check_reuse(reuse, self.output_path, self.sidecar)
        check_incremental(prune=prune, on_budget=on_budget, sidecar=self.sidecar)
        self._check_literals()

    def _check_literals(self) -> None:
        """Check literal arguments at parse time; others are checked before the first submit."""
        if self.output_path is None:
            raise FluxRequestError("output_path is required: a batch lands its images.")
        if isinstance(self.defaults, Mapping):
            refuse_receiver(self.defaults.get("webhook_url"))
        if isinstance(self._unrendered_output_path, str):
            self._check_rows_differ(self._unrendered_output_path)
        check_source_arguments(self)
        arguments.check_count("max_active", self.max_active)
        self._check_model_limits()
        self._check_literal_thresholds()
        check_keep_columns(self.keep_columns)
        mapped = (self.columns, self.defaults, self.model, self.column_names)
        made = (self.prompt, self.matrix, self.seed)
        is_later = any(map(arguments.is_resolved_later, (*mapped, *made)))
        if not (is_later or (self.matrix and arguments.is_resolved_later(self.output_path))):
            check_mapping(self._input_mapping())
        if self.manifest_path is not None and not arguments.is_resolved_later(self.manifest_path):
            # It imports sqlite, which parsing most DAGs does not need.
            from airflow_provider_flux.batch.report.manifest import check_manifest_path

            check_manifest_path(self.manifest_path)
        check_literal_failed_path(self)

    def _check_model_limits(self) -> None:
        limits = self.model_limits or {}
        if not isinstance(limits, Mapping):
            raise FluxRequestError(f"model_limits is {type(limits).__name__}, not a dict.")
        for model, limit in limits.items():
            if self.validate:
                get_model(model, known_models())
            arguments.check_count(f"model_limits[{model!r}]", limit)

    def _check_literal_thresholds(self) -> None:
        if not arguments.is_resolved_later(self.max_cost):
            parse_max_cost(self.max_cost)
        if not arguments.is_resolved_later(self.max_rerolls):
            parse_max_rerolls(self.max_rerolls, self._checks)
        for name in ("max_failed", "max_moderated", "max_rejected"):
            if not arguments.is_resolved_later(value := getattr(self, name)):
                RowThreshold.parse(name, value)

    def _check_rows_differ(self, path: str) -> None:
        """Refuse an ``output_path`` that may give all rows one name."""
        if arguments.is_template(path) or has_distinct_names(path):
            return
        if "fingerprint" not in placeholders_in(path) and not columns_in(path):
            raise FluxRequestError(
                f"output_path={path!r} may be the same for all rows. Add {{key}} or {{index}}."
            )

    def _check_names(self, target: Target) -> None:
        """Check nothing: each row has names of its own, which are checked with the row."""

    def _check_names_of_mapped_tasks(self, context: Context, path: str, map_index: int) -> None:
        """Warn if rows of another map index may get the same names.

        :raises FluxRequestError: if another map index would replace the manifest.
        """
        for name in ("manifest_path", "failed_path"):
            if path_of_all := self._literal_argument(context, name):
                raise FluxRequestError(
                    f"{name}={path_of_all!r} is the same for all mapped tasks. Add "
                    "{{ ti.map_index }}, or leave it out."
                )
        is_distinct = placeholders_in(path) & {"request_id", "sha256"} or str(map_index) in path
        if not is_distinct:
            self.log.warning(
                "output_path=%r may be the same for rows of other mapped tasks, unless their keys "
                "differ. Add {{ ti.map_index }}.",
                path,
            )

    def _input_mapping(self) -> InputMapping:
        return InputMapping(
            self.columns,
            self.defaults or {},
            self.model,
            self.validate,
            self.keep_null_text,
            str(self.output_path),
            self.column_names,
            prompt=self.prompt,
            keep_columns=self.keep_columns,
            matrix=self.matrix,
            seed=self.seed,
            is_table=self.sql is not None,
            checked_columns=text_columns(self._checks),
            keep_all_data=bool(self.failed_path),
        )

    def _path_columns(self) -> Collection[str] | None:
        """Return the columns that are placeholders: those to keep, and the axes of the sweep."""
        check_keep_columns(self.keep_columns)
        if self.keep_columns == "all" or arguments.is_xcom_arg(self.matrix):
            return None
        axes = self.matrix if isinstance(self.matrix, Mapping) else ()
        return [*self.keep_columns, *map(str, axes)]

    @cached_property
    def hook(self) -> FluxHook:
        """The hook of the connection."""
        return FluxHook(self.flux_conn_id, webhook_hosts=self._webhook_hosts)

    def execute(self, context: Context) -> dict[str, Any]:
        """Try all rows; fail if too many of them have no image.

        :param context: context of the task.
        :return: the summary.
        :raises FluxError: for errors that a retry may help.
        :raises AirflowFailException: for errors that a retry cannot help.
        """
        with fail_without_retry(self), _temporary_folder() as folder:
            max_failed = RowThreshold.parse("max_failed", self.max_failed)
            max_moderated = RowThreshold.parse("max_moderated", self.max_moderated)
            max_rejected = RowThreshold.parse("max_rejected", self.max_rejected)
            self._batch_run = self._new_run(context, Path(folder))
            self.task_files = self._batch_run.files
            if self._is_killed:  # before there was a run to stop
                self._batch_run.stop()
            with span(BATCH_SPAN, {}) as opened:
                summary = self._batch_run.run()
                set_attributes(opened, {f"flux.{name}": summary[name] for name in _SPAN_FIGURES})
            context["ti"].xcom_push(key=SUMMARY_XCOM, value=summary)
            check_thresholds(
                summary,
                self._batch_run.error,
                max_failed=max_failed,
                max_moderated=max_moderated,
                max_rejected=max_rejected,
                on_invalid_row=self.on_invalid_row,
                on_uncertain=self.on_uncertain,
            )
            self._batch_run.prune(summary)
            context["ti"].xcom_push(key=SUMMARY_XCOM, value=summary)
            self._emit_batch_events(context, summary, self._batch_run)
            return summary

    def plan(self, context: Context) -> BatchPlan:
        """Return the rows and the price of a run, without a submit and without any write.

        The price is what a run pays now by the price list. Not in it are further submits: a
        fallback, another image in place of a rejected one, and a submit whose answer is lost.

        :param context: context of the task, with rendered template fields.
        :return: the plan.
        :raises FluxError: if an argument is wrong, or if the rows, the journal or the previous
            manifest cannot be read.
        """
        with _temporary_folder() as folder:
            return self._new_run(context, Path(folder)).plan()

    def dry_run(self) -> None:
        """Log the plan of a run without a context: its template fields must hold no templates."""
        ti: Any = PlannedTaskInstance(self.dag_id, self.task_id)
        self.log.info("%s", self.plan({"ti": ti}).describe())

    def _new_run(self, context: Context, folder: Path) -> BatchRun:
        """Check the rendered arguments, and return a new run."""
        # It imports sqlite, aiohttp and Pillow, which parsing a DAG does not need.
        from airflow_provider_flux.batch.run import BatchRun

        plan = self._landing_plan(context, reuse=self.reuse)
        assert plan is not None  # noqa: S101 - output_path is required
        self._check_rows_differ(plan.target.path)
        if self._is_from_mapped:
            dag = context.get("dag")
            task = dag.task_dict.get(self.task_id) if dag is not None else None
            refuse_mapped_checks(self.checks, task)
        check_sibling_tasks(self.task_id, context.get("dag"))
        settings = self._settings(plan)
        self._webhook_hosts = self._webhook_hosts_in_source(context, ("defaults",))
        if isinstance(self.defaults, Mapping):
            refuse_receiver(self.defaults.get("webhook_url"))
            self.hook.check_webhook(self.defaults.get("webhook_url"))
        return BatchRun(self.hook, settings, context, plan, folder, self._monitor)

    def _emit_batch_events(
        self, context: Context, summary: Mapping[str, Any], run: BatchRun
    ) -> None:
        """Fill the extras of the asset events of the task, which declares them in ``outlets``."""
        if not self.outlets:
            return
        from airflow_provider_flux.operators import asset_events

        keys = (row["key"] for row in run.rows_with_image())
        asset_events.emit_events(
            context,
            self.outlets,
            asset_events.describe_batch(summary),
            lambda: map(asset_events.describe_row, run.rows_with_image()),
            with_prompts=self.prompt_in_events,
            partition_keys=(lambda: keys) if self.partition_by_key else None,
        )

    def _settings(self, plan: LandingPlan) -> BatchSettings:
        from airflow_provider_flux.batch.execution.inspect import CheckOptions
        from airflow_provider_flux.batch.run import BatchSettings

        max_rerolls = parse_max_rerolls(self.max_rerolls, self._checks)
        return BatchSettings(
            requests=row_source(self),
            mapping=self._input_mapping(),
            policies=replace(self._policies, max_rerolls=max_rerolls),
            max_active=self.max_active,
            model_limits=self.model_limits or {},
            max_cost=parse_max_cost(self.max_cost),
            manifest=self._manifest_uri(plan),
            ledger=self._journal_folder(plan),
            timeout=self.timeout,
            on_budget=self.on_budget,
            prune=self.prune,
            has_sheet=self.contact_sheet,
            max_rows=self._max_rows,
            checks=CheckOptions(self._checks, self.check_timeout),
            failed=rendered_failed_path(self),
            priority=self.priority,
            **self._timings,
        )

    @property
    def _max_rows(self) -> int | None:
        """The most rows whose partitions one task can emit; ``None`` without partitions."""
        if not (self.partition_by_key and self.outlets):
            return None
        from airflow_provider_flux.operators.asset_events import MAX_PARTITIONS

        return MAX_PARTITIONS

    def _manifest_uri(self, plan: LandingPlan) -> str:
        if self.manifest_path:
            return arguments.refuse_template("manifest_path", str(self.manifest_path))
        folder = fixed_folder(plan.target.path)
        index = "" if plan.task.map_index < 0 else f"-{plan.task.map_index}"
        name = f"manifest-{safe_name(self.task_id)}{index}.jsonl"
        return f"{_require_folder(folder, 'manifest_path', plan)}{name}"

    def _journal_folder(self, plan: LandingPlan) -> str:
        if self.ledger_path:
            return f"{arguments.check_rendered_ledger_path(self.ledger_path)}/"
        return f"{_require_folder(self._fixed_folder(), 'ledger_path', plan)}{LEDGER_FOLDER}"

    def on_kill(self) -> None:
        """Submit nothing more, and give active generations a moment to land.

        The journal has all of them, so a retry resumes those that do not land in time.
        """
        self._is_killed = True
        if self._batch_run:
            self.log.warning(
                "Airflow stops the task. The batch submits nothing more, and a retry resumes it."
            )
            self._batch_run.stop()


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="flux-batch-", ignore_cleanup_errors=True)


def _require_folder(folder: str, argument: str, plan: LandingPlan) -> str:
    """Return the folder that ``output_path`` begins with.

    :raises FluxRequestError: if there is none, so that an argument has to name it.
    """
    if not folder:
        raise FluxRequestError(
            f"{argument} is required, because output_path={plan.target.path!r} begins with no "
            "folder."
        )
    return folder
