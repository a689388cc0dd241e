"""The card: what one tile of the gallery shows of a row, an image or a video.

Manifests, sidecars and XComs are data of strangers, and may be of an older version. A value of the
wrong type counts as missing, and a long text is cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from airflow_provider_flux.bfl.responses import read_number
from airflow_provider_flux.bfl.storable import is_storable_integer

#: Characters of a prompt or a reason that a card keeps. The sidecar has the whole prompt.
MAX_TEXT_CHARACTERS = 2000
#: Characters of a key, a name or an id that a card keeps.
MAX_NAME_CHARACTERS = 300
#: Characters of a URI. A longer one counts as missing: a part of a URI names another object.
MAX_URI_CHARACTERS = 4096
_CUT_MARK = "\u2026"


@dataclass(frozen=True, slots=True)
class CardOrigin:
    """The task instance that a card belongs to; empty if it is not known.

    :param dag_id: the DAG.
    :param run_id: the DAG run.
    :param task_id: the task.
    :param map_index: the map index; -1, the default, for a task that is not mapped.
    """

    dag_id: str = ""
    run_id: str = ""
    task_id: str = ""
    map_index: int = -1


#: The origin of a card that belongs to no known task instance.
NO_ORIGIN = CardOrigin()


@dataclass(frozen=True, slots=True)
class Card:
    """One row, image or video, as a tile shows it. A value that is not known is ``None``.

    :param index: position in the manifest, from 0; 0 for a task with one image.
    :param key: key of the row, or the name of the image.
    :param outcome: outcome of the row, for example ``landed`` or ``moderated``.
    :param reason: reason for an outcome without an image.
    :param model: name of the model; empty if it is not known.
    :param prompt: the prompt, up to :data:`MAX_TEXT_CHARACTERS`, if it is recorded.
    :param seed: seed that BFL used.
    :param cost: credits (1 credit = 0.01 USD).
    :param width: width in pixels.
    :param height: height in pixels.
    :param bytes: size of the file.
    :param sha256: SHA-256 of the file in hexadecimal.
    :param content_type: MIME type of the file.
    :param seconds: seconds from the submit until the result was ready.
    :param submitted_at: ISO 8601 time of the submit.
    :param request_id: BFL's id of the request.
    :param uri: URI of the image or video, as the record names it: check it before you read it.
    :param sidecar: URI of the sidecar. As ``uri``.
    :param thumb: URI of the rendition that the tile shows. As ``uri``.
    :param origin: task instance that the card belongs to. A reader sets it, never a record.
    """

    index: int = 0
    key: str = ""
    outcome: str = ""
    reason: str | None = None
    model: str = ""
    prompt: str | None = None
    seed: int | None = None
    cost: float | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    sha256: str | None = None
    content_type: str | None = None
    seconds: float | None = None
    submitted_at: str | None = None
    request_id: str | None = None
    uri: str | None = None
    sidecar: str | None = None
    thumb: str | None = None
    origin: CardOrigin = NO_ORIGIN

    @property
    def has_media(self) -> bool:
        """Whether there is an image or a video."""
        return self.uri is not None

    @property
    def is_video(self) -> bool:
        """Whether the file is a video."""
        return (self.content_type or "").startswith("video/")


_TEXT_LIMITS = {
    "key": MAX_NAME_CHARACTERS,
    "outcome": MAX_NAME_CHARACTERS,
    "model": MAX_NAME_CHARACTERS,
    "sha256": MAX_NAME_CHARACTERS,
    "content_type": MAX_NAME_CHARACTERS,
    "submitted_at": MAX_NAME_CHARACTERS,
    "request_id": MAX_NAME_CHARACTERS,
    "reason": MAX_TEXT_CHARACTERS,
    "prompt": MAX_TEXT_CHARACTERS,
}
_INTEGERS = frozenset({"index", "width", "height", "bytes", "seed"})
_NUMBERS = frozenset({"cost", "seconds"})
#: Fields that a record of any shape may name directly, with their values for "not known".
_EMPTY = {field.name: field.default for field in fields(Card) if field.name != "origin"}


def card_of_row(row: object, origin: CardOrigin = NO_ORIGIN) -> Card:
    """Return the card of a row of a manifest, or of an index.

    :param row: the row; any object that JSON can hold.
    :param origin: task instance that wrote the manifest.
    """
    values = _clean(row)
    return Card(**values, origin=origin)


def card_of_generation(
    generation: object,
    *,
    index: int = 0,
    key: str = "",
    origin: CardOrigin = NO_ORIGIN,
) -> Card:
    """Return the card of the XCom of one generation.

    :param generation: the XCom; any object that JSON can hold.
    :param index: position of the card, 0 by default.
    :param key: key of the card; by default the name of the file.
    :param origin: task instance that returned it.
    """
    record = generation if isinstance(generation, Mapping) else {}
    landed = _mapping(record, "image") or _mapping(record, "video")
    outcome = "reused" if record.get("reused") is True else "landed"
    values = _clean(
        {
            **record,
            **{name: landed.get(name) for name in _MEDIA_FIELDS},
            "sidecar": landed.get("sidecar"),
            "thumb": _thumb_of(landed),
            "outcome": outcome if landed else "submitted",
            "seconds": None,
            "index": index,
            "key": key,
            "prompt": None,
            "reason": None,
        }
    )
    card = Card(**values, origin=origin)
    return card if key else replace(card, key=_file_name(card.uri))


def card_of_sidecar(
    sidecar: object, *, uri: str | None = None, index: int = 0, key: str = ""
) -> Card:
    """Return the card of a sidecar.

    :param sidecar: its content; any object that JSON can hold.
    :param uri: URI of the sidecar itself.
    :param index: position of the card, 0 by default.
    :param key: key of the card; by default the name of the file.
    """
    record = sidecar if isinstance(sidecar, Mapping) else {}
    media, request, run = (_mapping(record, name) for name in ("media", "request", "run"))
    values = _clean(
        {
            **record,
            **{name: media.get(name) for name in _MEDIA_FIELDS},
            "sidecar": uri,
            "thumb": _thumb_of(media) or _thumb_of(record),
            "outcome": "reused" if record.get("reused_from") else "landed",
            "prompt": request.get("prompt"),
            "seconds": None,
            "index": index,
            "key": key,
            "reason": None,
        }
    )
    names = {name: _text(run.get(name), MAX_NAME_CHARACTERS) for name in _ORIGIN_NAMES}
    map_index = clean_integer(run.get("map_index"))
    origin = CardOrigin(
        **{name: text or "" for name, text in names.items()},
        map_index=-1 if map_index is None else map_index,
    )
    card = Card(**values, origin=origin)
    return card if key else replace(card, key=_file_name(card.uri))


_MEDIA_FIELDS = ("uri", "sha256", "bytes", "width", "height", "content_type")
_ORIGIN_NAMES = ("dag_id", "run_id", "task_id")


def _clean(record: object) -> dict[str, Any]:
    """Return the fields of a card that a record has, each of its own type."""
    values = dict(_EMPTY)
    for name, value in record.items() if isinstance(record, Mapping) else ():
        if value is not None and name in values:
            values[name] = _clean_value(name, value)
    return values


def _clean_value(name: str, value: object) -> Any:
    if name in _TEXT_LIMITS:
        text = _text(value, _TEXT_LIMITS[name])
        return _EMPTY[name] if text is None else text
    if name in _INTEGERS:
        number = clean_integer(value)
        return _EMPTY[name] if number is None else number
    if name in _NUMBERS:
        return read_number(value)
    is_uri = isinstance(value, str) and 0 < len(value) <= MAX_URI_CHARACTERS
    return value if is_uri else None


def _text(value: object, limit: int) -> str | None:
    if not isinstance(value, str):
        return None
    return value if len(value) <= limit else value[: limit - 1] + _CUT_MARK


def clean_integer(value: object) -> int | None:
    """Return a value as an integer of 64 bits; ``None`` if it is none.

    :param value: any object that JSON can hold.
    """
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return value if is_integer and is_storable_integer(value) else None  # type: ignore[return-value,arg-type]


def _mapping(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = record.get(name)
    return value if isinstance(value, Mapping) else {}


def _thumb_of(record: Mapping[str, Any]) -> object:
    return _mapping(_mapping(record, "renditions"), "thumb").get("uri")


def _file_name(uri: str | None) -> str:
    return _text((uri or "").rpartition("/")[2], MAX_NAME_CHARACTERS) or ""
