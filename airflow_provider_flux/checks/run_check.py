"""Carry out one check on one image, in the process that imported the functions of the user."""

from __future__ import annotations

import importlib
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from airflow_provider_flux.bfl.redaction import redact
from airflow_provider_flux.checks.check import Check
from airflow_provider_flux.checks.picture import (
    find_blank,
    find_size_problem,
    open_picture,
)
from airflow_provider_flux.checks.signature import sign
from airflow_provider_flux.checks.text import find_missing_ocr, find_text_problem

CheckFunction = Callable[[Image.Image, Mapping[str, Any]], Any]
#: Pixels of the sides of the smaller copy that some checks decode.
_COPY_PIXELS = 128
_MAX_REASON = 500


class CheckImportError(Exception):
    """A function of a check cannot be imported, or what a check needs is missing."""


@dataclass(frozen=True)
class CheckAnswer:
    """The answer of one check about one image.

    :param reason: why the image is rejected; ``None`` if it is not.
    :param fault: why the check itself failed; ``None`` if it did not.
    :param signature: the signature of the image, of ``not_duplicate`` alone.
    """

    reason: str | None = None
    fault: str | None = None
    signature: str | None = None


def load_function(check: Check) -> CheckFunction:
    """Import the function of a check.

    :param check: a check of kind ``function``.
    :raises CheckImportError: if it cannot be imported, or cannot be called.
    """
    module_name, _, name = check.path.rpartition(".")
    try:
        function = getattr(importlib.import_module(module_name), name)
    except Exception as error:  # the module of a user may raise anything
        raise CheckImportError(
            f"The check {check.label} cannot be imported. "
            f"{type(error).__name__}: {redact(str(error))}"
        ) from None
    if not callable(function):
        raise CheckImportError(f"The check {check.label} is no function.")
    return function  # type: ignore[no-any-return]


def load_functions(checks: tuple[Check, ...]) -> dict[str, CheckFunction]:
    """Import the functions of all checks, by import path, and find what else is missing.

    :param checks: the checks.
    :raises CheckImportError: naming the first check that cannot be carried out.
    """
    if any(check.kind == "text" for check in checks) and (missing := find_missing_ocr()):
        raise CheckImportError(missing)
    return {check.path: load_function(check) for check in checks if check.kind == "function"}


def run_check(
    check: Check, data: bytes, row: Mapping[str, Any], functions: Mapping[str, CheckFunction]
) -> CheckAnswer:
    """Carry out a check. An error of the check is its fault, not that of the image.

    :param check: the check.
    :param data: the image.
    :param row: values of the row by the columns of the input.
    :param functions: functions of the user by import path.
    """
    try:
        return _run_check(check, data, row, functions)
    except MemoryError:
        return CheckAnswer(fault="needs more memory than a check may have")
    except Exception as error:  # a function of a user may raise anything
        return CheckAnswer(fault=clean_reason(f"raised {type(error).__name__}: {error}"))


def clean_reason(text: str) -> str:
    """Return a reason without control characters, and not longer than a line of a log.

    :param text: text of a function of the user.
    """
    plain = "".join(
        " " if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} else character
        for character in text[: 4 * _MAX_REASON]
    )
    plain = redact(plain)
    return plain if len(plain) <= _MAX_REASON else f"{plain[:_MAX_REASON]}..."


def _run_check(
    check: Check, data: bytes, row: Mapping[str, Any], functions: Mapping[str, CheckFunction]
) -> CheckAnswer:
    match check.kind:
        case "not_blank":
            return CheckAnswer(find_blank(open_picture(data, smallest=_COPY_PIXELS)))
        case "not_duplicate":
            return CheckAnswer(signature=sign(open_picture(data, smallest=_COPY_PIXELS)).encode())
        case "min_size" | "ratio":
            return CheckAnswer(find_size_problem(check, open_picture(data).size))
        case "text":
            return CheckAnswer(find_text_problem(open_picture(data), row.get(check.column)))
        case "function":
            return _judge(functions[check.path](open_picture(data), row))


def _judge(value: Any) -> CheckAnswer:
    """Return the answer that the value of a function means."""
    if value is None or value == "":
        return CheckAnswer()
    if isinstance(value, str):
        return CheckAnswer(clean_reason(value))
    if type(value).__name__ in {"bool", "bool_"}:  # of Python, and of numpy
        return CheckAnswer(None if value else "The check returned False.")
    return CheckAnswer(
        fault=f"returned {type(value).__name__}, which is neither None, nor text, nor a bool"
    )
