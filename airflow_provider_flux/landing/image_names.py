"""The names that the landing of an image writes, and their check before the submit."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.landing.companion_names import draft_cache_uri, sidecar_uri
from airflow_provider_flux.landing.object_name import find_length_problem
from airflow_provider_flux.landing.output_path import MAX_REQUEST_ID_BYTES, is_reserved
from airflow_provider_flux.landing.suffixes import FORMAT_OF_SUFFIX, format_of_name
from airflow_provider_flux.landing.target import Target

#: Digits of the largest seed.
_SEED_DIGITS = 20
_HASH_DIGITS = 64
_SCHEME_ALIASES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "abfss": "abfs", "adl": "abfs"}
_SLASHES = re.compile("/+")
_LOCAL_SCHEMES = frozenset({"", "file", "local"})


class WrittenName(NamedTuple):
    """One name that the landing of an image writes.

    :param kind: ``image``, ``sidecar``, ``draft cache``, or ``rendition`` and its name.
    :param uri: the name.
    """

    kind: str
    uri: str


def planned_names(
    target: Target,
    *,
    model: str | None,
    is_video: bool,
    index: int | None = None,
    key: str | None = None,
    fingerprint: str | None = None,
    seed: int | None = None,
    ext: str | None = None,
) -> list[WrittenName]:
    """Return the names that the landing of one image will write, as known before the submit.

    A value that only BFL's answer brings has its longest form, which differs from index to index.

    :param target: where the image lands.
    :param model: name of the model.
    :param is_video: whether the model generates videos, which may have a draft cache.
    :param index: index of the image; by default that of the target.
    :param key: key of the image; by default that of the target.
    :param fingerprint: fingerprint of the request; ``None`` if it is not known.
    :param seed: seed of the request; ``None`` if BFL draws it.
    :param ext: value of ``{ext}``; the longest by default.
    """
    index = target.index if index is None else index
    digits = str(index)
    uri = target.fill(
        index=index,
        key=target.key if key is None else key,
        model=model or "unknown",
        fingerprint=fingerprint or digits.zfill(_HASH_DIGITS),
        ext=ext or ("mp4" if is_video else "jpeg"),
        request_id=digits.zfill(MAX_REQUEST_ID_BYTES),
        seed=digits.zfill(_SEED_DIGITS) if seed is None else seed,
        sha256=digits.zfill(_HASH_DIGITS),
    )
    names = [WrittenName("image", uri)]
    if target.options.sidecar:
        names.append(WrittenName("sidecar", sidecar_uri(uri)))
    if is_video:
        names.append(WrittenName("draft cache", draft_cache_uri(uri)))
    names += _names_of_renditions(target, uri, ext or "jpeg")
    return names


def _names_of_renditions(target: Target, uri: str, ext: str) -> list[WrittenName]:
    """Return the names of the renditions, also for a model of which only a result shows its kind.

    A video has none.
    """
    if ext == "mp4":
        return []
    return [
        WrittenName(f"rendition {name}", options.uri_for(uri, name, ext))
        for name, options in target.options.renditions.items()
    ]


def find_name_problem(names: Iterable[WrittenName], reserved: tuple[str, ...] = ()) -> str | None:
    """Return why names cannot be written.

    :param names: names of one image, from :func:`planned_names`.
    :param reserved: normalized URIs of the other files of the task, see :func:`normalize_uri`, each
        with a slash at its end.
    :return: the rest of a sentence about ``output_path``; ``None`` if they can be written.
    """
    for kind, uri in names:
        if problem := find_length_problem(uri):
            other = ", or set renditions={} for none" if kind.startswith("rendition") else ""
            return f"{problem}, for the {kind}. Shorten it{other}"
        if is_reserved(uri.partition("://")[2] or uri):
            return f"gives the {kind} the name {uri!r}, but _flux is the folder of the ledger"
        if reserved and _is_taken(normalize_uri(uri), reserved):
            return f"gives the {kind} the name {uri!r}, which the manifest or the ledger needs"
    return None


def _is_taken(normalized: str, reserved: tuple[str, ...]) -> bool:
    """Whether a name is one of some others, or a folder of them, or below one of them."""
    folder = f"{normalized}/"
    return folder.startswith(reserved) or any(other.startswith(folder) for other in reserved)


def check_names(target: Target, model: Any) -> None:
    """Check before the submit that the names of one image can be written.

    :param target: where the image lands.
    :param model: name of the model; ``None`` if it is not known.
    :raises FluxRequestError: if a name is too long, or is one of the ledger.
    """
    entry = known_models().get(model) if isinstance(model, str) else None
    is_video = entry is not None and entry.output == "video"
    if problem := find_name_problem(planned_names(target, model=model, is_video=is_video)):
        raise FluxRequestError(f"output_path={target.path!r} {problem}.")


def normalize_uri(uri: str) -> str:
    """Return a URI in a form that is equal for equal objects of one store.

    :param uri: URI or local path.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator:
        scheme, rest = "", uri
    if scheme in _LOCAL_SCHEMES:
        rest = _SLASHES.sub("/", rest) if "//" in rest else rest
        return f"file://{rest.rstrip('/')}"
    location, _, key = rest.partition("/")
    bucket = location.rpartition("@")[2]
    return f"{_SCHEME_ALIASES.get(scheme, scheme)}://{bucket}/{key.rstrip('/')}"


class NameRegister:
    """Registers the names that the images of one task will write, and finds those that are taken.

    It keeps a digest of 16 bytes of each name, and not the name.

    :param path: ``output_path``. If its suffix is that of an image, a sidecar can never have the
        name of an image, and only the names of images and renditions are kept.
    """

    def __init__(self, path: str) -> None:
        has_suffix = path.endswith(".{ext}") or format_of_name(path) in FORMAT_OF_SUFFIX.values()
        self._ignored = {"sidecar", "draft cache"} if has_suffix else set()
        self._owners: dict[bytes, tuple[int, str]] = {}

    def register(self, names: Iterable[WrittenName], owner: int) -> tuple[str, str, int] | None:
        """Register the names of one image, unless one of them is taken.

        :param names: its names.
        :param owner: number of the image, for the answer to later ones.
        :return: the kind of the taken name, and the kind and number of its first owner; ``None``
            if all names are new.
        """
        digests = {
            hashlib.blake2b(normalize_uri(name.uri).encode(), digest_size=16).digest(): name.kind
            for name in names
            if name.kind not in self._ignored
        }
        for digest, kind in digests.items():
            if digest in self._owners:
                first, first_kind = self._owners[digest]
                return kind, first_kind, first
        for digest, kind in digests.items():
            self._owners[digest] = (owner, kind)
        return None


def seed_of(parameters: Mapping[str, Any]) -> int | None:
    """Return the seed that a request names; ``None`` if BFL draws it.

    :param parameters: parameters of the request.
    """
    seed = parameters.get("seed")
    return seed if isinstance(seed, int) and not isinstance(seed, bool) else None
