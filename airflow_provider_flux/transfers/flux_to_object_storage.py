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
from airflow_provider_flux.generation import Generation, describe_loss
from airflow_provider_flux.generation_input import parse_generations
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.output_path import placeholders_in
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.observability.generation_events import observe_landing
from airflow_provider_flux.observability.task_files import TaskFiles
from airflow_provider_flux.operators.arguments import parse_seconds
from airflow_provider_flux.operators.base import FluxLandingOperator
from airflow_provider_flux.operators.failures import fail_without_retry

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

#: Images of a list that the task lands at the same time.
_MAX_PARALLEL = 8


class FluxToObjectStorageOperator(FluxLandingOperator):
    """Land the image of one generation, or of each generation of a list, at ``output_path``.

    The worker asks BFL for a fresh result, so the age of the generation does not matter as long as
    BFL keeps the image. It checks that the image is whole, and writes it in one piece. It submits
    nothing, so a retry is free. An image that has landed already is copied.

    The arguments for how images land are those of
    :class:`~airflow_provider_flux.operators.base.FluxLandingOperator`. ``output_path`` is required.
    Its ``{index}`` is the position in the list. A generation holds no prompt, so the sidecar has
    the prompt only if the image is a copy.

    The XCom is the generation with ``image`` or ``video`` set; for a list, it is a list of them.

    :param generation: output of :class:`FluxGenerateOperator` (``hero.output``, also of a mapped
        task), a dict with ``request_id`` and ``polling_url``, or a list of either. (templated)
    :param output_path: path to land the images at. (templated)
    :param timeout: seconds, or a ``timedelta``, from the start of the task to wait for a generation
        that is not ready. Default: ten times the usual duration of the model, and at least ten
        minutes.
    :param flux_conn_id: id of the connection to BFL. Default ``flux_default``. (templated)
    :raises FluxRequestError: when the DAG is parsed, if a literal argument is wrong.
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
        """Land every image, then raise an error if some could not be landed.

        :param context: context of the task.
        :return: the generation with its image, or a list of them.
        :raises AirflowFailException: for errors that a retry cannot help.
        :raises FluxError: for errors that a retry may help.
        """
        self.task_files = TaskFiles()
        with fail_without_retry(self):
            generations, is_list = parse_generations(self.generation)
            plan = self._landing_plan(context)
            assert plan is not None  # noqa: S101 - output_path is required
            plans = _plans_of_list(plan, len(generations)) if is_list else [plan]
            _check_names_differ(plans, generations)
            self._add_inputs(generations)
            landed = self._land_all(plans, generations)
        returned = landed if is_list else landed[0]
        self._add_landed(landed, is_list)
        self._emit_image_events(context, returned)
        return returned

    def _add_inputs(self, generations: list[Generation]) -> None:
        """Remember the images that are copied, for lineage."""
        for generation in generations:
            if earlier := generation["image"] or generation["video"]:
                self.task_files.inputs.add(earlier["uri"])

    def _add_landed(self, generations: list[Generation], is_list: bool) -> None:
        """Remember the landed images for links and lineage."""
        self.task_files.add_landed(generations)
        if not is_list:
            self.task_files.request_id = generations[0]["request_id"] or None

    def _land_all(
        self, plans: list[LandingPlan], generations: list[Generation]
    ) -> list[Generation]:
        from airflow_provider_flux.landing.land import land  # Pillow: not at DAG parse time

        hook = FluxHook(self.flux_conn_id)
        _ = hook.get_conn()  # reads the connection once, before threads share the hook
        deadline = time.time() + self._timeout_for(generations)

        def try_to_land(plan: LandingPlan, generation: Generation) -> Generation | FluxError:
            try:
                with observe_landing(generation):
                    return land(hook, generation, plan, deadline=deadline)
            except FluxTaskNotFoundError as error:
                return FluxTaskNotFoundError(
                    f"{error} {describe_loss(generation)}",
                    request_id=error.request_id,
                    cost=generation["cost"],
                )
            except FluxError as error:  # signed URLs expire, so land the others first
                self.log.error("%s: %s", type(error).__name__, error)
                return error

        with ThreadPoolExecutor(max_workers=_MAX_PARALLEL) as pool:
            outcomes = list(pool.map(try_to_land, plans, generations))
        return _all_or_error(outcomes)

    def _timeout_for(self, generations: list[Generation]) -> float:
        """Return the seconds to wait for the slowest model."""
        if self.timeout is not None:
            return self.timeout
        return max(
            (default_timeout(generation["model"]) for generation in generations), default=0.0
        )


def _all_or_error(outcomes: list[Generation | FluxError]) -> list[Generation]:
    """Return the generations, or raise one of the errors.

    An error that a retry may help decides over others whether Airflow retries the task.
    """
    errors = [outcome for outcome in outcomes if isinstance(outcome, FluxError)]
    if not errors:
        return [outcome for outcome in outcomes if not isinstance(outcome, FluxError)]
    error = min(errors, key=lambda error: error.is_permanent)
    if len(outcomes) == 1:
        raise error
    count = f"{len(errors)} of {len(outcomes)} images could not be landed."
    message = f"{count} {type(error).__name__}: {error}"
    raise error_from_dict({**error.as_dict(), "message": message})


def _plans_of_list(plan: LandingPlan, count: int) -> list[LandingPlan]:
    """Return the plan of each generation of a list. Each map index may have a list of its own."""
    map_index = plan.task.map_index
    if map_index < 0:
        return [plan.with_target(index=n, key=str(n)) for n in range(count)]
    path = plan.target.path
    if not placeholders_in(path) & {"key", "request_id", "sha256"}:
        raise FluxRequestError(
            f"output_path={path!r} gives the lists of mapped tasks the same names, because "
            "{index} is the position in the list. Add {key} or {request_id}."
        )
    return [plan.with_target(index=n, key=f"{map_index}-{n}") for n in range(count)]


def _check_names_differ(plans: list[LandingPlan], generations: list[Generation]) -> None:
    """Refuse a path by which two images of a list would overwrite each other."""
    positions: dict[str, int] = {}
    for index, (plan, generation) in enumerate(zip(plans, generations, strict=True)):
        uri = plan.target.uri_for(generation, ext="ext", sha256=str(index))
        first = positions.setdefault(uri, index)
        if first != index:
            raise FluxRequestError(
                f"output_path={plan.target.path!r} gives generation[{first}] and "
                f"generation[{index}] the same name. Add {{index}} or {{request_id}}."
            )
    if len(plans) > 1:
        _check_renditions_differ(plans, generations)


def _check_renditions_differ(plans: list[LandingPlan], generations: list[Generation]) -> None:
    """Refuse renditions that would replace those of another image of a list, or that image."""
    owners: dict[str, int] = {}
    for index, (plan, generation) in enumerate(zip(plans, generations, strict=True)):
        for ext in ("jpeg", "png", "webp"):
            image = plan.target.uri_for(generation, ext=ext, sha256=str(index))
            uris = {
                options.uri_for(image, name, ext)
                for name, options in plan.target.options.renditions.items()
            }
            for uri in (image, *uris):
                if owners.setdefault(uri, index) != index:
                    raise FluxRequestError(
                        f"The renditions of generation[{owners[uri]}] and generation[{index}] get "
                        f"the same name {uri!r}. Add {{stem}} and {{name}} to their paths."
                    )
