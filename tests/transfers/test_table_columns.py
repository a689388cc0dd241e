"""Arguments that say which column of a table gets which column of a manifest."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.transfers.table_columns import (
    DEFAULT_COLUMNS,
    Source,
    TableColumns,
    check_table,
)

NAMES = tuple(dict.fromkeys([*DEFAULT_COLUMNS, "renditions", "input"]))


@pytest.mark.parametrize(
    "table", ["products", "shop.products", 'shop."Order Lines"', '"a.b"."c"', "`p-1.d.t`", "[a b]"]
)
def test_a_table_may_have_a_schema_and_the_quotes_of_its_database(table: str) -> None:
    assert check_table(table) == table


@pytest.mark.parametrize(
    "table",
    [
        *("", "a b", "products; DROP TABLE x", "a.", ".a", "a..b", '"a"b', 'a"b', '""', "a--b"),
        *('"a%s"', "a)(", "1a", "x" * 200, "a.b.c.d.e", None, 7),
    ],
)
def test_a_table_that_could_end_a_statement_is_refused(table: Any) -> None:
    with pytest.raises(FluxRequestError, match="table"):
        check_table(table)


@pytest.mark.parametrize(
    ("columns", "key_columns", "message"),
    [
        ({}, ["sku"], r"columns must be a dict"),
        (["sku"], ["sku"], r"columns must be a dict"),
        ({"sku": "key", "url": "uri"}, [], r"key_columns=\[\] must be a list"),
        ({"sku": "key", "url": "uri"}, "sku", r"key_columns='sku' must be a list"),
        ({"sku": "key", "url": "uri"}, ["id"], r"key_columns has 'id', which columns does not"),
        ({"sku": "key"}, ["sku"], r"nothing to write beside key_columns"),
        ({"sku": "key", "url": "url"}, ["sku"], r"no column 'url'\. Did you mean 'uri'\?"),
        ({"sku": "key", "url": "uri.x"}, ["sku"], r"'uri.x' names no column"),
        ({"sku": "key", "name": "input."}, ["sku"], r"'input.' names no column"),
        ({"sku": "key", "a = 1 --": "uri"}, ["sku"], r"which is no name of a database"),
        ({"sku": "key", "url": 7}, ["sku"], r"no column 7"),
    ],
)
def test_columns_that_cannot_be_written_are_refused_with_what_is_allowed(
    columns: Any, key_columns: Any, message: str
) -> None:
    with pytest.raises(FluxRequestError, match=message):
        TableColumns.parse(columns, key_columns, NAMES)


def test_the_keys_come_first_and_a_dot_names_a_value_of_a_column() -> None:
    columns = {"url": "uri", "name": "input.a.b", "sku": "key", "square": "renditions.square"}
    parsed = TableColumns.parse(columns, ["sku"], NAMES)
    assert parsed.names == ["sku", "url", "name", "square"]
    assert parsed.sources["name"] == Source("input", "a.b")
    assert parsed.of_images == ["url", "square"]
