"""Rows of a manifest that a stranger may have written."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pytest

from airflow_provider_flux.batch.previous_rows import PreviousRows

ROOTS = ("s3://my_conn@bucket/shop/", "/data/shop/")
ELSEWHERE = (
    "{root}../other/x.jpeg",
    "{root}%2e%2e/other/x.jpeg",
    "{root}%252e%252e/other/x.jpeg",
    "{root}..\\other\\x.jpeg",
    "{root}",
    "s3://my_conn@other/x.jpeg",
    "/etc/x.jpeg",
)

outside = pytest.mark.parametrize(
    ("root", "uri"), [(root, uri.format(root=root)) for root in ROOTS for uri in ELSEWHERE]
)


def read(root: str, *rows: Mapping[str, Any]) -> tuple[dict[str, Any], list[Mapping[str, Any]]]:
    """Return the previous URIs of the rows ``a`` and ``b`` of the input, and the rows gone."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE rows (key TEXT, previous_uri TEXT)")
        db.executemany("INSERT INTO rows VALUES (?, NULL)", [("a",), ("b",)])
        previous = PreviousRows(db, root)
        previous.add(rows)
        previous.match()
        return dict(db.execute("SELECT * FROM rows")), list(previous.gone_rows())


@pytest.mark.parametrize("root", ROOTS)
def test_an_image_in_the_folder_is_the_previous_one_of_its_row(root: str) -> None:
    rows = [{"key": key, "outcome": "landed", "uri": f"{root}{key}.jpeg"} for key in "ac"]
    uris, gone = read(root, *rows)
    assert uris == {"a": f"{root}a.jpeg", "b": None}
    assert [(row["key"], row["uri"]) for row in gone] == [("c", f"{root}c.jpeg")]


@outside
def test_an_image_elsewhere_is_nobodys_previous_one(root: str, uri: str) -> None:
    rows = [
        {"key": "a", "outcome": "landed", "uri": uri},
        {"key": "b", "outcome": "failed", "previous_uri": uri},
        {"key": "c", "outcome": "landed", "uri": uri},
    ]
    assert read(root, *rows) == ({"a": None, "b": None}, [])


@outside
def test_a_row_that_is_gone_keeps_no_file_elsewhere(root: str, uri: str) -> None:
    image, thumb = f"{root}c.jpeg", f"{root}c.thumb.webp"
    row = {"key": "c", "outcome": "landed", "uri": image, "sidecar": uri, "thumb": uri}
    (gone,) = read(root, row | {"renditions": {"thumb": thumb, "web": uri}})[1]
    assert (gone["uri"], gone["sidecar"], gone["thumb"]) == (image, None, None)
    assert gone["renditions"] == {"thumb": thumb}
