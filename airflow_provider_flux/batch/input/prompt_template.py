"""The template of prompts: text with names of columns, for example ``Photo of {name}``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Any

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.landing.output_path import is_plain_name

_MAX_SHOWN_CHARACTERS = 120


@dataclass(frozen=True)
class PromptTemplate:
    """A template whose fields are names of columns and nothing else.

    Values are inserted as text. They are never read as templates.

    :param parts: texts, each with the column that follows it; ``None`` for none.
    """

    parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, text: Any) -> PromptTemplate:
        """Parse the argument ``prompt``.

        :param text: text with columns in braces. ``{{`` and ``}}`` stand for a single brace.
        :raises FluxRequestError: if it is no text, is empty, has unbalanced braces, or a field is
            no plain name.
        """
        if not isinstance(text, str) or not text.strip():
            raise _refusal(text, "must be text, for example 'Photo of {name}' with a column name")
        try:
            fields = list(Formatter().parse(text))
        except ValueError as error:
            raise _refusal(
                text, f"has unbalanced braces ({error}). Write {{{{ and }}}} for a brace"
            ) from None
        for _, name, spec, conversion in fields:
            if name is not None and (spec or conversion or not is_plain_name(name)):
                raise _refusal(
                    text,
                    f"has the field {{{name}}}, which is no plain name of a column. Attributes, "
                    "indexes, conversions and formats are not supported. Write {{ and }} for a "
                    "brace",
                )
        return cls(tuple((literal, name) for literal, name, _, _ in fields))

    @property
    def columns(self) -> tuple[str, ...]:
        """The names in the template, each once, in their order."""
        return tuple(dict.fromkeys(name for _, name in self.parts if name is not None))

    def fill(self, cells: Mapping[str, str]) -> str:
        """Return the prompt of a row.

        :param cells: text of each column of :attr:`columns`.
        """
        return "".join(
            literal if name is None else literal + cells[name] for literal, name in self.parts
        )


def _refusal(text: Any, fault: str) -> FluxRequestError:
    shown = repr(text)
    if len(shown) > _MAX_SHOWN_CHARACTERS:
        shown = f"{shown[:_MAX_SHOWN_CHARACTERS]}..."
    return FluxRequestError(f"prompt={shown} {fault}.")
