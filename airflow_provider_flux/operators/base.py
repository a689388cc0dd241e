"""What the operators that land images have in common: the arguments that say where and how."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.landing.output_path import (
    check_output_path,
    fixed_folder_of,
    is_template,
    tells_apart,
)
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.provenance import identify_task
from airflow_provider_flux.landing.target import IfExists, LandingOptions, Reuse, Target
from airflow_provider_flux.operators.arguments import check_output_path_argument, is_resolved_later

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

log = logging.getLogger(__name__)


class FluxLandingOperator(BaseOperator):
    """Base of the operators that land images; not to be used by itself.

    :param output_path: where to land an image, an absolute path or any URI of ``ObjectStoragePath``:
        ``s3://my_conn@bucket/{{ ds }}/hero.{ext}``. Beside Jinja it may hold ``{key}``, ``{index}``,
        ``{model}``, ``{fingerprint}``, ``{request_id}``, ``{seed}``, ``{sha256}`` and ``{ext}``. (templated)
    :param if_exists: what to do about an object that is there already: ``overwrite`` (default), ``skip`` it,
        or raise an ``error``.
    :param sidecar: write ``<name>.json`` beside the image, which says where it came from; ``True`` by default.
    :param hide_prompt: keep only a hash of the prompt in the sidecar and the ledger; ``False`` by default.
    :param embed_metadata: write into the image that it is AI-generated; ``False`` by default, since it makes
        credentials that BFL may have embedded invalid.
    :param on_mismatch: ``warn`` (default) lands a result of another format or size than was asked for,
        since it is paid for; ``fail`` does not.
    :param cache_control: ``Cache-Control`` header of the stored image. (templated)
    :param store_options: further options of the write by the store's own names, such as
        ``{"StorageClass": "STANDARD_IA"}`` for s3. (templated)
    :raises FluxRequestError: when the DAG is parsed, for a mistake in a literal argument.
    """

    template_fields: Sequence[str] = (
        "output_path",
        "cache_control",
        "store_options",
        "flux_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"store_options": "json"}
    ui_color = "#e8e3f4"

    def __init__(
        self,
        *,
        output_path: str | ObjectStoragePath | None = None,
        if_exists: IfExists = "overwrite",
        sidecar: bool = True,
        hide_prompt: bool = False,
        embed_metadata: bool = False,
        on_mismatch: Literal["warn", "fail"] = "warn",
        cache_control: str | None = None,
        store_options: Mapping[str, Any] | None = None,
        flux_conn_id: str = "flux_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.output_path = None if output_path is None else check_output_path_argument(output_path)
        self.if_exists = if_exists
        self.sidecar = sidecar
        self.hide_prompt = hide_prompt
        self.embed_metadata = embed_metadata
        self.on_mismatch = on_mismatch
        self.cache_control = cache_control
        self.store_options = store_options
        self.flux_conn_id = flux_conn_id
        #: Folder at the beginning of ``output_path``, as it is before it is rendered.
        self._root = fixed_folder_of(self.output_path) if isinstance(self.output_path, str) else ""
        self._given_path = self.output_path
        self._check_landing()

    def _check_landing(self) -> None:
        """Check at parse time how images land; what is resolved later is checked before anything is paid."""
        given = {
            name: value for name, value in self._landing().items() if not is_resolved_later(value)
        }
        if isinstance(self.store_options, Mapping):
            literals = {
                name: value
                for name, value in self.store_options.items()
                if not is_resolved_later(value)
            }
            given["store_options"] = literals
        options = LandingOptions.of(**given)
        if isinstance(self.output_path, str) and not self.output_path.lstrip().startswith("{"):
            options.check_for(self.output_path)

    def _landing(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in LandingOptions.model_fields}

    def _root_of_output(self) -> str:
        """Return the folder at the beginning of ``output_path``, before templates and placeholders; empty if none."""
        return self._root or (
            fixed_folder_of(self.output_path) if isinstance(self.output_path, str) else ""
        )

    def _landing_plan(self, context: Context, *, reuse: Reuse = "never") -> LandingPlan | None:
        """Find a bad path, a missing connection or package before anything is paid, and return the plan.

        :raises FluxRequestError: if no image can be written there, or all map indexes would get one name.
        :raises FluxConfigurationError: if the store cannot be used.
        """
        if self.output_path is None:
            return None
        from airflow_provider_flux.object_store.filesystem import check_writable, open_path

        path = check_output_path(self.output_path)
        options = LandingOptions.of(**self._landing())
        options.check_for(path)
        task = identify_task(context["ti"])
        self._check_names_of_mapped_tasks(context, path, task.map_index)
        open_path(path)
        check_writable(path)
        target = Target(
            path=path,
            index=max(task.map_index, 0),
            key=str(task.map_index) if task.map_index >= 0 else self.task_id,
            root=self._root_of_output(),
            reuse=reuse,
            options=options,
        )
        return LandingPlan(target=target, task=task)

    def _check_names_of_mapped_tasks(self, context: Context, path: str, map_index: int) -> None:
        """Refuse one name for all map indexes: the images, each paid for, would replace each other.

        It is certain where the path is a literal in ``partial()``; where it was rendered, it is a guess.
        """
        distinct = tells_apart(path)
        if map_index < 0 or distinct:
            return
        dag = context.get("dag")
        mapped = dag.task_dict.get(self.task_id) if dag is not None else None
        # In a mapped task group the operator itself is not mapped.
        arguments = getattr(
            mapped, "partial_kwargs", {"output_path": self._given_path if mapped else None}
        )
        literal = arguments.get("output_path")
        if distinct is False and isinstance(literal, str) and not is_template(literal):
            raise FluxRequestError(
                f"output_path={path!r} is the same for all mapped tasks. Add {{index}} or {{key}}."
            )
        is_random = distinct is None and "{seed" in path and getattr(self, "seed", None) is None
        if not is_random and str(map_index) not in path:
            log.warning(
                "output_path=%r may be the same for all mapped tasks: add {index} or {key}.", path
            )
