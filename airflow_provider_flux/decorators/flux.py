"""``@task.flux``: a function returns the request of one image or video."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, overload

from airflow.providers.common.compat.sdk import DecoratedOperator, task_decorator_factory

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.decorators.function_task import FunctionOperator, FunctionTask
from airflow_provider_flux.operators import arguments
from airflow_provider_flux.operators.failures import fail_without_retry
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.operators.request_arguments import NAMED_PARAMETERS

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Asset, Context, ObjectStoragePath

    from airflow_provider_flux.bfl.priority import Priority
    from airflow_provider_flux.generation import Generation
    from airflow_provider_flux.landing.rendition_options import RenditionSpec
    from airflow_provider_flux.landing.target import IfExists, Reuse
    from airflow_provider_flux.ledger.resume_policy import OnChange, OnClear, OnUncertain

#: What the function of ``@task.flux`` returns: a prompt, or a dict of parameters.
FluxRequest: TypeAlias = str | Mapping[str, Any]
FluxFunction: TypeAlias = Callable[..., FluxRequest] | Callable[..., Awaitable[FluxRequest]]


class FluxDecoratedOperator(FunctionOperator, FluxGenerateOperator):
    """Call a function, and generate the image of the request that it returns.

    :param python_callable: the function. It returns a prompt, or a dict of parameters by the names
        of BFL, which may have a ``model``. Its parameters take precedence over arguments of the
        decorator.
    :param op_args: positional arguments of the function. (templated)
    :param op_kwargs: keyword arguments of the function. (templated)
    :param kwargs: arguments of
        :class:`~airflow_provider_flux.operators.generate.FluxGenerateOperator`.
    :raises FluxRequestError: when the DAG is parsed, if a literal argument is wrong.
    """

    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *FluxGenerateOperator.template_fields,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **DecoratedOperator.template_fields_renderers,
        **FluxGenerateOperator.template_fields_renderers,
    }
    custom_operator_name = "@task.flux"
    has_whole_request = False

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, **kwargs
        )

    def execute(self, context: Context) -> Generation:
        """Call the function, submit the request that it returns, and land the image.

        :param context: context of the task.
        :return: the generation.
        :raises AirflowFailException: for errors that a retry must not follow.
        :raises FluxError: for errors that a retry may help.
        """
        self._call(context)
        return super().execute(context)  # type: ignore[no-any-return]

    def execute_after_claim(
        self, context: Context, event: Any = None, claim_deadline: Any = None
    ) -> Generation:
        """Call the function again after the wait for the image of another task, and go on.

        :param context: context of the task.
        :param event: event of the trigger, whose content does not matter.
        :param claim_deadline: epoch seconds at which the task stops waiting.
        :return: the generation.
        :raises AirflowFailException: for errors that a retry must not follow.
        :raises FluxError: for errors that a retry may help.
        """
        self._call(context)
        return super().execute_after_claim(context, event, claim_deadline)

    def _call(self, context: Context) -> None:
        """Call the function, and set the parameters of the request that it returns."""
        with fail_without_retry(self):
            self._use_request(self._check_request(self.call_function(context)))

    def _check_request(self, returned: Any) -> dict[str, Any]:
        """Return the parameters of the request, without those that are ``None``."""
        returns = f"The function {self.function_name!r} of @task.flux returned"
        if isinstance(returned, str):
            if not returned.strip():
                raise FluxRequestError(f"{returns} an empty prompt. Return a text.")
            return {"prompt": returned}
        if not isinstance(returned, Mapping):
            raise FluxRequestError(
                f"{returns} {_describe_type(returned)}. Return a prompt, or a dict of parameters."
            )
        for name in returned:
            if not isinstance(name, str):
                raise FluxRequestError(f"{returns} a dict with the key {name!r}, which is no text.")
        request = {name: value for name, value in returned.items() if value is not None}
        if not isinstance(request.get("model", ""), str):
            raise FluxRequestError(
                f"{returns} model={request['model']!r}. Return the name of a model, or no model."
            )
        return request

    def _use_request(self, request: dict[str, Any]) -> None:
        """Set the parameters of a request in place of those of the decorator."""
        self.model = request.pop("model", self.model)
        self._resolved_later -= request.keys()
        others = arguments.merge_parameters({}, self.parameters)
        for name, value in request.items():
            if name in NAMED_PARAMETERS:
                setattr(self, name, value)
                others.pop(name, None)
            else:
                others[name] = value
        self.parameters = arguments.hide_inputs(self.model, others)
        if "webhook_secret" in request:
            self._secret = None
        self._set_defaults()


@overload
def flux_task(python_callable: FluxFunction) -> FunctionTask: ...


@overload
def flux_task(
    *,
    task_id: str = ...,
    prompt: str | None = ...,
    model: str = ...,
    width: int | str | None = ...,
    height: int | str | None = ...,
    prompt_upsampling: bool | str | None = ...,
    seed: int | str | None = ...,
    safety_tolerance: int | str | None = ...,
    output_format: str | None = ...,
    webhook_url: str | None = ...,
    webhook_secret: str | None = ...,
    parameters: Mapping[str, Any] | None = ...,
    output_path: str | ObjectStoragePath | None = ...,
    if_exists: IfExists = ...,
    sidecar: bool = ...,
    hide_prompt: bool = ...,
    embed_metadata: bool = ...,
    on_mismatch: Literal["warn", "fail"] = ...,
    cache_control: str | None = ...,
    store_options: Mapping[str, Any] | None = ...,
    renditions: Mapping[str, RenditionSpec] | None = ...,
    prompt_in_events: bool = ...,
    reuse: Reuse = ...,
    ledger_path: str | None = ...,
    on_uncertain: OnUncertain = ...,
    on_change: OnChange = ...,
    on_clear: OnClear = ...,
    flux_conn_id: str = ...,
    inline_wait: float | timedelta = ...,
    deferrable: bool = ...,
    poll_interval: float | timedelta = ...,
    timeout: float | timedelta | None = ...,
    wait: bool = ...,
    ready_asset: Asset | None = ...,
    partition_key: str | None = ...,
    priority: Priority = ...,
    validate: bool = ...,
    multiple_outputs: bool = ...,
    **kwargs: Any,
) -> Callable[[FluxFunction], FunctionTask]: ...


def flux_task(
    python_callable: FluxFunction | None = None, *, multiple_outputs: bool = False, **kwargs: Any
) -> Any:
    """Make a function a task that generates one image or video: ``@task.flux``, for type checkers.

    The function returns a prompt, or a dict of parameters by the names of BFL, which may have a
    ``model``. It runs again in each try, and what it returns decides whether the try resumes the
    generation of an earlier one. It does not run again after a deferral, unless the task waited for
    another task to generate the same image (``reuse``). What it returns is data: no template in it
    is rendered.

    :param python_callable: the function, which may be asynchronous.
    :param multiple_outputs: push each member of the generation as an XCom of its own, so that
        ``my_task()["image"]`` works. Default ``False``.
    :param kwargs: arguments of
        :class:`~airflow_provider_flux.operators.generate.FluxGenerateOperator`. The parameters that
        the function returns take precedence.
    :return: the decorated function, or a decorator.
    """
    return task_decorator_factory(
        python_callable=python_callable,
        # Airflow infers it from the return type of the function, which is not that of the task.
        multiple_outputs=multiple_outputs,
        decorated_operator_class=FluxDecoratedOperator,
        **kwargs,
    )


def _describe_type(value: Any) -> str:
    return "nothing" if value is None else f"a value of type {type(value).__name__}"
