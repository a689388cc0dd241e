"""Files as people have them, with the rows or the message that a sane user expects.

``tests/corpus/<program>/`` has the files of each program. ``<file>.expected.json`` is beside each:

- ``columns`` and ``keep_null_text`` are the arguments of the operator;
- ``error`` is a part of the message if the file is refused as a whole;
- ``rows`` has an object for each row: its ``key``, and either the beginning of its ``problem``, or
  some parameters of its request, and its name as a ``file``;
- ``log`` is a part of the log.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.landing.object_name import safe_name
from tests.support.batch_inputs import body_of, read_all_rows

CORPUS = Path(__file__).parents[2] / "corpus"
_SUFFIX = ".expected.json"
_FILES = sorted(
    str(path.relative_to(CORPUS)).removesuffix(_SUFFIX) for path in CORPUS.rglob(f"*{_SUFFIX}")
)


def test_each_file_of_the_corpus_has_an_expectation() -> None:
    files = {str(path.relative_to(CORPUS)) for path in CORPUS.rglob("*") if path.is_file()}
    inputs = {name for name in files if not name.endswith(_SUFFIX)}
    assert inputs == set(_FILES)
    assert len(inputs) >= 60


@pytest.mark.parametrize("name", _FILES)
def test_a_file_as_people_have_it_gives_the_expected_rows_or_message(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Faults 13, 22 to 27, 32: the programs of the corpus write all of them."""
    expected = json.loads((CORPUS / f"{name}{_SUFFIX}").read_text())
    mapping = {
        argument: expected[argument]
        for argument in ("columns", "keep_null_text")
        if argument in expected
    }
    path = str(CORPUS / name)
    caplog.set_level("INFO")
    if "error" in expected:
        with pytest.raises(FluxRequestError) as caught:
            read_all_rows(path, **mapping)
        assert expected["error"] in str(caught.value)
    else:
        rows = read_all_rows(path, **mapping)
        assert len(rows) == len(expected["rows"]), rows
        for row, expectation in zip(rows, expected["rows"], strict=True):
            _assert_row(row, expectation)
    assert expected.get("log", "") in caplog.text


def _assert_row(row: Any, expectation: dict[str, Any]) -> None:
    parameters = dict(expectation)
    assert row.key == parameters.pop("key")
    if "file" in parameters:
        assert safe_name(row.key) == parameters.pop("file")
    problem = parameters.pop("problem", None)
    if problem is not None:
        assert (row.problem or "").startswith(problem)
    else:
        assert row.problem is None, row.problem
        assert {name: body_of(row)[name] for name in parameters} == parameters
