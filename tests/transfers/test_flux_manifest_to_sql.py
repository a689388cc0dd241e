"""FluxManifestToSqlOperator: a manifest in tables of PostgreSQL and SQLite."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.bfl.errors import FluxRequestError, FluxStorageError
from airflow_provider_flux.transfers.flux_manifest_to_sql import FluxManifestToSqlOperator
from tests.support.sql_databases import SqlLab

COLUMNS = {"sku": "key", "image_url": "uri", "alt_text": "alt_text", "name": "input.name"}
TABLE = (
    "CREATE TABLE products (sku {key} PRIMARY KEY, name VARCHAR(80) NOT NULL, image_url TEXT, "
    "alt_text TEXT, price NUMERIC(10, 2), writes INTEGER DEFAULT 0)"
)


class Upstream:
    """A task instance whose upstream tasks left XComs."""

    def __init__(self, xcoms: dict[str, Any]) -> None:
        self.xcoms = xcoms

    def xcom_pull(self, *, task_ids: str, key: str) -> Any:
        assert key == "flux_batch"
        return self.xcoms.get(task_ids)


@pytest.fixture(params=["postgres", "sqlite"])
def lab(request: pytest.FixtureRequest) -> SqlLab:
    """An empty database of each kind."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def products(lab: SqlLab) -> SqlLab:
    """A table with the products A1 and A2, which have no image."""
    lab.run(TABLE.format(key="VARCHAR(20)"))
    lab.run("INSERT INTO products (sku, name, price) VALUES ('A1', 'Lamp', 19.90)")
    lab.run("INSERT INTO products (sku, name, price) VALUES ('A2', 'Vase', 5.00)")
    return lab


def table_of(lab: SqlLab, query: str = "SELECT sku, name, image_url, alt_text") -> list[Any]:
    """Return the rows of the table, by their keys."""
    with closing(lab.connect()) as connection:
        cursor = connection.cursor()
        cursor.execute(f"{query} FROM products ORDER BY sku")
        return [tuple(row) for row in cursor.fetchall()]


def row(folder: Path, key: Any, outcome: str = "landed", **members: Any) -> dict[str, Any]:
    """Return a row of a manifest."""
    image = {"uri": f"{folder}/{key}.jpeg", "alt_text": f"Photo of {key}"}
    shown = image if outcome in {"landed", "reused"} else {"uri": None, "alt_text": None}
    return {
        "key": str(key),
        "outcome": outcome,
        "renditions": None,
        **shown,
        "input": {"name": f"Product {key}", "sku": key},
        **members,
    }


def write_manifest(path: Path, rows: list[Any]) -> str:
    """Write a manifest of either format, and return its path."""
    if path.suffix == ".parquet":
        flat = [
            {
                **row,
                "input": json.dumps(row["input"]),
                "renditions": list((row["renditions"] or {}).items()),
            }
            for row in rows
        ]
        types = {"renditions": pa.map_(pa.string(), pa.string())}
        schema = pa.schema([(name, types.get(name, pa.string())) for name in flat[0]])
        pq.write_table(pa.Table.from_pylist(flat, schema=schema), path)
    else:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def transfer(
    lab: SqlLab, manifest: Any, xcoms: dict[str, Any] | None = None, **changes: Any
) -> Any:
    """Run the operator."""
    arguments = {"table": "products", "columns": COLUMNS, "key_columns": ["sku"], **changes}
    operator = FluxManifestToSqlOperator(
        task_id="to_table", conn_id=lab.conn_id, manifest_path=manifest, **arguments
    )
    return operator.execute({"ti": Upstream(xcoms or {})})  # type: ignore[arg-type]


class TestUpsert:
    @pytest.mark.parametrize("ending", ["jsonl", "parquet"])
    def test_rows_are_updated_inserted_and_then_left_alone(
        self, products: SqlLab, tmp_path: Path, ending: str
    ) -> None:
        rows = [
            row(tmp_path, "A1"),
            row(tmp_path, "A2", "moderated"),
            row(tmp_path, "A3", "reused"),
        ]
        manifest = write_manifest(tmp_path / f"m.{ending}", rows)
        counts = transfer(products, manifest)
        assert counts == {
            **{"rows": 2, "inserted": 1, "updated": 1, "unchanged": 0, "skipped": 0, "gone": 0},
            "table": "products",
        }
        assert table_of(products) == [
            ("A1", "Product A1", f"{tmp_path}/A1.jpeg", "Photo of A1"),
            ("A2", "Vase", None, None),
            ("A3", "Product A3", f"{tmp_path}/A3.jpeg", "Photo of A3"),
        ]
        again = transfer(products, manifest)
        assert (again["inserted"], again["updated"], again["unchanged"]) == (0, 0, 2)

    def test_columns_that_are_not_named_keep_their_values(
        self, products: SqlLab, tmp_path: Path
    ) -> None:
        transfer(products, write_manifest(tmp_path / "m.jsonl", [row(tmp_path, "A1")]))
        (price,) = table_of(products, "SELECT price")[0]
        assert float(price) == 19.9

    def test_only_changed_rows_are_written(self, postgres: SqlLab, tmp_path: Path) -> None:
        lab = postgres
        lab.run(TABLE.format(key="TEXT"))
        lab.run(
            "CREATE FUNCTION count_write() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN NEW.writes = OLD.writes + 1; RETURN NEW; END'"
        )
        lab.run(
            "CREATE TRIGGER t BEFORE UPDATE ON products FOR EACH ROW EXECUTE FUNCTION count_write()"
        )
        rows = [row(tmp_path, key) for key in ("A1", "A2", "A3")]
        for _ in range(3):
            transfer(lab, write_manifest(tmp_path / "m.jsonl", rows))
        rows[1]["alt_text"] = "Another text"
        transfer(lab, write_manifest(tmp_path / "m.jsonl", rows))
        assert table_of(lab, "SELECT sku, writes") == [("A1", 0), ("A2", 1), ("A3", 0)]

    def test_a_row_that_only_the_table_may_add_is_skipped(
        self, products: SqlLab, tmp_path: Path
    ) -> None:
        rows = [row(tmp_path, "A1"), row(tmp_path, "A9")]
        manifest = write_manifest(tmp_path / "m.jsonl", rows)
        columns = {name: source for name, source in COLUMNS.items() if name != "name"}
        counts = transfer(products, manifest, columns=columns, on_missing="skip")
        assert (counts["updated"], counts["skipped"]) == (1, 1)
        assert [sku for (sku,) in table_of(products, "SELECT sku")] == ["A1", "A2"]

    def test_more_rows_than_one_statement_takes_are_all_written(
        self, lab: SqlLab, tmp_path: Path
    ) -> None:
        lab.run(TABLE.format(key="TEXT"))
        rows = [row(tmp_path, f"P{number:04}") for number in range(1234)]
        manifest = write_manifest(tmp_path / "m.jsonl", rows)
        assert transfer(lab, manifest)["inserted"] == 1234
        assert transfer(lab, manifest)["unchanged"] == 1234


class TestKeys:
    @pytest.mark.parametrize("key_type", ["INTEGER", "NUMERIC(10, 2)", "DOUBLE PRECISION"])
    @pytest.mark.parametrize("source", ["key", "input.sku"])
    def test_a_key_that_is_text_in_the_manifest_is_a_number_in_the_table(
        self, lab: SqlLab, tmp_path: Path, key_type: str, source: str
    ) -> None:
        lab.run(TABLE.format(key=key_type))
        lab.run("INSERT INTO products (sku, name) VALUES (101, 'Lamp')")
        manifest = write_manifest(tmp_path / "m.jsonl", [row(tmp_path, 101), row(tmp_path, 7)])
        columns = {**COLUMNS, "sku": source}
        counts = transfer(lab, manifest, columns=columns)
        assert (counts["inserted"], counts["updated"]) == (1, 1)
        assert transfer(lab, manifest, columns=columns)["unchanged"] == 2

    @pytest.mark.parametrize("key_type", ["CHAR(10)", "UUID"])
    def test_a_key_counts_as_its_column_compares_it(
        self, postgres: SqlLab, tmp_path: Path, key_type: str
    ) -> None:
        keys = {"CHAR(10)": "A1", "UUID": "0E5C26F4-1B7C-4B8E-9B6C-2F0A5E3D7C11"}
        postgres.run(TABLE.format(key=key_type))
        manifest = write_manifest(tmp_path / "m.jsonl", [row(tmp_path, keys[key_type])])
        assert transfer(postgres, manifest)["inserted"] == 1
        assert transfer(postgres, manifest)["unchanged"] == 1

    def test_keys_that_differ_in_case_are_two_rows_where_case_counts(
        self, lab: SqlLab, tmp_path: Path
    ) -> None:
        lab.run(TABLE.format(key="TEXT"))
        transfer(lab, write_manifest(tmp_path / "m.jsonl", [row(tmp_path, "ab")]))
        rows = [
            row(tmp_path, key, uri=f"{tmp_path}/{n}.jpeg") for n, key in enumerate(["ab", "AB"])
        ]
        counts = transfer(lab, write_manifest(tmp_path / "m.jsonl", rows))
        assert (counts["inserted"], counts["updated"]) == (1, 1)
        images = dict(table_of(lab, "SELECT sku, image_url"))
        assert images == {"ab": f"{tmp_path}/0.jpeg", "AB": f"{tmp_path}/1.jpeg"}

    def test_padded_keys_that_differ_in_case_are_two_rows(
        self, postgres: SqlLab, tmp_path: Path
    ) -> None:
        postgres.run(TABLE.format(key="CHAR(8)"))
        transfer(postgres, write_manifest(tmp_path / "m.jsonl", [row(tmp_path, "ab")]))
        rows = [row(tmp_path, "AB", uri=f"{tmp_path}/new.jpeg"), row(tmp_path, "ab")]
        counts = transfer(postgres, write_manifest(tmp_path / "m.jsonl", rows))
        assert (counts["inserted"], counts["unchanged"]) == (1, 1)

    @pytest.mark.parametrize("on_gone", ["null", "delete"])
    def test_a_key_that_changed_its_case_is_one_row_where_case_does_not_count(
        self, sqlite: SqlLab, tmp_path: Path, on_gone: str
    ) -> None:
        sqlite.run(TABLE.format(key="TEXT COLLATE NOCASE"))
        transfer(sqlite, write_manifest(tmp_path / "m.jsonl", [row(tmp_path, "AB")]))
        rows = [row(tmp_path, "ab", uri=f"{tmp_path}/new.jpeg"), row(tmp_path, "Ab", "gone")]
        counts = transfer(sqlite, write_manifest(tmp_path / "m.jsonl", rows), on_gone=on_gone)
        assert (counts["updated"], counts["gone"]) == (1, 0)
        assert table_of(sqlite, "SELECT image_url") == [(f"{tmp_path}/new.jpeg",)]

    def test_two_keys_that_are_one_key_of_the_table_end_the_transfer(
        self, sqlite: SqlLab, tmp_path: Path
    ) -> None:
        sqlite.run(TABLE.format(key="TEXT COLLATE NOCASE"))
        transfer(sqlite, write_manifest(tmp_path / "m.jsonl", [row(tmp_path, "AB")]))
        rows = [row(tmp_path, "ab"), row(tmp_path, "Ab")]
        with pytest.raises(AirflowFailException, match=r"one key in the table: 'ab' and 'Ab'"):
            transfer(sqlite, write_manifest(tmp_path / "m.jsonl", rows))

    def test_numbers_with_many_digits_are_different_keys(
        self, postgres: SqlLab, tmp_path: Path
    ) -> None:
        keys = [f"1234567890123456789012345678901{digit}" for digit in range(3)]
        postgres.run(TABLE.format(key="NUMERIC(38, 0)"))
        rows = [row(tmp_path, key) for key in keys]
        manifest = write_manifest(tmp_path / "m.jsonl", rows)
        assert transfer(postgres, manifest)["inserted"] == 3
        assert transfer(postgres, manifest)["unchanged"] == 3
        images = table_of(postgres, "SELECT image_url")
        assert images == [(f"{tmp_path}/{key}.jpeg",) for key in keys]

    @pytest.mark.parametrize("key", ["1e999999", "1e99999999999", "sNaN", "--5"])
    def test_a_text_that_is_a_huge_number_is_compared_without_its_digits(
        self, sqlite: SqlLab, tmp_path: Path, key: str
    ) -> None:
        sqlite.run(TABLE.format(key="INTEGER").replace("INTEGER PRIMARY KEY", "INTEGER"))
        transfer(sqlite, write_manifest(tmp_path / "m.jsonl", [row(tmp_path, 7)]))
        rows = [row(tmp_path, 7), row(tmp_path, key)]
        counts = transfer(sqlite, write_manifest(tmp_path / "m.jsonl", rows))
        assert (counts["inserted"], counts["unchanged"]) == (1, 1)

    def test_several_columns_identify_an_image_of_a_sweep(
        self, lab: SqlLab, tmp_path: Path
    ) -> None:
        lab.run("CREATE TABLE pictures (sku TEXT, seed INTEGER, image_url TEXT)")
        rows = [
            row(tmp_path, f"A1-{seed}", input={"sku": "A1", "seed": seed}) for seed in (1, 2, 3)
        ]
        manifest = write_manifest(tmp_path / "m.jsonl", rows)
        columns = {"sku": "input.sku", "seed": "input.seed", "image_url": "uri"}
        changes = {"table": "pictures", "columns": columns, "key_columns": ["sku", "seed"]}
        assert transfer(lab, manifest, **changes)["inserted"] == 3
        assert transfer(lab, manifest, **changes)["unchanged"] == 3
        with pytest.raises(AirflowFailException, match=r"row 1 has the same key as row 0: 'A1'"):
            transfer(lab, manifest, **{**changes, "key_columns": ["sku"]})

    @pytest.mark.parametrize("key", [None, "", " ", "a\x00b", True, ["A1"]])
    def test_a_row_without_a_usable_key_ends_the_transfer_before_a_write(
        self, products: SqlLab, tmp_path: Path, key: Any
    ) -> None:
        rows = [row(tmp_path, "A1"), row(tmp_path, "A2", input={"name": "x", "sku": key})]
        manifest = write_manifest(tmp_path / "m.jsonl", rows)
        with pytest.raises(AirflowFailException, match=r"row 1 has no input.sku that can be a key"):
            transfer(products, manifest, columns={**COLUMNS, "sku": "input.sku"})
        assert table_of(products)[0][2] is None


class TestGone:
    @pytest.mark.parametrize(
        ("on_gone", "left", "gone"),
        [
            ("keep", [("A1", "Lamp", "/old", "old"), ("A2", "Vase", None, None)], 0),
            ("null", [("A1", "Lamp", None, None), ("A2", "Vase", None, None)], 1),
            ("delete", [("A2", "Vase", None, None)], 1),
        ],
    )
    def test_a_row_that_the_input_lost_is_kept_emptied_or_deleted(
        self, products: SqlLab, tmp_path: Path, on_gone: str, left: list[Any], gone: int
    ) -> None:
        products.run("UPDATE products SET image_url = '/old', alt_text = 'old' WHERE sku = 'A1'")
        rows = [row(tmp_path, "A1", "gone"), row(tmp_path, "A8", "gone")]
        manifest = write_manifest(tmp_path / "m.jsonl", rows)
        assert transfer(products, manifest, on_gone=on_gone)["gone"] == gone
        assert table_of(products) == left
        assert transfer(products, manifest, on_gone=on_gone)["gone"] == 0

    @pytest.mark.parametrize("on_gone", ["null", "delete"])
    def test_a_manifest_that_has_lost_most_rows_of_the_table_changes_none(
        self, products: SqlLab, tmp_path: Path, on_gone: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        products.run("UPDATE products SET image_url = '/old'")
        before = table_of(products)
        rows = [row(tmp_path, sku, "gone") for sku in ("A1", "A2")]
        manifest = write_manifest(tmp_path / "m.jsonl", rows)
        with pytest.raises(AirflowFailException, match=rf"on_gone='{on_gone}'.* 2 of 2 rows"):
            transfer(products, manifest, on_gone=on_gone)
        assert table_of(products) == before
        monkeypatch.setenv("AIRFLOW__FLUX__MAX_PRUNE_SHARE", "1")
        assert transfer(products, manifest, on_gone=on_gone)["gone"] == 2

    @pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
    def test_a_row_that_moved_to_another_batch_is_not_lost(
        self, products: SqlLab, tmp_path: Path, names: tuple[str, str]
    ) -> None:
        write_manifest(tmp_path / "a.jsonl", [row(tmp_path, "A1", "gone")])
        write_manifest(tmp_path / "b.jsonl", [row(tmp_path, "A1")])
        manifests = [f"{tmp_path}/{name}.jsonl" for name in names]
        counts = transfer(products, manifests, on_gone="delete")
        assert (counts["updated"], counts["gone"]) == (1, 0)
        assert [sku for (sku,) in table_of(products, "SELECT sku")] == ["A1", "A2"]


class TestWrongTable:
    @pytest.mark.parametrize(
        "changes",
        [{"table": "nowhere"}, {"columns": {**COLUMNS, "image": "uri"}}],
        ids=["table", "column"],
    )
    def test_a_missing_table_or_column_is_one_clear_error(
        self, products: SqlLab, tmp_path: Path, changes: dict[str, Any]
    ) -> None:
        manifest = write_manifest(tmp_path / "m.jsonl", [row(tmp_path, "A1")])
        missing = changes.get("table", "image")
        with pytest.raises(AirflowFailException, match=f"was not written.*{missing}") as caught:
            transfer(products, manifest, **changes)
        assert "canary" not in str(caught.value)
        assert table_of(products)[0][2] is None

    def test_a_row_that_the_table_refuses_leaves_the_table_as_it_was(
        self, products: SqlLab, tmp_path: Path
    ) -> None:
        rows = [row(tmp_path, "A1"), row(tmp_path, "A7", input={"name": None, "sku": "A7"})]
        manifest = write_manifest(tmp_path / "m.jsonl", rows)
        with pytest.raises(AirflowFailException, match=r"nothing in it changed"):
            transfer(products, manifest)
        assert table_of(products)[0] == ("A1", "Lamp", None, None)

    def test_a_connection_that_is_no_database_is_refused(
        self, sqlite: SqlLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_FLUX_TEST_SQLITE", "http://x")
        manifest = write_manifest(tmp_path / "m.jsonl", [row(tmp_path, "A1")])
        with pytest.raises(AirflowFailException, match=r"conn_id='flux_test_sqlite'"):
            transfer(sqlite, manifest)


class TestStrangersManifest:
    @pytest.fixture(autouse=True)
    def _unchanged(self, products: SqlLab) -> Iterator[None]:
        """No damaged manifest changes the table."""
        before = table_of(products)
        yield
        assert table_of(products) == before

    @pytest.mark.parametrize(
        "members",
        [
            {"uri": "s3://other/x.jpeg"},
            {"uri": "https://evil.example/x.jpeg"},
            {"uri": "{folder}/../x.jpeg"},
            {"uri": {"a": 1}},
            {"uri": None},
            {"alt_text": ["x"]},
            {"input": 7},
            {"outcome": None},
        ],
    )
    def test_a_planted_row_ends_the_transfer(
        self, products: SqlLab, tmp_path: Path, members: dict[str, Any]
    ) -> None:
        planted = {
            name: value.replace("{folder}", str(tmp_path)) if isinstance(value, str) else value
            for name, value in members.items()
        }
        rows = [row(tmp_path, "A1"), row(tmp_path, "A2", **planted)]
        manifest = write_manifest(tmp_path / "m.jsonl", rows)
        with pytest.raises(FluxStorageError, match=r"m.jsonl', row 1.*Nothing was written"):
            transfer(products, manifest)

    def test_a_line_that_is_no_row_ends_the_transfer(
        self, products: SqlLab, tmp_path: Path
    ) -> None:
        manifest = write_manifest(tmp_path / "m.jsonl", [row(tmp_path, "A1"), "text"])
        with pytest.raises(FluxStorageError, match=r"row 1 is damaged"):
            transfer(products, manifest)

    def test_a_column_of_the_input_that_no_row_has_does_not_empty_the_table(
        self, products: SqlLab, tmp_path: Path
    ) -> None:
        manifest = write_manifest(tmp_path / "m.jsonl", [row(tmp_path, "A1", input=None)])
        with pytest.raises(AirflowFailException, match=r"input.name.*Set keep_columns"):
            transfer(products, manifest)

    def test_a_missing_manifest_is_reported(self, products: SqlLab, tmp_path: Path) -> None:
        with pytest.raises(FluxStorageError, match=r"m.jsonl does not exist"):
            transfer(products, f"{tmp_path}/m.jsonl")


class TestValues:
    def test_values_are_bound_and_never_a_part_of_the_statement(
        self, products: SqlLab, tmp_path: Path
    ) -> None:
        evil = "'; DROP TABLE products; -- %s ? %(x)s \x00"
        rows = [row(tmp_path, "A1", alt_text=evil), row(tmp_path, "x' OR '1'='1")]
        transfer(products, write_manifest(tmp_path / "m.jsonl", rows))
        assert table_of(products)[0][3] == evil.replace("\x00", "")
        assert len(table_of(products)) == 3

    def test_files_get_the_url_of_the_delivery_network(
        self, products: SqlLab, tmp_path: Path
    ) -> None:
        square = f"{tmp_path}/a b/A1.square.webp"
        rows = [row(tmp_path, "A1", renditions={"square": square}), row(tmp_path, "A2")]
        manifest = write_manifest(tmp_path / "m.jsonl", rows)
        columns = {**COLUMNS, "image_url": "renditions.square"}
        transfer(products, manifest, columns=columns, public_url="https://cdn.example.com/x")
        assert table_of(products)[0][2] == "https://cdn.example.com/x/a%20b/A1.square.webp"
        assert table_of(products)[1][2] is None

    def test_the_folder_of_files_may_be_written_with_or_without_its_scheme(
        self, sqlite: SqlLab, tmp_path: Path
    ) -> None:
        sqlite.run("CREATE TABLE pictures (key TEXT, url TEXT)")
        folder = f"file://{tmp_path}"
        rows = [row(tmp_path, "A1", uri=f"{folder}/x/A1.jpeg")]
        manifest = write_manifest(tmp_path / "m.jsonl", rows)
        for root in (str(tmp_path), folder, f"{folder}/"):
            counts = transfer(
                sqlite,
                manifest,
                table="pictures",
                columns={"key": "key", "url": "uri"},
                key_columns=["key"],
                image_root=root,
                public_url="https://cdn.example.com/",
            )
            assert counts["rows"] == 1
        with closing(sqlite.connect()) as connection:
            urls = connection.execute("SELECT url FROM pictures").fetchall()
        assert urls == [("https://cdn.example.com/x/A1.jpeg",)]

    def test_objects_become_json(self, postgres: SqlLab, tmp_path: Path) -> None:
        postgres.run("CREATE TABLE pictures (sku TEXT, source JSONB, seed BIGINT)")
        rows = [row(tmp_path, "A1", seed=2**32 - 1)]
        manifest = write_manifest(tmp_path / "m.jsonl", rows)
        columns = {"sku": "key", "source": "input", "seed": "seed"}
        changes: Any = {"table": "pictures", "columns": columns}
        assert transfer(postgres, manifest, **changes)["inserted"] == 1
        assert transfer(postgres, manifest, **changes)["unchanged"] == 1


class TestManifestPath:
    def test_the_manifest_of_the_only_batch_upstream_is_the_default(
        self, products: SqlLab, tmp_path: Path
    ) -> None:
        manifest = write_manifest(tmp_path / "m.jsonl", [row(tmp_path, "A1")])
        operator = FluxManifestToSqlOperator(
            task_id="t",
            conn_id=products.conn_id,
            table="products",
            columns=COLUMNS,
            key_columns=["sku"],
        )
        operator.upstream_task_ids.update({"batch", "other"})
        context: Any = {"ti": Upstream({"batch": {"manifest": manifest, "landed": 1}})}
        assert operator.execute(context)["updated"] == 1
        context = {"ti": Upstream({})}
        with pytest.raises(AirflowFailException, match=r"manifest_path is required.*batch, other"):
            operator.execute(context)

    def test_several_manifests_of_a_mapped_batch_are_written_together(
        self, products: SqlLab, tmp_path: Path
    ) -> None:
        summaries = [
            {"manifest": write_manifest(tmp_path / f"{key}.jsonl", [row(tmp_path, key)])}
            for key in ("A1", "A2")
        ]
        assert transfer(products, summaries)["updated"] == 2

    @pytest.mark.parametrize("path", [7, "m.jsonl", "/x/m.csv", {"rows": 1}, "/x/{{ ds }}.jsonl"])
    def test_a_value_that_is_no_manifest_is_refused(self, products: SqlLab, path: Any) -> None:
        with pytest.raises((FluxRequestError, AirflowFailException), match="manifest_path"):
            transfer(products, path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table": "a b"}, r"table has|table='a b'"),
        ({"columns": {"sku": "nope"}}, r"no column 'nope'"),
        ({"key_columns": ["id"]}, r"key_columns has 'id'"),
        ({"outcomes": ["ok"]}, r"outcomes=\['ok'\] must be a list of some of 'landed'"),
        ({"on_missing": "add"}, r"on_missing='add' must be one of 'insert', 'skip'"),
        ({"on_gone": "drop"}, r"on_gone='drop' must be one of 'keep', 'null', 'delete'"),
        ({"manifest_path": "out/m.jsonl"}, r"manifest_path='out/m.jsonl' is relative"),
    ],
)
def test_a_wrong_literal_is_refused_when_the_dag_is_parsed(
    changes: dict[str, Any], message: str
) -> None:
    arguments = {"conn_id": "db", "table": "t", "key_columns": ["key"], **changes}
    with pytest.raises(FluxRequestError, match=message):
        FluxManifestToSqlOperator(task_id="t", **arguments)
