"""Docstrings of the package as Markdown. griffe reads the source, so nothing is imported."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import griffe

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "airflow_provider_flux"
_ROLE = re.compile(r":\w+:`~?([^`]+)`")
#: A plain annotation is shown in one line; a longer one is in the source.
_MAX_TYPE = 60


class UnknownNameError(Exception):
    """A name of the reference is not in the package."""


@cache
def _package() -> Any:
    return griffe.load(PACKAGE, search_paths=[ROOT], docstring_parser="sphinx")


def find_object(name: str) -> Any:
    """Return the object of the package with a name.

    :param name: its name below the package, with dots.
    :raises UnknownNameError: if there is none.
    """
    try:
        return _package()[name]
    except KeyError:
        raise UnknownNameError(f"{PACKAGE}.{name} does not exist") from None


def describe(name: str, level: int = 2) -> str:
    """Return the section of a class or function.

    :param name: its name below the package, with dots.
    :param level: level of its heading.
    """
    item = find_object(name)
    lines = [f"{'#' * level} {item.name}", "", f"`{PACKAGE}.{name}`", ""]
    lines += _body(item)
    if item.is_class:
        for method in _public_methods(item):
            anchor = f"{item.name}-{method.name}".lower()
            lines += [f"{'#' * (level + 1)} {method.name} {{ #{anchor} }}", ""]
            lines += [f"`{_signature(method)}`", "", *_body(method)]
    return "\n".join(lines) + "\n"


def as_markdown(text: str) -> str:
    """Return the text of a docstring as Markdown.

    :param text: reStructuredText with roles and double backticks.
    """
    text = _ROLE.sub(lambda role: f"`{role[1].rpartition('.')[2]}`", text)
    return text.replace("``", "`").strip()


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table.

    :param head: titles of the columns.
    :param rows: cells of each row.
    """
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in lines] + [""]


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _body(item: Any) -> list[str]:
    """Return the text, the parameters, the result and the errors of an object."""
    if item.docstring is None:
        return []
    lines: list[str] = []
    for section in item.docstring.parse("sphinx", warnings=False):
        value = section.value
        match section.kind.value:
            case "text":
                lines += [as_markdown(value), ""]
            case "parameters":
                lines += _parameters(item, value)
            case "returns":
                lines += [f"Returns: {as_markdown(value[0].description)}", ""]
            case "raises":
                rows = [
                    (f"`{_plain(row.annotation)}`", as_markdown(row.description)) for row in value
                ]
                lines += table(("raises", "when"), rows)
    return lines


def _parameters(item: Any, parameters: Sequence[Any]) -> list[str]:
    types = _types(item)
    rows = []
    for parameter in parameters:
        kind, default = types.get(parameter.name, ("", ""))
        rows.append((f"`{parameter.name}`", kind, default, as_markdown(parameter.description)))
    title = "field" if _is_data(item) else "parameter"
    return table((title, "type", "default", "meaning"), rows)


def _is_data(item: Any) -> bool:
    return bool(item.is_class and "__init__" not in item.members)


def _types(item: Any) -> Mapping[str, tuple[str, str]]:
    """Return type and default of each parameter, of the constructor or the fields of a class."""
    function = item.members.get("__init__") if item.is_class else item
    if function is not None:
        found = {one.name: (one.annotation, one.default) for one in function.parameters}
    else:
        found = {
            name: (member.annotation, member.value)
            for name, member in item.members.items()
            if member.is_attribute
        }
    return {name: (_code(kind), _code(default)) for name, (kind, default) in found.items()}


def _code(expression: Any) -> str:
    text = _plain(expression)
    return f"`{text}`" if text and len(text) <= _MAX_TYPE else ""


def _plain(expression: Any) -> str:
    return "" if expression is None else " ".join(str(expression).split())


def _signature(function: Any) -> str:
    names, is_keyword = [], False
    for one in function.parameters:
        if one.name in {"self", "cls"}:
            continue
        if one.kind and one.kind.value == "keyword-only" and not is_keyword:
            names.append("*")
            is_keyword = True
        stars = {"variadic positional": "*", "variadic keyword": "**"}.get(one.kind.value, "")
        is_keyword = is_keyword or stars == "*"
        default = f"={_plain(one.default)}" if one.default is not None and not stars else ""
        names.append(f"{stars}{one.name}{default}")
    prefix = "await " if "async" in function.labels else ""
    return f"{prefix}{function.name}({', '.join(names)})"


def _public_methods(item: Any) -> Iterator[Any]:
    for name, member in item.members.items():
        if member.is_function and not name.startswith("_") and member.docstring:
            yield member
