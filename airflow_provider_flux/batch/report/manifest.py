"""Manifest of a batch: one row with the outcome of each row of the input, in the same order."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict, cast, get_args, get_type_hints

from airflow_provider_flux.batch.previous_rows import GONE
from airflow_provider_flux.batch.report.alt_text import alt_text_of
from airflow_provider_flux.batch.report.counters import WITH_IMAGE
from airflow_provider_flux.batch.row_reader import RowReader
from airflow_provider_flux.batch.row_states import EndedRow
from airflow_provider_flux.bfl.errors import (
    FluxConfigurationError,
    FluxRequestError,
    FluxStorageError,
)
from airflow_provider_flux.bfl.storable import is_storable_integer
from airflow_provider_flux.gallery.card import Card, card_of_row
from airflow_provider_flux.gallery.index_writer import IndexWriter
from airflow_provider_flux.gallery.manifest_cards import index_uri
from airflow_provider_flux.generation import renditions_of
from airflow_provider_flux.landing.object_name import find_character_problem, find_length_problem
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import run_sync
from airflow_provider_flux.object_store.uploads import put_file

log = logging.getLogger(__name__)

JSONL = "application/x-ndjson"
PARQUET = "application/vnd.apache.parquet"
GZIP = "application/gzip"
_CONTENT_TYPES = {".jsonl": JSONL, ".ndjson": JSONL, ".parquet": PARQUET}
_WRITE_BATCH_ROWS = 1000
#: Most bytes of the column ``input``: a row of more than 1 MiB could not be read again.
_MAX_INPUT_BYTES = 256 * 1024

#: Columns of the input that the manifest has: all, or the named ones.
InputColumns: TypeAlias = Literal["all"] | Collection[str]


class ManifestRow(TypedDict):
    """One row of the manifest. A column that does not apply is ``None``.

    :param index: position in the input, from 0. The rows that are gone follow those of the input.
    :param key: key of the row, or its stand-in.
    :param outcome: one of :data:`~airflow_provider_flux.batch.row_policy.RowOutcome`, or ``gone``
        for a row of an earlier manifest that the input does not have any more.
    :param reason: reason for an outcome without an image.
    :param uri: URI of the image or video.
    :param sha256: SHA-256 of the file in hexadecimal.
    :param bytes: size of the file.
    :param width: width in pixels.
    :param height: height in pixels.
    :param content_type: MIME type of the file.
    :param sidecar: URI of the JSON file with the provenance.
    :param thumb: URI of the rendition ``thumb``.
    :param renditions: URIs of all renditions by their names: an object in JSONL, a map in Parquet.
    :param request_id: BFL's id of the request.
    :param model: model that was submitted, or that the row names.
    :param seed: seed that BFL used. ``None`` if it is beyond 64 bits with a sign.
    :param cost: credits (1 credit = 0.01 USD).
    :param cost_source: ``reported`` by BFL, ``estimated`` from the price list, or ``reused``.
    :param estimated_cost: credits by the price list.
    :param fingerprint: SHA-256 that is equal for equal requests.
    :param submitted_at: ISO 8601 time of the submit.
    :param seconds: time from the submit until the result was ready, in the try that wrote the
        manifest.
    :param fallback: whether the fallback of the row was submitted.
    :param uncertain_submits: submits whose answer was lost. Each of them was possibly billed.
    :param rerolls: submits with another seed, over all tries, because a check rejected an image.
    :param rejected: URIs of the images that checks rejected.
    :param previous_uri: URI of the image that the row had before, if it has no image of this run.
    :param alt_text: alt text of the image, from its prompt. ``None`` with ``hide_prompt``, and with
        ``on_change="resume"``, by which the image may be that of another prompt.
    :param input: values of ``keep_columns``, and of the axes of a sweep, by their names: an object
        in JSONL, and the same as JSON text in Parquet. A value that is too long is ``None``.
    """

    index: int
    key: str
    outcome: str
    reason: str | None
    uri: str | None
    sha256: str | None
    bytes: int | None
    width: int | None
    height: int | None
    content_type: str | None
    sidecar: str | None
    thumb: str | None
    renditions: dict[str, str] | None
    request_id: str | None
    model: str
    seed: int | None
    cost: float | None
    cost_source: str | None
    estimated_cost: float | None
    fingerprint: str | None
    submitted_at: str | None
    seconds: float | None
    fallback: bool
    uncertain_submits: int
    rerolls: int
    rejected: list[str] | None
    previous_uri: str | None
    alt_text: str | None
    input: dict[str, Any] | None


#: Type of each column. Any column may also hold ``None``.
_COLUMN_TYPES: dict[str, type] = {
    name: (get_args(hint) or (hint,))[0] for name, hint in get_type_hints(ManifestRow).items()
} | {"renditions": dict, "rejected": list, "input": object}


def check_manifest_path(uri: Any) -> str:
    """Return the MIME type of a manifest, by the ending of its name.

    :param uri: absolute path or URI.
    :raises FluxRequestError: if the ending is unknown, the path is relative, or a store would keep
        it under another name, or not at all.
    """
    return check_file_path("manifest_path", uri, _CONTENT_TYPES)


def check_file_path(argument: str, path: Any, content_types: Mapping[str, str]) -> str:
    """Return the MIME type of a file that a batch writes, by the ending of its name.

    :param argument: name of the argument, for the error.
    :param path: absolute path or URI.
    :param content_types: MIME type of each ending.
    :raises FluxRequestError: if the ending is unknown, the path is relative, or a store would keep
        it under another name, or not at all.
    """
    text = str(path)
    content_type = next(
        (kind for ending, kind in content_types.items() if text.lower().endswith(ending)), None
    )
    if content_type is None:
        raise FluxRequestError(
            f"{argument}={text!r} must end in one of {', '.join(content_types)}."
        )
    if not (text.startswith("/") or "://" in text):
        raise FluxRequestError(
            f"{argument}={text!r} is relative. Write an absolute path, or a URI."
        )
    if problem := find_character_problem(text) or find_length_problem(text):
        raise FluxRequestError(f"{argument}={text!r} {problem}.")
    return content_type


def content_type_of(uri: str) -> str:
    """Return the MIME type of a manifest that this process can write.

    :param uri: absolute path or URI.
    :raises FluxRequestError: if the ending is unknown or the path is relative.
    :raises FluxConfigurationError: if the manifest is Parquet and pyarrow is not installed.
    """
    content_type = check_manifest_path(uri)
    if content_type == PARQUET:
        import_pyarrow()
    return content_type


def write_manifest(
    reader: RowReader,
    uri: str,
    write_options: WriteOptions,
    folder: Path,
    *,
    with_prompts: bool = False,
    input_columns: InputColumns = (),
) -> None:
    """Write the outcome of all rows until now, in one put that replaces an earlier manifest.

    The index for the gallery is written after it. Without the index, the gallery reads the
    manifest, so a failure of that write is only a warning.

    :param reader: reader of the rows of the batch.
    :param uri: location of the manifest.
    :param write_options: options of the put. Their content type chooses JSONL or Parquet.
    :param folder: local folder for temporary files, which keep the rows out of memory.
    :param with_prompts: whether the index has the prompts, and the manifest alt texts. ``False`` by
        default.
    :param input_columns: columns of the input that the manifest has; none by default.
    :raises FluxStorageError: if the manifest cannot be written.
    """
    local = folder / "manifest"
    is_parquet = write_options.content_type == PARQUET
    with IndexWriter(str(folder)) as index:
        rows = _index_rows(reader, index, input_columns, with_prompts=with_prompts)
        (_write_parquet if is_parquet else _write_jsonl)(rows, local)
        run_sync(put_file(uri, local, write_options))
        size = local.stat().st_size
        with local.open("wb") as stream:
            index.finish(stream, manifest_bytes=size)
    try:
        run_sync(put_file(index_uri(uri), local, replace(write_options, content_type=GZIP)))
    except FluxStorageError as error:
        log.warning("The gallery reads the whole manifest, because its index is missing. %s", error)
    local.unlink()


def _index_rows(
    reader: RowReader, index: IndexWriter, input_columns: InputColumns, *, with_prompts: bool
) -> Iterator[ManifestRow]:
    """Yield the rows of the manifest, and add each to the index."""
    count = 0
    for ended in reader.all_rows(with_prompts=with_prompts, with_data=bool(input_columns)):
        count += 1
        row = to_manifest_row(ended, input_columns)
        index.add(to_card(row, ended.prompt))
        yield row
    for number, gone in enumerate(reader.gone_rows(), start=count):
        row = to_gone_row(gone, number)
        index.add(to_card(row, None))
        yield row


def to_card(row: ManifestRow, prompt: str | None) -> Card:
    """Return the card of a row for the gallery.

    :param row: the row of the manifest.
    :param prompt: its prompt; ``None`` to leave it out.
    """
    return card_of_row({**row, "prompt": prompt})


def to_manifest_row(ended: EndedRow, input_columns: InputColumns = ()) -> ManifestRow:
    """Return the row of the manifest for a row of the batch.

    :param ended: the row with its outcome.
    :param input_columns: columns of the input that the manifest has; none by default.
    """
    generation = ended.generation or {}
    landed: dict[str, Any] = {}
    if ended.outcome in WITH_IMAGE:
        landed = generation.get("image") or generation.get("video") or {}
    renditions = {name: item["uri"] for name, item in renditions_of(landed).items()}
    is_charged = ended.is_charged or not generation
    row = ManifestRow(
        index=ended.index,
        key=ended.key,
        outcome=ended.outcome,
        reason=ended.reason or None,
        uri=landed.get("uri"),
        sha256=landed.get("sha256"),
        bytes=landed.get("bytes"),
        width=landed.get("width"),
        height=landed.get("height"),
        content_type=landed.get("content_type"),
        sidecar=landed.get("sidecar"),
        thumb=renditions.get("thumb"),
        renditions=renditions or None,
        request_id=generation.get("request_id") or None,
        model=generation.get("model") or ended.model,
        seed=generation.get("seed"),
        cost=generation.get("cost") if is_charged else 0.0,
        cost_source=generation.get("cost_source"),
        estimated_cost=ended.estimate,
        fingerprint=generation.get("fingerprint"),
        submitted_at=generation.get("submitted_at") or None,
        seconds=None if ended.latency is None else round(ended.latency, 3),
        fallback=ended.is_fallback,
        uncertain_submits=ended.uncertain_submits,
        rerolls=ended.rejected.count - (ended.outcome == "rejected" and ended.rejected.count > 0),
        rejected=list(ended.rejected.uris) or None,
        previous_uri=None if landed else ended.previous_uri,
        alt_text=alt_text_of(ended.prompt) if landed else None,
        input=_select_input(ended.data, input_columns),
    )
    return _fit_row(row)


def to_gone_row(row: Mapping[str, Any], index: int) -> ManifestRow:
    """Return the row of the manifest for a row that the input does not have any more.

    :param row: the row as an earlier manifest has it.
    :param index: its position in the manifest.
    """
    end = "is kept" if row.get("uri") else "was deleted"
    reason = f"The input does not have this row any more. Its image {end}."
    state = {"index": index, "outcome": GONE, "reason": reason, "fallback": False}
    unset = dict.fromkeys(_COLUMN_TYPES)
    return _fit_row({**unset, **row, **state, "uncertain_submits": 0, "rerolls": 0})


def _fit_row(row: Mapping[str, Any]) -> ManifestRow:
    # Records and answers may have values of any type, and no such value may cost the manifest.
    fitted = {name: _fit(row[name], kind) for name, kind in _COLUMN_TYPES.items()}
    return cast(ManifestRow, fitted)


def _select_input(data: Mapping[str, Any], columns: InputColumns) -> dict[str, Any] | None:
    """Return the values of the named columns. The longest ones are ``None`` if it is too long."""
    names = data if columns == "all" else [name for name in columns if name in data]
    selected = {name: data[name] for name in names}
    sizes = {name: len(_to_json(item).encode()) for name, item in selected.items()}
    excess = sum(sizes.values()) - _MAX_INPUT_BYTES
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if excess <= 0:
            break
        selected[name], excess = None, excess - sizes[name]
    return selected or None


def _to_json(value: Any) -> str:
    """Return JSON text.

    :raises ValueError: if JSON cannot represent the value.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _fit_object(value: Any) -> Any:
    """Return an object of JSON, also if it is JSON text; ``None`` if it is neither."""
    try:
        plain = json.loads(value) if isinstance(value, str) else value
        text = _to_json(plain)
        text.encode()
    except (TypeError, ValueError, RecursionError):
        return None
    is_kept = isinstance(plain, Mapping) and plain and len(text) <= 2 * _MAX_INPUT_BYTES
    return plain if is_kept else None


def _fit(value: Any, column_type: type) -> Any:
    """Return a value that the column of a manifest can hold; ``None`` if there is none."""
    if column_type is object:
        return _fit_object(value)
    if column_type is dict:
        if not isinstance(value, Mapping) or not value:
            return None
        return {_fit(name, str): _fit(item, str) for name, item in value.items()}
    if column_type is list:
        return [_fit(item, str) for item in value] if value and isinstance(value, list) else None
    if column_type is str:
        return value.encode(errors="replace").decode() if isinstance(value, str) else None
    if column_type is bool:
        return bool(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if column_type is int:
        return value if isinstance(value, int) and is_storable_integer(value) else None
    return float(value) if abs(value) <= sys.float_info.max else None


def _write_jsonl(rows: Iterator[ManifestRow], file: Path) -> None:
    with file.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(_to_json(row) + "\n")


def _write_parquet(rows: Iterator[ManifestRow], file: Path) -> None:
    pyarrow = import_pyarrow()
    from pyarrow import parquet  # type: ignore[import-untyped]

    column_types = {
        int: pyarrow.int64(),
        str: pyarrow.string(),
        float: pyarrow.float64(),
        bool: pyarrow.bool_(),
        dict: pyarrow.map_(pyarrow.string(), pyarrow.string()),
        list: pyarrow.list_(pyarrow.string()),
        object: pyarrow.string(),  # JSON text: the columns of the input have no types of their own
    }
    schema = pyarrow.schema([(name, column_types[kind]) for name, kind in _COLUMN_TYPES.items()])
    with parquet.ParquetWriter(file, schema) as writer:
        flat = ({**row, "input": row["input"] and _to_json(row["input"])} for row in rows)
        while batch := list(islice(flat, _WRITE_BATCH_ROWS)):
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))


def import_pyarrow() -> Any:
    """Return the module pyarrow.

    :raises FluxConfigurationError: if it is not installed.
    """
    try:
        import pyarrow
    except ImportError:
        raise FluxConfigurationError(
            "A Parquet file needs pyarrow. Run pip install 'airflow-provider-flux[parquet]'."
        ) from None
    return pyarrow
