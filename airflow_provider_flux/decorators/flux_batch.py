"""``@task.flux_batch``: a function returns the rows of a batch."""

from __future__ import annotations

from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from datetime import timedelta
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, overload

from airflow.providers.common.compat.sdk import DecoratedOperator, task_decorator_factory

from airflow_provider_flux.batch.input.sources import check_source
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.decorators.function_task import (
    FunctionOperator,
    FunctionTask,
    iterate_async,
)
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.failures import fail_without_retry
from airflow_provider_flux.operators.row_source import SQL_FIELDS

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

    from airflow_provider_flux.batch.plan import BatchPlan
    from airflow_provider_flux.batch.row_policy import OnBatchClear, OnInvalidRow, OnRowChange
    from airflow_provider_flux.batch.survey import OnBudget, Prune
    from airflow_provider_flux.bfl.priority import Priority
    from airflow_provider_flux.landing.rendition_options import RenditionSpec
    from airflow_provider_flux.landing.target import IfExists, Reuse
    from airflow_provider_flux.ledger.resume_policy import OnUncertain

#: Arguments that name the rows of the operator. Here the function returns them.
_ROWS_OF_FUNCTION = ("requests", *SQL_FIELDS)
#: A row: a prompt, a dict of parameters, or a list of values by position.
FluxRow: TypeAlias = str | Mapping[str, Any] | Sequence[Any]
#: What the function of ``@task.flux_batch`` returns: rows, or the path of a file of rows.
FluxRows: TypeAlias = Iterable[FluxRow] | PathLike[str]
FluxBatchFunction: TypeAlias = (
    Callable[..., FluxRows]
    | Callable[..., Awaitable[FluxRows]]
    | Callable[..., AsyncIterable[FluxRow]]
)


class FluxBatchDecoratedOperator(FunctionOperator, FluxGenerateBatchOperator):
    """Call a function, and generate an image for each row that it returns.

    :param python_callable: the function. It returns a list of rows, the path of a file of rows, or
        it yields rows.
    :param op_args: positional arguments of the function. (templated)
    :param op_kwargs: keyword arguments of the function. (templated)
    :param kwargs: arguments of
        :class:`~airflow_provider_flux.operators.batch.FluxGenerateBatchOperator`, without
        ``requests``, ``sql``, ``sql_conn_id`` and ``sql_parameters``.
    :raises FluxRequestError: when the DAG is parsed, if a literal argument is wrong.
    """

    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *(
            name
            for name in FluxGenerateBatchOperator.template_fields
            if name not in _ROWS_OF_FUNCTION
        ),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **DecoratedOperator.template_fields_renderers,
        **FluxGenerateBatchOperator.template_fields_renderers,
    }
    custom_operator_name = "@task.flux_batch"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if named := [name for name in _ROWS_OF_FUNCTION if name in kwargs]:
            raise FluxRequestError(
                f"{named[0]} is no argument of @task.flux_batch. Return the rows from the function."
            )
        super().__init__(
            python_callable=python_callable,
            op_args=op_args,
            op_kwargs=op_kwargs,
            requests=(),
            **kwargs,
        )

    def execute(self, context: Context) -> dict[str, Any]:
        """Call the function, and try all rows that it returns.

        :param context: context of the task.
        :return: the summary.
        :raises FluxError: for errors that a retry may help.
        :raises AirflowFailException: for errors that a retry cannot help.
        """
        with fail_without_retry(self):
            self._call_for_requests(context)
        return super().execute(context)  # type: ignore[no-any-return]

    def plan(self, context: Context) -> BatchPlan:
        """Call the function, and return what a run over its rows would pay.

        :param context: context of the task, with rendered template fields.
        :return: the plan.
        :raises FluxError: if the rows, the journal or the previous manifest cannot be read.
        """
        self._call_for_requests(context)
        return super().plan(context)

    def _call_for_requests(self, context: Context) -> None:
        rows = self.call_function(context)
        if isinstance(rows, AsyncIterable):
            rows = iterate_async(rows)
        name = f"The value that the function {self.function_name!r} returned"
        self.requests = check_source(rows, name)


@overload
def flux_batch_task(python_callable: FluxBatchFunction) -> FunctionTask: ...


@overload
def flux_batch_task(
    *,
    output_path: str | ObjectStoragePath,
    task_id: str = ...,
    columns: Mapping[str, str | int] | None = ...,
    defaults: Mapping[str, Any] | None = ...,
    model: str = ...,
    max_active: int | None = ...,
    model_limits: Mapping[str, int] | None = ...,
    max_cost: float | str | None = ...,
    max_failed: float | str | None = ...,
    max_moderated: float | str | None = ...,
    on_invalid_row: OnInvalidRow = ...,
    on_uncertain: OnUncertain = ...,
    on_change: OnRowChange = ...,
    on_clear: OnBatchClear = ...,
    reuse: Reuse = ...,
    manifest_path: str | PathLike[str] | None = ...,
    contact_sheet: bool = ...,
    ledger_path: str | None = ...,
    partition_by_key: bool = ...,
    timeout: float | timedelta | None = ...,
    checks: Sequence[str | Mapping[str, Any]] | None = ...,
    max_rerolls: int | str = ...,
    max_rejected: float | str | None = ...,
    check_timeout: float | timedelta = ...,
    prune: Prune = ...,
    on_budget: OnBudget = ...,
    prompt: str | None = ...,
    keep_columns: Literal["all"] | Sequence[str] = ...,
    matrix: Mapping[str, Sequence[Any]] | None = ...,
    seed: int | str | None = ...,
    validate: bool = ...,
    keep_null_text: bool = ...,
    column_names: Sequence[str] | None = ...,
    failed_path: str | PathLike[str] | None = ...,
    priority: Priority = ...,
    if_exists: IfExists = ...,
    sidecar: bool = ...,
    hide_prompt: bool = ...,
    embed_metadata: bool = ...,
    on_mismatch: Literal["warn", "fail"] = ...,
    cache_control: str | None = ...,
    store_options: Mapping[str, Any] | None = ...,
    renditions: Mapping[str, RenditionSpec] | None = ...,
    prompt_in_events: bool = ...,
    flux_conn_id: str = ...,
    multiple_outputs: bool = ...,
    **kwargs: Any,
) -> Callable[[FluxBatchFunction], FunctionTask]: ...


def flux_batch_task(
    python_callable: FluxBatchFunction | None = None,
    *,
    multiple_outputs: bool = False,
    **kwargs: Any,
) -> Any:
    """Make a function a task that generates images for rows: ``@task.flux_batch``, for checkers.

    The function returns a list of rows, the path of a file of rows, or it yields rows. Rows that it
    yields are never in memory together. It runs again in each try, and each row resumes the
    generation that an earlier try submitted for its key. What it returns is data: no template in it
    is rendered.

    :param python_callable: the function, which may be asynchronous.
    :param multiple_outputs: push each member of the summary as an XCom of its own, so that
        ``my_task()["manifest"]`` works. Default ``False``.
    :param kwargs: arguments of
        :class:`~airflow_provider_flux.operators.batch.FluxGenerateBatchOperator`, without
        ``requests``, ``sql``, ``sql_conn_id`` and ``sql_parameters``. ``output_path`` is required.
    :return: the decorated function, or a decorator.
    """
    return task_decorator_factory(
        python_callable=python_callable,
        # Airflow infers it from the return type of the function, which is not that of the task.
        multiple_outputs=multiple_outputs,
        decorated_operator_class=FluxBatchDecoratedOperator,
        **kwargs,
    )
