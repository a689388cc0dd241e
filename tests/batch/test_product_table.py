"""A table of products in PostgreSQL becomes images, stays up to date, and is written back.

``make soak`` sets ``FLUX_TABLE_ROWS`` to 100,000 products; by default there are 120.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from tests.support.product_table import QUERY, ProductTable
from tests.support.sql_databases import PostgresLab

ROWS = int(os.environ.get("FLUX_TABLE_ROWS", "120"))
#: Rows whose memory is compared with that of all rows.
FEW = min(1000, ROWS // 4)
FIGURES = ("new", "changed", "unchanged", "gone")
#: Credits of an image.
PRICE = 4


@pytest.fixture
def table(
    postgres: PostgresLab, connect: Callable[..., None], tmp_path: Path
) -> Iterator[ProductTable]:
    """A table of products, and an emulator for it alone."""
    config = EmulatorConfig(latency=0.05, max_active=24, credits=10_000_000, image_bytes=2000)
    with EmulatorServer(config) as server:
        connect(server.url)
        yield ProductTable.create(postgres, server, tmp_path, ROWS)


def test_a_table_becomes_images_that_stay_up_to_date_and_are_written_back(
    table: ProductTable,
) -> None:
    _survive_a_kill(table)
    _pay_nothing_for_what_is_the_same(table)
    _pay_for_changes_only(table)
    _write_back_once(table)


def _survive_a_kill(table: ProductTable) -> None:
    """The process is killed in the middle, and the next try pays for the other rows only."""
    table.run_killed(ROWS // 2)
    summary = table.run(on_uncertain="resubmit").outcome
    assert summary["landed"] + summary["reused"] == ROWS
    # A submit whose answer the killed process did not record may have been billed.
    assert 0 <= table.submits - ROWS <= summary["uncertain_submits"] <= 24
    assert table.images() == {str(number) for number in range(1, ROWS + 1)}
    assert set(table.samples) == {0}, "the batch holds a connection while images are made"


def _pay_nothing_for_what_is_the_same(table: ProductTable) -> None:
    """A second run is free, also if rows have another order, and columns another type."""
    before = table.submits
    assert _figures(table.next_night()) == [0, 0, ROWS, 0]
    table.lab.run("ALTER TABLE products ALTER sku TYPE numeric(12, 2), ALTER line TYPE varchar(9)")
    assert _figures(table.next_night(sql=f"{QUERY} DESC")) == [0, 0, ROWS, 0]
    table.lab.run("ALTER TABLE products ALTER sku TYPE text USING sku::int::text")
    assert table.submits == before


def _pay_for_changes_only(table: ProductTable) -> None:
    """One row changes, one is new, and two are removed, whose images go if that is asked for."""
    before = table.submits
    table.lab.run("UPDATE products SET colour = 'blue' WHERE sku = '3'")
    table.lab.run("UPDATE products SET description = 'not in the prompt' WHERE sku = '4'")
    table.lab.run("INSERT INTO products VALUES ('new', 'vase', 'green', 'line1', '')")
    table.lab.run("DELETE FROM products WHERE sku IN ('1', '2')")
    summary = table.next_night()
    assert _figures(summary) == [1, 1, ROWS - 3, 2]
    assert (table.submits - before, summary["credits"]) == (2, 2 * PRICE)
    assert {"1", "2", "new"} <= table.images()
    summary = table.next_night(prune="delete")
    assert (summary["gone"], summary["pruned"], table.submits - before) == (2, 2, 2)
    assert not {"1", "2"} & table.images()
    assert len(table.images()) == ROWS - 1


def _write_back_once(table: ProductTable) -> None:
    """The first write fills all rows, and the second one changes nothing."""
    counts = table.write_back()
    assert (counts["rows"], counts["updated"], counts["inserted"]) == (ROWS - 1, ROWS - 1, 0)
    counts = table.write_back()
    assert (counts["unchanged"], counts["updated"], counts["inserted"]) == (ROWS - 1, 0, 0)
    (row,) = table.lab.values("SELECT ARRAY[image_url, alt_text] FROM products WHERE sku = '3'")
    assert row[0].endswith("/out/line3/3.jpeg")
    assert row[1] == "Photo of lamp 3, blue"
    assert table.lab.values("SELECT DISTINCT writes FROM products WHERE sku <> 'new'") == [1]
    assert _figures(table.next_night()) == [0, 0, ROWS - 1, 0], "what is written back costs nothing"


def test_a_batch_with_a_budget_needs_no_more_memory_for_a_table_that_is_larger(
    table: ProductTable,
) -> None:
    few = table.run(
        sql=QUERY.replace("ORDER", "WHERE sku <= %(limit)s ORDER"), sql_parameters={"limit": FEW}
    )
    assert few.outcome["landed"] == table.submits == FEW
    images = max(ROWS // 50, 10)
    table.folder = table.folder / "all"
    many = table.run(on_budget="trim", max_cost=PRICE * images + 1)
    print(  # noqa: T201
        f"{FEW} rows: +{few.grown_mib:.1f} MiB, {few.seconds:.1f} s. {ROWS} rows, {images} images: "
        f"+{many.grown_mib:.1f} MiB, {many.seconds:.1f} s."
    )
    assert (many.outcome["landed"], many.outcome["pending"]) == (images, ROWS - images)
    assert table.submits == FEW + images
    assert many.grown_mib - few.grown_mib < 80
    assert set(table.samples) == {0}


def _figures(summary: dict[str, int]) -> list[int]:
    return [summary[name] for name in FIGURES]
