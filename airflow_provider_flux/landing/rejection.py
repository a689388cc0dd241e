"""A rejected image: why a check rejected it, and where it is kept."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from airflow_provider_flux.landing.object_name import find_length_problem
from airflow_provider_flux.landing.output_path import fixed_folder, placeholders_in

#: Folder of rejected images, below the fixed folder of ``output_path``.
REJECTED_FOLDER = "rejected"
#: A request id of BFL, to measure a name.
_SAMPLE_ID = "0" * 36


class RejectionNote(BaseModel):
    """The reason for which an image was rejected, as its sidecar records it.

    :param check: name of the check, for example ``not_blank``.
    :param reason: what the check found, or why it could not be carried out.
    :param is_fault: whether the check itself failed, so that the image may be good.
    :param row_fingerprint: fingerprint of the row before its inputs are read, if the image is that
        of its fallback; else ``None``, and not in the sidecar.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    check: str
    reason: str
    is_fault: bool = False
    row_fingerprint: str | None = None

    @model_serializer(mode="wrap")
    def _leave_out_empty(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = dict(handler(self))
        if self.row_fingerprint is None:
            fields.pop("row_fingerprint", None)
        return fields


def rejected_path(path: str, sample: str) -> str:
    """Return the ``output_path`` of the rejected images of a batch.

    Each attempt has a name of its own, because its request id stands before the suffix:
    ``s3://bucket/rejected/{key}-{request_id}.{ext}`` for ``s3://bucket/{key}.{ext}``.

    :param path: the rendered ``output_path``, which begins with a folder.
    :param sample: a name that the path gave, to measure whether the longer one still fits.
    """
    folder = fixed_folder(path)
    rest = path.removeprefix(folder)
    short = f"{folder}{REJECTED_FOLDER}/{{request_id}}.{{ext}}"
    longest = f"{folder}{REJECTED_FOLDER}/{sample.removeprefix(folder)}-{_SAMPLE_ID}"
    if find_length_problem(longest):
        return short
    if "request_id" in placeholders_in(rest):
        return f"{folder}{REJECTED_FOLDER}/{rest}"
    inner, slash, name = rest.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    named = f"{stem}-{{request_id}}{dot}{suffix}" if stem else f"{name}-{{request_id}}"
    return f"{folder}{REJECTED_FOLDER}/{inner}{slash}{named}"
