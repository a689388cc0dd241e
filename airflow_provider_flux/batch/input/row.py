"""One row of a batch, as its input asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_flux.batch.input.sweep import WHOLE_ROW, Combination
from airflow_provider_flux.bfl.request import GenerationRequest

_MAX_PROBLEM_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """One image or video to generate, as a row of the input asks for it.

    :param index: position in the input, from 0. In a sweep, each row has one for each combination.
    :param key: name of the row: its own key, or else its index as text. It is unique among the
        valid rows; a row that repeats a key is not valid and keeps it. A row without a usable key
        has a stand-in with its line of the file, or else its index, for example ``row-17``.
    :param model: name of the model, also if the row is not valid.
    :param request: the checked request, ``None`` if the row is not valid. Its inputs are still the
        text that names them.
    :param fallback: the checked request to submit once if the row is moderated or its generation
        fails, ``None`` if there is none.
    :param problem: reason why the row is not valid, after its location. ``None`` if it is valid.
    :param line: line of the file where the row begins, from 1. ``None`` for a list and for Parquet.
    :param data: values of the row as it was read, as plain JSON by the columns of the input.
    :param path: ``output_path`` with the columns of the row filled in; ``None`` if it names none.
    :param combination: values of the axes of a sweep.
    """

    index: int
    key: str
    model: str
    request: GenerationRequest | None
    fallback: GenerationRequest | None
    problem: str | None
    line: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    path: str | None = None
    combination: Combination = WHOLE_ROW

    @property
    def order(self) -> int:
        """A number that only this row has. :meth:`place_of` gives its place in the input."""
        number, _ = self.place_of(None)
        return number * self.combination.count + self.combination.number

    def place_of(self, order: int | None) -> tuple[int, str]:
        """Return the number that identifies a row in messages, and its unit.

        :param order: ``order`` of another row of the same input; ``None`` for this row.
        """
        count = self.combination.count
        if order is not None:
            return order // count, "index" if self.line is None else "line"
        return position_of(self.index // count, self.line)

    def with_problem(self, problem: str) -> Row:
        """Return the row as one that is not valid, which is never submitted.

        :param problem: reason, as the rest of a sentence about the row.
        """
        position, unit = self.place_of(None)
        label = f" ({self.combination.label})" if self.combination.values else ""
        text = f"{unit} {position}{label}: {problem}"
        if len(text) > _MAX_PROBLEM_CHARACTERS:
            text = f"{text[:_MAX_PROBLEM_CHARACTERS]}..."
        return replace(self, request=None, fallback=None, problem=text)


def position_of(index: int, line: int | None) -> tuple[int, str]:
    """Return the number that identifies a row in messages, and its unit.

    :param index: position in the input, from 0.
    :param line: line of its file; ``None`` without lines.
    """
    return (index, "index") if line is None else (line, "line")
