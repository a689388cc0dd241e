"""The manifest of a batch: one row for each row of the input, in its order, with what became of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypedDict, get_args, get_type_hints

from airflow_provider_flux.batch.row_reader import RowReader
from airflow_provider_flux.batch.row_states import EndedRow
from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxRequestError
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import run_sync
from airflow_provider_flux.object_store.uploads import put_file

JSONL = "application/x-ndjson"
PARQUET = "application/vnd.apache.parquet"
_TYPES = {".jsonl": JSONL, ".ndjson": JSONL, ".parquet": PARQUET}
_ROWS_AT_ONCE = 1000


class ManifestRow(TypedDict):
    """One row of the manifest. What does not apply is ``None``.

    ``index`` is the position in the input, from 0; ``cost`` is in credits (1 credit = 0.01 USD), ``seconds`` from the
    submit until the image was seen to be ready, in the try that wrote the manifest; ``fallback`` says that the
    fallback of the row was used; ``uncertain_submits`` counts submits whose answer was lost: each was possibly billed.
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


def check_manifest_path(uri: Any) -> str:
    """Return the MIME type of a manifest by the end of its name.

    :raises FluxRequestError: for another one, and for a relative path.
    """
    text = str(uri)
    found = next((kind for ending, kind in _TYPES.items() if text.lower().endswith(ending)), None)
    if found is None:
        raise FluxRequestError(f"manifest_path={text!r} must end in one of {', '.join(_TYPES)}.")
    if not (text.startswith("/") or "://" in text):
        raise FluxRequestError(
            f"manifest_path={text!r} is relative. Write an absolute path, or a URI."
        )
    return found


def content_type_of(uri: str) -> str:
    """Return the MIME type of a manifest that is to be written.

    :raises FluxRequestError: if its name ends otherwise.
    :raises FluxConfigurationError: if it is Parquet, and pyarrow is not installed.
    """
    found = check_manifest_path(uri)
    if found == PARQUET:
        _pyarrow()
    return found


def write_manifest(reader: RowReader, uri: str, manner: WriteOptions, folder: Path) -> None:
    """Write what has become of all rows until now, in one put; what was there is replaced.

    :param folder: for a temporary file, in which the rows are first, and not in memory.
    :raises FluxStorageError: if it cannot be written.
    """
    local = folder / "manifest"
    rows = (_row_of(ended) for ended in reader.all_rows())
    (_write_parquet if manner.content_type == PARQUET else _write_jsonl)(rows, local)
    run_sync(put_file(uri, local, manner))
    local.unlink()


def _row_of(ended: EndedRow) -> ManifestRow:
    made = ended.generation or {}
    landed = (
        (made.get("image") or made.get("video") or {})
        if ended.outcome in {"landed", "reused"}
        else {}
    )
    return ManifestRow(
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
        request_id=made.get("request_id") or None,
        model=made.get("model") or ended.model,
        seed=made.get("seed"),
        cost=made.get("cost") if ended.is_charged or not made else 0.0,
        cost_source=made.get("cost_source"),
        estimated_cost=ended.estimate,
        fingerprint=made.get("fingerprint"),
        submitted_at=made.get("submitted_at") or None,
        seconds=None if ended.latency is None else round(ended.latency, 3),
        fallback=ended.is_fallback,
        uncertain_submits=ended.uncertain_submits,
    )


def _write_jsonl(rows: Iterator[ManifestRow], file: Path) -> None:
    with file.open("w", encoding="utf-8", errors="surrogatepass") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_parquet(rows: Iterator[ManifestRow], file: Path) -> None:
    pyarrow = _pyarrow()
    from pyarrow import parquet  # type: ignore[import-untyped]

    kinds = {
        int: pyarrow.int64(),
        str: pyarrow.string(),
        float: pyarrow.float64(),
        bool: pyarrow.bool_(),
    }
    hints = get_type_hints(ManifestRow)
    schema = pyarrow.schema(
        [(name, kinds[(get_args(hint) or (hint,))[0]]) for name, hint in hints.items()]
    )
    with parquet.ParquetWriter(file, schema) as writer:
        while some := list(islice(rows, _ROWS_AT_ONCE)):
            writer.write_table(pyarrow.Table.from_pylist(some, schema=schema))


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise FluxConfigurationError(
            "A manifest in Parquet needs one more package: pip install 'airflow-provider-flux[parquet]'."
        ) from None
    return pyarrow
