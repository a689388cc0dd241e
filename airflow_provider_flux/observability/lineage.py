"""Lineage of a task for OpenLineage: the datasets it read and wrote.

Only the OpenLineage provider calls this, so its packages are imported here alone. Lineage has no
prompt, no query of a URL, and no id of a connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_flux.observability.store_location import dataset_name
from airflow_provider_flux.observability.task_files import MAX_LISTED_FILES, TaskFiles

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_flux.generation import LandedImage

#: Source of the request id, whichever host of BFL ran the request.
_SOURCE = "https://api.bfl.ai"


def build_lineage(files: TaskFiles) -> OperatorLineage[Any, Any]:
    """Return the lineage of a task.

    :param files: files of the task.
    """
    from airflow.providers.common.compat.openlineage.facet import ExternalQueryRunFacet
    from airflow.providers.openlineage.extractors import OperatorLineage

    run_facets: dict[str, Any] = {}
    if files.request_id:
        run_facets["externalQuery"] = ExternalQueryRunFacet(
            externalQueryId=files.request_id, source=_SOURCE
        )
    return OperatorLineage(
        inputs=_inputs_of(files), outputs=_outputs_of(files), run_facets=run_facets
    )


def add_table(lineage: OperatorLineage[Any, Any], hook: Any, table: str) -> None:
    """Add the table that a task wrote to its lineage, as the operators of common.sql name it.

    :param lineage: the lineage of the task.
    :param hook: hook of the database, a ``DbApiHook``.
    :param table: name of the table, with a schema if it has one.
    """
    from airflow.providers.common.compat.openlineage.facet import OutputDataset

    info = hook.get_openlineage_database_info(hook.get_connection(hook.get_conn_id()))
    if info is None:
        return
    namespace = f"{info.scheme}://{info.authority}" if info.authority else info.scheme
    parts = [part.strip('"`[]') for part in table.split(".")]
    if len(parts) == 1 and (schema := hook.get_openlineage_default_schema()):
        parts.insert(0, schema)
    if len(parts) == 2 and info.database:
        parts.insert(0, info.database)
    lineage.outputs.append(OutputDataset(namespace=namespace, name=".".join(parts)))


def _inputs_of(files: TaskFiles) -> list[Any]:
    from airflow.providers.common.compat.openlineage.facet import InputDataset

    uris = files.inputs.uris()
    if files.rows_file:
        uris.insert(0, files.rows_file)
    names = dict.fromkeys(map(dataset_name, uris))
    return [InputDataset(namespace=namespace, name=name) for namespace, name in names]


def _outputs_of(files: TaskFiles) -> list[Any]:
    outputs = []
    if 0 < len(files.images) <= MAX_LISTED_FILES:
        outputs += [_image_dataset(image) for image in files.images]
    elif files.image_count and files.folder:
        outputs.append(_output(files.folder, fileCount=files.image_count))
    if files.manifest and files.manifest_rows is not None:
        outputs.append(_output(files.manifest, rowCount=files.manifest_rows, fileCount=1))
    return outputs


def _image_dataset(image: LandedImage) -> Any:
    """Return the dataset of an image, whose version is the hash of its bytes."""
    from openlineage.client.facet_v2 import dataset_version_dataset

    version = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=image["sha256"])
    return _output(image["uri"], facets={"version": version}, size=image["bytes"], fileCount=1)


def _output(uri: str, *, facets: dict[str, Any] | None = None, **statistics: Any) -> Any:
    from airflow.providers.common.compat.openlineage.facet import (
        OutputDataset,
        OutputStatisticsOutputDatasetFacet,
    )

    namespace, name = dataset_name(uri)
    return OutputDataset(
        namespace=namespace,
        name=name,
        facets=facets or {},
        outputFacets={"outputStatistics": OutputStatisticsOutputDatasetFacet(**statistics)},
    )
