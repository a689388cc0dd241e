"""The candidates of a review: landed images and videos that another task returned.

What names a candidate is data. It counts only below the folders that the DAG names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from pydantic import BaseModel, ConfigDict

from airflow_provider_flux.bfl.errors import FluxRequestError, FluxStorageError
from airflow_provider_flux.bfl.status import Status
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.generation_input import parse_generation, parse_generations
from airflow_provider_flux.landing.below_root import describe_uri, is_below
from airflow_provider_flux.object_store.filesystem import open_path, run_sync
from airflow_provider_flux.object_store.objects import exists, read

#: Most candidates of one review: a person decides about each of them.
MAX_CANDIDATES = 500
_MAX_MANIFEST_BYTES = 64 * 1024 * 1024
_MAX_KEY_CHARACTERS = 200
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MEDIA_TYPE = re.compile(r"(image|video)/[\w.+-]{1,60}")
_MEDIA_FIELDS = ("uri", "sha256", "bytes", "width", "height", "content_type", "sidecar")


class Candidate(BaseModel):
    """One image or video that a person may choose.

    :param key: its name for the reviewers: the key of its row, or its position.
    :param round: 0 for a candidate of the task before; else the round that generated it.
    :param generation: the generation, with its landed image or video.
    :param is_removed: whether a decision removed its files, so that nobody can choose it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    key: str
    round: int = 0
    generation: dict[str, Any]
    is_removed: bool = False

    @property
    def media(self) -> Mapping[str, Any]:
        """The landed image or video."""
        return cast("Mapping[str, Any]", self.generation["image"] or self.generation["video"])

    @property
    def uri(self) -> str:
        """URI of the image or video."""
        return str(self.media["uri"])

    @property
    def sha256(self) -> str:
        """SHA-256 of its bytes, in hexadecimal."""
        return str(self.media["sha256"])

    @property
    def sidecar(self) -> str | None:
        """URI of its sidecar; ``None`` if it has none."""
        value = self.media.get("sidecar")
        return value if isinstance(value, str) else None

    @property
    def renditions(self) -> dict[str, str]:
        """URIs of its renditions, by name."""
        found = self.media.get("renditions")
        pairs = found.items() if isinstance(found, Mapping) else ()
        return {
            str(name): value["uri"]
            for name, value in pairs
            if isinstance(value, Mapping) and isinstance(value.get("uri"), str)
        }

    def as_generation(self) -> Generation:
        """Return the generation with its landed image or video."""
        return cast("Generation", dict(self.generation))

    def describe(self, number: int) -> dict[str, Any]:
        """Return what the review page shows of it.

        :param number: its number, from 1.
        """
        media = self.media
        return {
            "number": number,
            "key": self.key,
            "round": self.round,
            "model": self.generation["model"],
            "seed": self.generation["seed"],
            "cost": self.generation["cost"],
            "is_removed": self.is_removed,
            "thumb": self.renditions.get("thumb"),
            **{name: media.get(name) for name in _MEDIA_FIELDS},
        }


def read_candidates(value: Any, folders: Sequence[str]) -> list[Candidate]:
    """Return the candidates that another task returned.

    :param value: a generation, a list of generations, or the summary of a batch with the URI of its
        manifest.
    :param folders: folders below which candidates may be, each with a slash at its end.
    :raises FluxRequestError: if there is no candidate, or more than 500; or if one of them is below
        none of the folders.
    :raises FluxStorageError: if the manifest cannot be read.
    """
    if isinstance(value, Mapping) and "manifest" in value and "request_id" not in value:
        candidates = read_manifest(_check_manifest(value["manifest"], folders))
    else:
        generations, _ = parse_generations(value)
        landed = ((str(index + 1), item) for index, item in enumerate(generations))
        candidates = [new_candidate(key, item) for key, item in landed if has_media(item)]
    if not candidates:
        raise FluxRequestError(
            "There is no candidate to review: no generation has an image that has landed. Set "
            "output_path in the task that generates them."
        )
    check_candidates(candidates, folders)
    return candidates


def check_candidates(candidates: Sequence[Candidate], folders: Sequence[str]) -> None:
    """Check that candidates are below the folders of the review.

    :param candidates: candidates that another task returned, or that a record names.
    :param folders: folders below which candidates may be, each with a slash at its end.
    :raises FluxRequestError: if there are more than 500, or if a file of one of them is elsewhere.
    """
    if len(candidates) > MAX_CANDIDATES:
        raise FluxRequestError(
            f"There are {len(candidates)} candidates, more than {MAX_CANDIDATES}. Split them over "
            "several reviews."
        )
    for number, candidate in enumerate(candidates, 1):
        beside = (candidate.sidecar, *candidate.renditions.values())
        for uri in (candidate.uri, *filter(None, beside)):
            if not any(is_below(uri, folder) for folder in folders):
                raise FluxRequestError(
                    f"Candidate {number} has the file {describe_uri(uri)}, which is in no folder "
                    "that a task of this DAG lands images in. Name its folder in candidate_folders."
                )


def new_candidate(key: str, generation: Generation, round_: int = 0) -> Candidate:
    """Return a candidate, once its file is checked to be described as a landed one.

    :param key: its name for the reviewers.
    :param generation: the generation, which has landed.
    :param round_: the round that generated it; 0 for a candidate of the task before.
    :raises FluxRequestError: if the members of its file are malformed.
    """
    media: Any = generation["image"] or generation["video"]
    is_whole = (
        isinstance(media, Mapping)
        and isinstance(media.get("uri"), str)
        and isinstance(media.get("sha256"), str)
        and _SHA256.fullmatch(media["sha256"])
        and _MEDIA_TYPE.fullmatch(str(media.get("content_type")))
    )
    if not is_whole:
        raise FluxRequestError(
            f"The candidate {key[:_MAX_KEY_CHARACTERS]!r} is no landed image: it needs uri, sha256 "
            "and content_type."
        )
    return Candidate(
        key=key[:_MAX_KEY_CHARACTERS], round=round_, generation=dict(cast("Any", generation))
    )


def find_removed(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return candidates, of which one that was removed and has landed again is no longer removed.

    :param candidates: candidates of a record.
    """
    return [
        candidate.model_copy(update={"is_removed": not _is_stored(candidate)})
        if candidate.is_removed
        else candidate
        for candidate in candidates
    ]


def _is_stored(candidate: Candidate) -> bool:
    open_path(candidate.uri, field="candidates")
    return run_sync(exists(candidate.uri)) is True


def has_media(generation: Generation) -> bool:
    """Whether the image or video of a generation has landed.

    :param generation: the generation.
    """
    return bool(generation["image"] or generation["video"])


def read_manifest(uri: str, round_: int = 0) -> list[Candidate]:
    """Return a candidate for each row of a manifest that has an image or video.

    :param uri: URI of the manifest, in JSONL.
    :param round_: the round that generated them; 0 for those of the task before.
    :raises FluxRequestError: if it is no manifest.
    :raises FluxStorageError: if it cannot be read.
    """
    open_path(uri, field="candidates")
    data = run_sync(read(uri, retry=True, max_bytes=_MAX_MANIFEST_BYTES))
    if data is None:
        raise FluxStorageError(f"There is no manifest at {describe_uri(uri)}.")
    try:
        rows = [json.loads(line) for line in data.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        raise FluxRequestError(f"The manifest {describe_uri(uri)} is not JSONL.") from None
    return [
        new_candidate(str(row.get("key")), _generation_of_row(row), round_)
        for row in rows
        if isinstance(row, Mapping) and isinstance(row.get("uri"), str)
    ]


def _check_manifest(uri: Any, folders: Sequence[str]) -> str:
    """Return the URI of a manifest that another task returned, if it may be read."""
    if not isinstance(uri, str) or not any(is_below(uri, folder) for folder in folders):
        raise FluxRequestError(
            f"The manifest {describe_uri(str(uri))} is in no folder that a task of this DAG lands "
            "images in. Name its folder in candidate_folders."
        )
    if not uri.lower().endswith((".jsonl", ".ndjson")):
        raise FluxRequestError(
            f"The manifest {describe_uri(uri)} is not JSONL. Set manifest_path of the batch to a "
            "name that ends in .jsonl."
        )
    return uri


def _generation_of_row(row: Mapping[str, Any]) -> Generation:
    """Return the generation that a row of a manifest describes."""
    media = {name: row.get(name) for name in _MEDIA_FIELDS}
    media["renditions"] = {name: {"uri": uri} for name, uri in _renditions_of_row(row).items()}
    is_video = str(row.get("content_type")).startswith("video/")
    if is_video:
        media |= {"seconds": None, "draft_cache": None}
    request_id = row.get("request_id")
    return parse_generation(
        {
            "request_id": request_id if isinstance(request_id, str) else "",
            "model": row.get("model"),
            "status": Status.READY.value,
            "seed": row.get("seed"),
            "fingerprint": row.get("fingerprint"),
            "cost": row.get("cost"),
            "cost_source": row.get("cost_source"),
            "estimated_cost": row.get("estimated_cost"),
            "submitted_at": row.get("submitted_at") or datetime.now(UTC).isoformat(),
            "reused": row.get("cost_source") == "reused",
            "image": None if is_video else media,
            "video": media if is_video else None,
        },
        field=f"row {row.get('key')!r:.80}",
    )


def _renditions_of_row(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the URIs of the renditions in a row of a manifest, which may be of an old version."""
    listed = row.get("renditions")
    found = dict(listed) if isinstance(listed, Mapping) else {"thumb": row.get("thumb")}
    return {str(name): uri for name, uri in found.items() if isinstance(uri, str)}
