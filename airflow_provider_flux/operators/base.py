"""Base class of the operators that land images: the arguments for where and how to land them."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.inputs import is_path
from airflow_provider_flux.compat import is_from_mapped
from airflow_provider_flux.landing.output_path import (
    check_output_path,
    fixed_folder,
    has_distinct_names,
    has_jinja,
)
from airflow_provider_flux.landing.rendition_options import find_shared_path
from airflow_provider_flux.landing.target import IfExists, LandingOptions, Reuse, Target
from airflow_provider_flux.links.gallery import GalleryLink
from airflow_provider_flux.links.object_store import LandedImageLink
from airflow_provider_flux.observability.task_files import TaskFiles
from airflow_provider_flux.operators import arguments
from airflow_provider_flux.operators.templates import TextTemplatesOperator
from airflow_provider_flux.policies.task_policy import add_retry_policy

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperatorLink, Context, ObjectStoragePath
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_flux.generation import Generation
    from airflow_provider_flux.landing.plan import LandingPlan
    from airflow_provider_flux.landing.rendition_options import RenditionSpec

log = logging.getLogger(__name__)


class FluxLandingOperator(TextTemplatesOperator):
    """Base class of the operators that land images. Do not use it by itself.

    :param output_path: path to land an image at: an absolute path, or a URI that
        ``ObjectStoragePath`` supports, for example ``s3://my_conn@bucket/{{ ds }}/hero.{ext}``. It
        may hold Jinja, and the placeholders ``{key}``, ``{index}``, ``{model}``,
        ``{fingerprint}``, ``{request_id}``, ``{seed}``, ``{sha256}`` and ``{ext}``. (templated)
    :param if_exists: action for an object that exists at that path: ``overwrite`` it (default),
        ``skip`` it, or raise an ``error``.
    :param sidecar: write ``<name>.json``, which records the origin of the image, beside it. Default
        ``True``.
    :param hide_prompt: keep a hash in place of the prompt in the sidecar and in the ledger. Default
        ``False``.
    :param embed_metadata: write into the image that a model generated it. Default ``False``,
        because this invalidates content credentials that BFL may have embedded.
    :param on_mismatch: action for a result whose format or size differs from the request: ``warn``
        and land it (default), because BFL bills it, or ``fail``.
    :param cache_control: ``Cache-Control`` header of the stored image. (templated)
    :param store_options: further options of the write, by the names of the store, for example
        ``{"StorageClass": "STANDARD_IA"}`` for S3. (templated)
    :param renditions: dict of smaller or cropped copies of the image by name, each a
        :class:`~airflow_provider_flux.landing.rendition_options.RenditionSpec`, for example
        ``{"square": {"width": 1080, "height": 1080, "fit": "crop"}}``. Default: a ``thumb`` of 320
        pixels in width, as webp. ``{}`` writes none. Videos have none. (templated)
    :param prompt_in_events: put the prompt of the sidecar into the asset events of the images.
        Default ``False``.
    :param flux_conn_id: id of the connection to BFL. Default ``flux_default``. (templated)
    :raises FluxRequestError: when the DAG is parsed, if a literal argument is wrong.
    """

    template_fields: Sequence[str] = (
        "output_path",
        "cache_control",
        "store_options",
        "renditions",
        "flux_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "store_options": "json",
        "renditions": "json",
    }
    text_fields: ClassVar[frozenset[str]] = frozenset(
        {"output_path", "cache_control", "flux_conn_id"}
    )
    ui_color = "#e8e3f4"
    operator_extra_links: Sequence[BaseOperatorLink] = (GalleryLink(), LandedImageLink())
    #: Source of ``{key}`` in an operator that submits; ``None`` if it submits nothing.
    key_source: ClassVar[Literal["task", "rows"] | None] = None

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
        renditions: Mapping[str, RenditionSpec] | None = None,
        prompt_in_events: bool = False,
        flux_conn_id: str = "flux_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        add_retry_policy(self)
        checked = (
            None
            if output_path is None
            else arguments.check_output_path_argument(output_path, self._path_columns())
        )
        self._is_from_mapped = is_from_mapped(self)
        #: Hosts of webhooks that the DAG file names, to which the secret of the connection may go.
        self._webhook_hosts: tuple[str, ...] = ()
        self.output_path = output_path if self._is_from_mapped else checked
        self.if_exists = if_exists
        self.sidecar = sidecar
        self.hide_prompt = hide_prompt
        self.embed_metadata = embed_metadata
        self.on_mismatch = on_mismatch
        self.cache_control = cache_control
        self.store_options = store_options
        self.renditions = renditions
        self.prompt_in_events = prompt_in_events
        self.flux_conn_id = flux_conn_id
        #: ``output_path`` before Airflow renders it, and the fixed folder that it begins with.
        self._unrendered_output_path = checked
        self._root = fixed_folder(checked) if isinstance(checked, str) else ""
        #: Files of this phase of the task, for links and lineage.
        self.task_files = TaskFiles()
        self._check_landing_options()
        arguments.check_prompt_in_events(prompt_in_events, sidecar, hide_prompt)

    def _path_columns(self) -> Collection[str] | None:
        """Return the columns of a batch that are placeholders of ``output_path``.

        ``None`` stands for any name. ``__init__`` calls it before it has set other attributes.
        """
        return ()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return the datasets that the task read and wrote, for the OpenLineage provider.

        :param task_instance: the task instance; not needed.
        """
        from airflow_provider_flux.observability.lineage import build_lineage

        return build_lineage(self.task_files)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return the datasets that the failed task read, and those that it wrote until then.

        :param task_instance: the task instance; not needed.
        """
        return self.get_openlineage_facets_on_complete(task_instance)

    @property
    def _draws_seeds(self) -> bool:
        """Whether each image gets a random seed, so that ``{seed}`` tells images apart."""
        return True

    def _webhook_hosts_in_source(self, context: Context, names: Sequence[str]) -> tuple[str, ...]:
        """Return the hosts of webhooks that the DAG file names.

        The arguments of a mapped task may be data, so only those of ``partial()`` count.

        :param context: context of the task.
        :param names: arguments that are, or may hold, the URL of a webhook.
        """
        if not self._is_from_mapped:
            return self._webhook_hosts
        dag = context.get("dag")
        task = dag.task_dict.get(self.task_id) if dag is not None else None
        supplied = getattr(task, "partial_kwargs", {})
        return arguments.find_webhook_hosts(*map(supplied.get, names))

    def _check_landing_options(self) -> None:
        """Check literal arguments at parse time; others are checked before the submit."""
        literals = {
            name: value
            for name, value in self._landing_options().items()
            if not arguments.is_resolved_later(value)
        }
        for name in ("store_options", "renditions"):
            if isinstance(members := getattr(self, name), Mapping):
                literals[name] = {
                    member: value
                    for member, value in members.items()
                    if not arguments.is_resolved_later(value)
                }
        options = LandingOptions.parse(**literals)
        path = self._unrendered_output_path
        if isinstance(path, str) and not path.lstrip().startswith("{"):
            options.check_store_options(path)
            options.check_rendition_paths(path)

    def _landing_options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in LandingOptions.model_fields}

    def _fixed_folder(self) -> str:
        """Return the folder that ``output_path`` begins with before any template or placeholder.

        An ``output_path`` that begins with a template has none. Then the folder of the rendered
        path counts. It is empty if there is neither.
        """
        if self._root or not (isinstance(self.output_path, str) or is_path(self.output_path)):
            return self._root
        return fixed_folder(str(self.output_path))

    def _landing_plan(self, context: Context, *, reuse: Reuse = "never") -> LandingPlan | None:
        """Check that the task can land an image, and return its plan; ``None`` without a path.

        :param context: context of the task.
        :param reuse: whether to look for existing images.
        :raises FluxRequestError: if an argument is wrong, or all map indexes would get one name.
        :raises FluxConfigurationError: if the store cannot be used, for example because its
            connection or its package is missing.
        """
        if self.output_path is None:
            return None
        from airflow_provider_flux.landing.plan import LandingPlan
        from airflow_provider_flux.landing.provenance import identify_task
        from airflow_provider_flux.object_store.filesystem import check_writable, open_path

        path = check_output_path(self.output_path, self._path_columns())
        arguments.refuse_template("output_path", path)
        options = LandingOptions.parse(**self._landing_options())
        options.check_store_options(path)
        options.check_rendition_paths(path)
        task = identify_task(context["ti"])
        if task.map_index >= 0:
            self._check_names_of_mapped_tasks(context, path, task.map_index)
            self._warn_of_shared_renditions(options, path, task.map_index)
        target = Target(
            path=path,
            index=max(task.map_index, 0),
            key=str(task.map_index) if task.map_index >= 0 else self.task_id,
            root=self._fixed_folder(),
            reuse=reuse,
            options=options,
        )
        self._check_names(target)
        open_path(path)
        check_writable(path)
        self.task_files.folder = fixed_folder(path) or None
        return LandingPlan(target=target, task=task)

    def _check_names(self, target: Target) -> None:
        """Check that the names of the image can be written."""
        from airflow_provider_flux.landing.image_names import check_names

        check_names(target, getattr(self, "model", None))

    def _prove_writable(self, plan: LandingPlan | None, ledger: str | None) -> None:
        """Prove before the submit that the image can be written.

        :param plan: how the image lands; ``None`` without a path.
        :param ledger: folder of the ledger; ``None`` if its records are no files.
        :raises FluxStorageError: if the store refuses the write, or does not answer.
        """
        if plan is not None:
            from airflow_provider_flux.object_store.write_probe import prove_writable

            target = plan.target
            options = target.companion_write_options("text/plain")
            prove_writable(target.path, root=target.root, ledger=ledger, write_options=options)

    def _check_names_of_mapped_tasks(self, context: Context, path: str, map_index: int) -> None:
        """Refuse a path that gives the images of all map indexes one name; warn if it may.

        The images would replace each other, and BFL bills each of them.
        """
        is_distinct = has_distinct_names(path)
        if is_distinct:
            return
        literal = self._literal_argument(context, "output_path")
        if is_distinct is False and literal is not None:
            raise FluxRequestError(
                f"output_path={path!r} is the same for all mapped tasks. Add {{index}} or {{key}}."
            )
        has_random_seed = is_distinct is None and "{seed" in path and self._draws_seeds
        if not has_random_seed and str(map_index) not in path:
            log.warning(
                "output_path=%r may be the same for all mapped tasks. Add {index} or {key}.", path
            )

    def _warn_of_shared_renditions(
        self, options: LandingOptions, path: str, map_index: int
    ) -> None:
        name = find_shared_path(options.renditions, path)
        if name and str(map_index) not in path.rpartition("/")[0]:
            log.warning(
                "The path of renditions[%r] may be the same for all mapped tasks. Add {stem}.", name
            )

    def _emit_image_events(
        self,
        context: Context,
        returned: Generation | list[Generation],
        partition_key: Any = None,
    ) -> None:
        """Fill the extras of the asset events of the task, which declares them in ``outlets``.

        :param context: context of the task.
        :param returned: the generation, or the list of them, that the task returns.
        :param partition_key: partition of the assets, which may be data of another task; by
            default they have none.
        """
        if not self.outlets:
            return
        from airflow_provider_flux.operators import asset_events

        has_key = partition_key is not None and partition_key != ""
        is_list = isinstance(returned, list)
        generations = returned if isinstance(returned, list) else [returned]
        describe = asset_events.describe_generation
        asset_events.emit_events(
            context,
            self.outlets,
            asset_events.describe_list(generations) if is_list else describe(generations[0]),
            lambda: map(describe, generations),
            with_prompts=self.prompt_in_events,
            partition_keys=(lambda: [partition_key]) if has_key else None,
        )

    def _literal_argument(self, context: Context, name: str) -> str | None:
        """Return an argument of a mapped task if it is one literal for all map indexes."""
        dag = context.get("dag")
        task = dag.task_dict.get(self.task_id) if dag is not None else None
        if task is None:
            return None
        # In a mapped task group the operator itself is not mapped.
        own = {name: getattr(self, f"_unrendered_{name}", None)}
        value = getattr(task, "partial_kwargs", own).get(name)
        text = str(value) if is_path(value) else value
        return text if isinstance(text, str) and not has_jinja(text) else None
