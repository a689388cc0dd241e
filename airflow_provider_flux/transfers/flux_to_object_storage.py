"""FluxToObjectStorageOperator: land generated images in object storage."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_flux.bfl.errors import (
    FluxError,
    FluxRequestError,
    FluxTaskNotFoundError,
    error_from_dict,
)
from airflow_provider_flux.configured_models import default_timeout
from airflow_provider_flux.generation import Generation, describe_loss, parse_generations
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.output_path import placeholders_in
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.operators.arguments import parse_seconds
from airflow_provider_flux.operators.base import FluxLandingOperator
from airflow_provider_flux.operators.failures import fail_without_retry

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

#: Images of a list that are landed at once.
_PARALLEL = 8


class FluxToObjectStorageOperator(FluxLandingOperator):
    """Land the image of one generation, or of a list of them, at ``output_path``.

    A fresh result is asked for on the worker, so it does not matter how long ago the image became
    ready, as long as BFL keeps it; the bytes are checked to be the whole image and written in one
    piece. It pays for nothing: a retry is free. A generation that has landed already is copied from there.
    The arguments that say how images land are those of
    :class:`~airflow_provider_flux.operators.base.FluxLandingOperator`; ``output_path`` is required, and its
    ``{index}`` is the position in the list. The prompt is not in the XCom, so a sidecar written here has it
    only for a copy.

    XCom: the generation with ``image`` filled in; a list of them if it was given a list.

    :param generation: output of :class:`FluxGenerateOperator` (``hero.output``, also of a mapped
        task), a dict with ``request_id`` and ``polling_url``, or a list of either. (templated)
    :param flux_conn_id: connection to BFL. (templated)
    :param timeout: seconds from the start of the task to wait for a generation that is not ready yet. By
        default ten times what the model usually takes, and ten minutes at least.
    :raises FluxRequestError: when the DAG is parsed, for an ``output_path`` that cannot be one.
    """

    template_fields: Sequence[str] = ("generation", *FluxLandingOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **FluxLandingOperator.template_fields_renderers,
        "generation": "json",
    }

    def __init__(
        self,
        *,
        generation: Any,
        output_path: str | ObjectStoragePath,
        timeout: float | timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(output_path="" if output_path is None else output_path, **kwargs)
        self.generation = generation
        self.timeout = None if timeout is None else parse_seconds("timeout", timeout, minimum=1)

    def execute(self, context: Context) -> Generation | list[Generation]:
        """Land everything, then report what could not be landed."""
        with fail_without_retry():
            generations, is_list = parse_generations(self.generation)
            plan = self._landing_plan(context)
            assert plan is not None  # noqa: S101 - output_path is required
            plans = [plan]
            if is_list:
                plans = _plans_of_list(plan, len(generations))
            _check_names_differ(plans, generations)
            landed = self._land_all(plans, generations)
        return landed if is_list else landed[0]

    def _land_all(
        self, plans: list[LandingPlan], generations: list[Generation]
    ) -> list[Generation]:
        from airflow_provider_flux.landing.land import land  # Pillow: not at DAG parse time

        hook = FluxHook(self.flux_conn_id)
        _ = hook.get_conn()  # reads the connection here, once, before threads share the hook
        timeout = self.timeout or max(
            (default_timeout(one["model"]) for one in generations), default=0.0
        )
        deadline = time.time() + timeout

        def land_one(plan: LandingPlan, generation: Generation) -> Generation | FluxError:
            try:
                return land(hook, generation, plan, deadline=deadline)
            except FluxTaskNotFoundError as error:
                said = f"{error} {describe_loss(generation)}"
                return FluxTaskNotFoundError(
                    said, request_id=error.request_id, cost=generation["cost"]
                )
            except FluxError as error:  # signed URLs are dying: land the others before failing
                self.log.error("%s: %s", type(error).__name__, error)
                return error

        with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
            results = list(pool.map(land_one, plans, generations))
        return _all_or_error(results)


def _all_or_error(results: list[Generation | FluxError]) -> list[Generation]:
    errors = [result for result in results if isinstance(result, FluxError)]
    landed = [result for result in results if not isinstance(result, FluxError)]
    if not errors:
        return landed
    # One that a retry may help comes first: it decides whether Airflow retries the task.
    error = min(errors, key=lambda one: one.is_permanent)
    if len(results) == 1:
        raise error
    summary = f"{len(errors)} of {len(results)} images could not be landed. {type(error).__name__}: {error}"
    raise error_from_dict({**error.as_dict(), "message": summary})


def _plans_of_list(plan: LandingPlan, count: int) -> list[LandingPlan]:
    """Return the plan of each generation of a list; each map index of a mapped task may have a list of its own."""
    map_index = plan.task.map_index
    if map_index < 0:
        return [plan.with_target(index=n, key=str(n)) for n in range(count)]
    if not placeholders_in(plan.target.path) & {"key", "request_id", "sha256"}:
        raise FluxRequestError(
            f"output_path={plan.target.path!r}: the lists of mapped tasks would get the same names, since {{index}} is the "
            "position in the list. Add {key} or {request_id}."
        )
    return [plan.with_target(index=n, key=f"{map_index}-{n}") for n in range(count)]


def _check_names_differ(plans: list[LandingPlan], generations: list[Generation]) -> None:
    """Refuse a path under which two images of the list would overwrite each other."""
    names: dict[str, int] = {}
    for index, (plan, one) in enumerate(zip(plans, generations, strict=True)):
        first = names.setdefault(plan.target.uri_for(one, ext="ext", sha256=str(index)), index)
        if first != index:
            raise FluxRequestError(
                f"output_path={plan.target.path!r} gives generation[{first}] and generation[{index}] the same name. "
                "Add {index} or {request_id}."
            )
