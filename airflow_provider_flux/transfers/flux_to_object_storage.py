"""FluxToObjectStorageOperator: land generated images in object storage."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_flux.arguments import seconds, settle_output_path
from airflow_provider_flux.bfl.errors import FluxError, FluxRequestError, error_from_dict
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.patience import default_timeout
from airflow_provider_flux.retries import failing_for_good
from airflow_provider_flux.storage.naming import check_output_path, expand
from airflow_provider_flux.xcom import Generation, read_generations

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

#: Images of a list that are landed at once.
_PARALLEL = 8


class FluxToObjectStorageOperator(BaseOperator):
    """Land the image of one generation, or of a list of them, at ``output_path``.

    A fresh result is asked for on the worker, so it does not matter how long ago the image became
    ready, as long as BFL keeps it; the bytes are checked to be the whole image and written in one
    piece. It pays for nothing: a retry is free.

    XCom: the generation with ``image`` filled in; a list of them if it was given a list.

    :param generation: output of :class:`FluxGenerateOperator` (``hero.output``, also of a mapped
        task), a dict with ``request_id`` and ``polling_url``, or a list of either. (templated)
    :param output_path: an absolute path or any URI of ``ObjectStoragePath``, for example
        ``s3://my_conn@bucket/{{ ds }}/{index:04d}-{request_id}.{ext}``. Beside Jinja it may hold
        ``{ext}``, ``{request_id}``, ``{seed}`` and ``{index}`` (position in the list). (templated)
    :param flux_conn_id: connection to BFL. (templated)
    :param timeout: seconds from the start of the task to wait for a generation that is not ready yet. By
        default ten times what the model usually takes, and ten minutes at least.
    :raises FluxRequestError: when the DAG is parsed, for an ``output_path`` that cannot be one.
    """

    template_fields: Sequence[str] = ("generation", "output_path", "flux_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"generation": "json"}
    ui_color = "#e8e3f4"

    def __init__(
        self,
        *,
        generation: Any,
        output_path: str | ObjectStoragePath,
        flux_conn_id: str = FluxHook.default_conn_name,
        timeout: float | timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.generation = generation
        self.output_path = settle_output_path(output_path)
        self.flux_conn_id = flux_conn_id
        self.timeout = None if timeout is None else seconds("timeout", timeout, minimum=1)

    def execute(self, context: Context) -> Generation | list[Generation]:
        """Land everything, then report what could not be landed."""
        with failing_for_good():
            generations, is_list = read_generations(self.generation)
            path = check_output_path(self.output_path)
            _check_names_differ(path, generations)
            landed = self._land_all(path, generations)
        return landed if is_list else landed[0]

    def _land_all(self, path: str, generations: list[Generation]) -> list[Generation]:
        from airflow_provider_flux.storage.landing import land  # Pillow: not at DAG parse time
        from airflow_provider_flux.stores import open_path

        open_path(path)
        hook = FluxHook(self.flux_conn_id)
        _ = hook.get_conn()  # reads the connection here, once, before threads share the hook
        timeout = self.timeout or max((default_timeout(one["model"]) for one in generations), default=0.0)
        deadline = time.time() + timeout

        def land_one(index: int, generation: Generation) -> Generation | FluxError:
            try:
                return land(hook, generation, path, index=index, deadline=deadline)
            except FluxError as error:  # signed URLs are dying: land the others before failing
                self.log.error("%s: %s", type(error).__name__, error)
                return error

        with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
            results = list(pool.map(land_one, range(len(generations)), generations))
        return _all_or_error(results)


def _all_or_error(results: list[Generation | FluxError]) -> list[Generation]:
    errors = [result for result in results if isinstance(result, FluxError)]
    landed = [result for result in results if not isinstance(result, FluxError)]
    if not errors:
        return landed
    # One that a retry may help comes first: it decides whether Airflow retries the task.
    error = min(errors, key=lambda one: one.permanent)
    if len(results) == 1:
        raise error
    summary = f"{len(errors)} of {len(results)} images could not be landed. {type(error).__name__}: {error}"
    raise error_from_dict({**error.as_dict(), "message": summary})


def _check_names_differ(path: str, generations: list[Generation]) -> None:
    """Refuse a path under which two images of the list would overwrite each other."""
    names: dict[str, int] = {}
    for index, one in enumerate(generations):
        name = expand(path, ext="ext", request_id=one["request_id"], seed=one["seed"], index=index)
        first = names.setdefault(name, index)
        if first != index:
            raise FluxRequestError(
                f"output_path={path!r} gives generation[{first}] and generation[{index}] the same name. "
                "Add {index} or {request_id}."
            )
