"""Rows of a batch: read, mapped to parameters, and checked before the first is paid for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from airflow_provider_flux.batch.input.mapping import (
    SPECIAL_NAMES,
    InputMapping,
    check_mapping,
    defaults_of,
)
from airflow_provider_flux.batch.input.requests import RequestBuilder
from airflow_provider_flux.batch.input.sources import Broken, Raw, read_raw
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.redaction import redact
from airflow_provider_flux.bfl.request import GenerationRequest
from airflow_provider_flux.landing.output_path import safe_name

__all__ = [
    "SPECIAL_NAMES",
    "InputMapping",
    "Row",
    "check_mapping",
    "describe_problems",
    "read_rows",
]

_LONGEST_KEY = 1024
_SHOWN_KEY = 80
_LONGEST_PROBLEM = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """One image or video to generate, as a row of the input asks for it.

    :param index: position in the input, from 0.
    :param key: stable name, unique in the batch: the row's own, or its position. A row whose own key cannot be used
        has a stand-in, ``row-17``.
    :param model: name of the model, also if the row is not valid.
    :param request: the checked request. Its inputs are the text that names them. ``None`` if the row is not valid.
    :param fallback: the checked request to try once if the row is moderated or its generation fails.
    :param problem: why the row is not valid; then nothing is ever paid for it.
    """

    index: int
    key: str
    model: str
    request: GenerationRequest | None
    fallback: GenerationRequest | None
    problem: str | None


def read_rows(source: Any, layout: InputMapping) -> Iterator[Row]:
    """Yield the rows of a batch, one at a time; those that are not valid have a problem.

    Text that stands for a number or a truth value counts as such, as that of a template does: CSV has nothing else,
    and exports of databases often write numbers as text.

    :param source: prompts or dicts, or the path of a file: see :func:`~airflow_provider_flux.batch.input.sources.read_raw`.
    :raises FluxRequestError: for what concerns the whole input, maybe only after the last row.
    :raises FluxInputError: if the file is not there, or could not be read; trying again may help.
    :raises FluxConfigurationError: if its store cannot be used, or pyarrow is missing.
    """
    check_mapping(layout)
    columns = None if layout.columns is None else list(dict.fromkeys(layout.columns.values()))
    return _rows(read_raw(source, columns), layout)


def describe_problems(rows: Iterable[Row], shown: int = 20) -> str:
    """Return one text about all rows that are not valid; empty if all are.

    :param rows: any rows; valid ones are passed over.
    :param shown: how many are told; the others are counted.
    """
    lines: list[str] = []
    number = 0
    for row in rows:
        if row.problem is None:
            continue
        number += 1
        if number <= shown:
            lines.append(f"row {row.index} (key {_shown(row.key)}): {row.problem}")
    if not number:
        return ""
    if number > shown:
        lines.append(f"... and {number - shown} more")
    return "\n".join([f"{number} {'row is' if number == 1 else 'rows are'} not valid:", *lines])


def _rows(raws: Iterator[Raw], layout: InputMapping) -> Iterator[Row]:
    requests, keys, defaults = RequestBuilder(layout), _Keys(), defaults_of(layout)
    for index, raw in enumerate(raws):
        if isinstance(raw, Broken):
            yield Row(index, keys.stand_in(index), layout.model, None, None, _cut(raw.problem))
            continue
        values = _by_parameter(raw, layout)
        problems: list[str] = []
        try:
            key = keys.take(index, values.pop("key", index))
        except FluxRequestError as error:
            key = keys.stand_in(index)
            problems.append(error.message)
        yield _checked(
            Row(index, key, layout.model, None, None, None), values, defaults, requests, problems
        )


def _by_parameter(raw: str | dict[str, Any], layout: InputMapping) -> dict[str, Any]:
    """Return the values by parameter or special name. A column for the key is one even where it is empty."""
    if isinstance(raw, str):
        return {"prompt": raw}
    if layout.columns is None:
        return raw
    return {name: raw.get(column) for name, column in layout.columns.items()}


def _checked(
    row: Row,
    values: dict[str, Any],
    defaults: dict[str, Any],
    requests: RequestBuilder,
    problems: list[str],
) -> Row:
    """Return the row with its request, or with what is wrong with it.

    :param problems: what is wrong already.
    """
    own = {name: value for name, value in values.items() if requests.is_given(name, value)}
    given = {**defaults, **own}
    model = _stripped(given.pop("model", row.model))
    prompt, other = given.pop("fallback_prompt", None), _stripped(given.pop("fallback_model", None))
    request = fallback = None
    try:
        request = requests.build(model, given, [name for name in own if name not in SPECIAL_NAMES])
        fallback = requests.build_fallback(request, prompt, other)
    except FluxRequestError as error:
        problems.append(error.message)
    name = model if isinstance(model, str) else row.model
    if problems:
        return Row(row.index, row.key, name, None, None, _cut("; ".join(problems)))
    return Row(row.index, row.key, name, request, fallback, None)


class _Keys:
    """Tells whether keys are distinct, also as file names. It keeps 16 bytes of each key, not the key."""

    def __init__(self) -> None:
        self._first: dict[bytes, int] = {}

    def take(self, index: int, key: Any) -> str:
        """Return the key of a row as text.

        :raises FluxRequestError: if it is empty, no text, or taken.
        """
        if key is not None and not isinstance(key, (str, int, float)):
            raise FluxRequestError(f"key is {type(key).__name__}, not text")
        text = "" if key is None else str(key).strip()
        if not text:
            raise FluxRequestError("key is empty")
        if len(text) > _LONGEST_KEY:
            raise FluxRequestError(f"key {_shown(text)} is longer than {_LONGEST_KEY} characters")
        first = self._claim(index, text)
        if first != index:
            raise FluxRequestError(
                f"key {_shown(text)} is taken by row {first}: keys must differ, also as file names "
                f"(this one becomes {_shown(safe_name(text))})"
            )
        return text

    def stand_in(self, index: int) -> str:
        """Return a key for a row that has none of its own."""
        names = (f"row-{index}" if not number else f"row-{index}-{number}" for number in count())
        return next(name for name in names if self._claim(index, name) == index)

    def _claim(self, index: int, key: str) -> int:
        digest = hashlib.blake2b(safe_name(key).encode(), digest_size=16).digest()
        return self._first.setdefault(digest, index)


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _shown(key: str) -> str:
    return redact(repr(key if len(key) <= _SHOWN_KEY else f"{key[:_SHOWN_KEY]}..."))


def _cut(problem: str) -> str:
    return problem if len(problem) <= _LONGEST_PROBLEM else f"{problem[:_LONGEST_PROBLEM]}..."
