"""FluxGenerateBatchOperator: many prompts, many images, one task."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_flux.batch.input.rows import InputMapping, check_mapping
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
from airflow_provider_flux.bfl.catalog import get_model
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.output_path import (
    fixed_folder_of,
    placeholders_in,
    safe_name,
    tells_apart,
)
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.target import Reuse
from airflow_provider_flux.ledger.ledger_folder import LEDGER_FOLDER
from airflow_provider_flux.ledger.resume_policy import OnUncertain
from airflow_provider_flux.media.source import hide
from airflow_provider_flux.operators import arguments
from airflow_provider_flux.operators.base import FluxLandingOperator
from airflow_provider_flux.operators.failures import fail_without_retry

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_flux.batch.run import BatchRun, BatchSettings

#: XCom key of the summary, also of a task that fails.
SUMMARY_XCOM = "flux_batch"


class FluxGenerateBatchOperator(FluxLandingOperator):
    """Generate an image for each row of a table, at the speed of the quota, and land them in object storage.

    One task and one event loop keep as many tasks active as the account may have, so that ten thousand images need no
    ten thousand Airflow tasks. It runs on the worker until all rows have been tried. What is submitted is written down
    before and after, in a journal below the beginning of ``output_path``, or in ``ledger_path``: a retry, or a clear,
    works on unfinished rows only. The arguments that say where and how images land are those of
    :class:`~airflow_provider_flux.operators.base.FluxLandingOperator`; ``output_path`` is required, and must tell
    the rows apart, by ``{key}`` say.

    Each row ends as ``landed``, ``reused``, ``moderated``, ``invalid``, ``failed``, ``uncertain`` or ``lost``; one that
    was not tried is ``pending``, one whose image was paid for and has not landed in time is ``new_generation``.

    XCom: a small dict with the number of rows by outcome, cost, times and the URI of the ``manifest``, which has a row
    for each row of the input, in its order. Also under the key ``flux_batch``, where it is left when the task fails.

    :param requests: prompts, or dicts of parameters; or the path of a ``.jsonl``, ``.csv`` or ``.parquet`` file: an
        absolute path, or a URI of ``ObjectStoragePath``. A row may also have a ``key``, a ``model``, a
        ``fallback_prompt`` and a ``fallback_model``, which are tried once when the row is moderated, or its generation
        fails. (templated)
    :param columns: column of the input by parameter, ``{"prompt": "description", "key": "sku"}``; nothing else is read
        then. By default each column is a parameter, or one of these names. (templated)
    :param defaults: parameters of all rows that do not have them. (templated)
    :param model: model of all rows that name none, ``flux-pro-1.1`` by default. (templated)
    :param max_active: how many tasks may be active at once; that of the connection by default, which is 24.
    :param model_limits: how many of a model, where the account has another limit than is usual.
    :param max_cost: most credits (1 credit = 0.01 USD) that the batch may cost over all its tries; no limit by default.
        What cannot fit is refused at once. When it is reached, what is in flight lands, and the rest is left.
        (templated)
    :param max_failed: how many rows may end as ``failed``, ``uncertain`` or ``lost`` before the task fails, decided
        when all have been tried: a number, or a share such as ``0.02`` or ``"2%"``; 0 by default. Rows that the
        service refuses as ``invalid`` count unless ``on_invalid_row`` is ``skip``. (templated)
    :param max_moderated: how many may be moderated; any number by default. (templated)
    :param on_invalid_row: ``fail`` (default) before anything is paid, naming all of them, or ``skip`` them.
    :param on_uncertain: what to do with a row when the answer to its submit was lost, so that nobody knows whether it
        was billed: ``fail`` (default) leaves it until a user clears the task, ``resubmit`` submits it again.
    :param on_change: what to do with a row that an earlier try has paid for, with other parameters: submit the ``new``
        one (default) or ``resume`` the old one.
    :param on_clear: what a cleared task does: ``resume`` (default) with unfinished rows, or pay for all as ``new``.
    :param reuse: whether an image that exists already is taken instead of paying for another: ``never`` (default),
        ``run`` or ``always``; as in :class:`~airflow_provider_flux.operators.generate.FluxGenerateOperator`.
    :param manifest_path: where to write the manifest, ``.jsonl`` or ``.parquet``; by default
        ``manifest-<task_id>.jsonl`` in the folder that ``output_path`` begins with once it is rendered. (templated)
    :param ledger_path: folder for the journal; by default ``_flux/ledger/`` below the beginning of ``output_path`` that
        has no templates. (templated)
    :param timeout: seconds from the submit of a row after which to give it up; what suits its model by default.
    :param validate: ``False`` sends models and parameters that this version does not know.
    :param flux_conn_id: connection to BFL.
    :raises FluxRequestError: when the DAG is parsed, for a mistake in a literal argument.
    """

    template_fields: Sequence[str] = (
        "requests",
        "columns",
        "defaults",
        "model",
        "max_cost",
        "max_failed",
        "max_moderated",
        "manifest_path",
        "ledger_path",
        *FluxLandingOperator.template_fields,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **FluxLandingOperator.template_fields_renderers,
        "columns": "json",
        "defaults": "json",
    }

    def __init__(
        self,
        *,
        requests: Any,
        columns: Mapping[str, str] | None = None,
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
        manifest_path: str | None = None,
        ledger_path: str | None = None,
        timeout: float | timedelta | None = None,
        validate: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.requests = requests
        self.columns, self.defaults, self.model = columns, defaults, model
        self.max_active, self.model_limits = max_active, model_limits
        self.max_cost, self.max_failed, self.max_moderated = max_cost, max_failed, max_moderated
        self.on_invalid_row, self.on_uncertain = on_invalid_row, on_uncertain
        self.on_change, self.on_clear, self.reuse = on_change, on_clear, reuse
        self.manifest_path = manifest_path
        self.ledger_path = arguments.check_ledger_path(ledger_path)
        self.timeout = (
            None if timeout is None else arguments.parse_seconds("timeout", timeout, minimum=1)
        )
        self.validate = validate
        self._session: BatchRun | None = None
        self._is_killed = False
        #: Durations of :class:`BatchSettings` that tests shorten, in seconds.
        self._timings: dict[str, float] = {}
        self._policies = RowPolicies.of(
            on_invalid_row=on_invalid_row,
            on_uncertain=on_uncertain,
            on_change=on_change,
            on_clear=on_clear,
        )
        arguments.check_reuse(reuse, self.output_path, self.sidecar)
        self._check_literals()

    def _check_literals(self) -> None:
        """Check at parse time what is known then."""
        if self.output_path is None:
            raise FluxRequestError(
                "output_path is required: the images of a batch must land somewhere."
            )
        arguments.check_count("max_active", self.max_active)
        self._check_model_limits()
        if not arguments.is_resolved_later(self.max_cost):
            parse_max_cost(self.max_cost)
        for name in ("max_failed", "max_moderated"):
            if not arguments.is_resolved_later(value := getattr(self, name)):
                RowThreshold.parse(name, value)
        if not any(map(arguments.is_resolved_later, (self.columns, self.defaults, self.model))):
            check_mapping(self._layout())
        if isinstance(self.output_path, str):
            self._check_rows_are_told_apart(self.output_path)
        if self.manifest_path is not None and not arguments.is_resolved_later(self.manifest_path):
            from airflow_provider_flux.batch.report.manifest import (
                check_manifest_path,  # sqlite: not at DAG parse time
            )

            check_manifest_path(self.manifest_path)

    def _check_model_limits(self) -> None:
        limits = self.model_limits or {}
        if not isinstance(limits, Mapping):
            raise FluxRequestError(f"model_limits is {type(limits).__name__}, not a dict.")
        for model, limit in limits.items():
            if self.validate:
                get_model(model, known_models())
            arguments.check_count(f"model_limits[{model!r}]", limit)

    def _check_rows_are_told_apart(self, path: str) -> None:
        if (
            arguments.is_template(path)
            or tells_apart(path)
            or "fingerprint" in placeholders_in(path)
        ):
            return
        raise FluxRequestError(
            f"output_path={path!r} may be the same for all rows. Add {{key}} or {{index}}."
        )

    def _check_names_of_mapped_tasks(self, context: Context, path: str, map_index: int) -> None:
        """Warn of names that other map indexes may give, too: ``{key}`` tells apart the rows of one batch."""
        is_own = placeholders_in(path) & {"request_id", "sha256"} or str(map_index) in path
        if map_index >= 0 and not is_own:
            self.log.warning(
                "output_path=%r may be the same for rows of other mapped tasks, unless their keys differ: add "
                "{{ ti.map_index }}.", path,
            )  # fmt: skip

    def _layout(self) -> InputMapping:
        return InputMapping(self.columns, self.defaults or {}, self.model, self.validate)

    @cached_property
    def hook(self) -> FluxHook:
        """The hook of the connection."""
        return FluxHook(self.flux_conn_id)

    def render_template(self, content: Any, *args: Any, **kwargs: Any) -> Any:
        """Render as Airflow does, but pass by text without a template: ten thousand rows would take ten seconds.

        Base64 is wrapped before Airflow stores the rendered fields.
        """
        if isinstance(content, str) and not arguments.is_template(content):
            return hide(content)
        return hide(super().render_template(content, *args, **kwargs))

    def execute(self, context: Context) -> dict[str, Any]:
        """Work through the rows; fail if too many have no image."""
        from airflow_provider_flux.batch.run import (
            BatchRun,  # sqlite, aiohttp, Pillow: not at DAG parse time
        )

        with (
            fail_without_retry(),
            tempfile.TemporaryDirectory(prefix="flux-batch-", ignore_cleanup_errors=True) as folder,
        ):
            plan = self._landing_plan(context, reuse=self.reuse)
            assert plan is not None  # noqa: S101 - output_path is required
            self._check_rows_are_told_apart(plan.target.path)
            max_failed = RowThreshold.parse("max_failed", self.max_failed)
            max_moderated = RowThreshold.parse("max_moderated", self.max_moderated)
            self._session = BatchRun(self.hook, self._settings(plan), context, plan, Path(folder))
            if self._is_killed:  # before there was anything to stop
                self._session.stop()
            summary = self._session.run()
            context["ti"].xcom_push(key=SUMMARY_XCOM, value=summary)
            check_thresholds(
                summary,
                self._session.error,
                max_failed=max_failed,
                max_moderated=max_moderated,
                on_invalid_row=self.on_invalid_row,
            )
            return summary

    def _settings(self, plan: LandingPlan) -> BatchSettings:
        from airflow_provider_flux.batch.run import BatchSettings

        folder = fixed_folder_of(plan.target.path)
        index = "" if plan.task.map_index < 0 else f"-{plan.task.map_index}"
        manifest = self.manifest_path or (
            folder and f"{folder}manifest-{safe_name(self.task_id)}{index}.jsonl"
        )
        ledger = (
            f"{arguments.check_ledger_path(self.ledger_path)}/"
            if self.ledger_path
            else self._ledger_root()
        )
        for name, place in (("manifest_path", manifest), ("ledger_path", ledger)):
            if not place:
                raise FluxRequestError(
                    f"{name} is needed, since output_path={plan.target.path!r} begins with no folder."
                )
        return BatchSettings(
            requests=self.requests,
            mapping=self._layout(),
            policies=self._policies,
            max_active=self.max_active,
            model_limits=self.model_limits or {},
            max_cost=parse_max_cost(self.max_cost),
            manifest=manifest,
            ledger=ledger,
            timeout=self.timeout,
            **self._timings,
        )

    def _ledger_root(self) -> str:
        return f"{root}{LEDGER_FOLDER}" if (root := self._root_of_output()) else ""

    def on_kill(self) -> None:
        """Submit nothing more. What is in flight has a moment to land, and is recorded in any case."""
        self._is_killed = True
        if self._session:
            self.log.warning(
                "Told to stop: nothing more is submitted, and a retry goes on with the rows that are left"
            )
            self._session.stop()
