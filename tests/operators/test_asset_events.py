"""Asset events of the operators, in DAG runs of Airflow on its database."""

from __future__ import annotations

import hashlib
import json
import runpy
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from airflow.models.asset import AssetEvent
from airflow.sdk import DAG, Asset, AssetAlias
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.operators import asset_events
from airflow_provider_flux.operators.asset_events import asset_uri, describe_image
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.testing.dag_run import run_dag, store_dag
from airflow_provider_flux.transfers.flux_to_object_storage import FluxToObjectStorageOperator
from tests.conftest import KEY
from tests.support.airflow_names import AIRFLOW

ROOT = Path(__file__).resolve().parents[2]

names_partitions = pytest.mark.skipif(
    AIRFLOW < (3, 3), reason="a task names the partitions of its events from Airflow 3.3 on"
)
SMALL = {"width": 256, "height": 256}
CAMPAIGN = Asset("campaign", uri="x-campaign://spring")


@pytest.fixture(scope="module", autouse=True)
def database() -> None:
    """The metadata database, which a DAG run needs."""
    initdb()


@dataclass(frozen=True)
class Event:
    """A row of the table of asset events."""

    asset: str
    extra: dict[str, Any]
    alias: str | None
    partition: str | None


def run_and_read_events(build: Callable[[], Any], **arguments: Any) -> tuple[Any, list[Event]]:
    """Run a DAG of the tasks that ``build`` makes, and return its run and its asset events."""
    with DAG("events", schedule=None) as dag:
        build()
    run = run_dag(dag, **arguments)
    with create_session() as session:
        rows = session.scalars(
            select(AssetEvent).where(
                AssetEvent.source_dag_id == "events", AssetEvent.source_run_id == run.run_id
            )
        ).all()
        return run, [
            Event(
                row.asset.uri,
                row.extra,
                next((alias.name for alias in row.source_aliases), None),
                getattr(row, "partition_key", None),
            )
            for row in rows
        ]


def xcom(run: Any, task_id: str = "hero") -> Any:
    """Return what a task of a run returned."""
    return run.get_task_instance(task_id).xcom_pull(task_ids=task_id)


def hero(root: Path, **arguments: Any) -> FluxGenerateOperator:
    arguments = {"outlets": [CAMPAIGN], "output_path": f"file://{root}/hero.{{ext}}", **arguments}
    return FluxGenerateOperator(task_id="hero", prompt="a red fox", **SMALL, **arguments)


def catalogue(root: Path, rows: list[Any], **arguments: Any) -> FluxGenerateBatchOperator:
    arguments = {"outlets": [CAMPAIGN], "output_path": f"file://{root}/{{key}}.{{ext}}"} | arguments
    return FluxGenerateBatchOperator(task_id="all", requests=rows, defaults=SMALL, **arguments)


class TestOneImage:
    @pytest.mark.parametrize("way", ["worker", "trigger"])
    def test_the_event_of_a_landed_image_describes_it(
        self, emulator: EmulatorServer, tmp_path: Path, hurry: None, way: str
    ) -> None:
        deferred = {"deferrable": True, "inline_wait": 0}
        arguments = deferred if way == "trigger" else {"deferrable": False}
        run, events = run_and_read_events(lambda: hero(tmp_path, seed=7, **arguments))
        (event,) = events
        assert event.asset == "x-campaign://spring"
        content = (tmp_path / "hero.jpeg").read_bytes()
        assert event.extra == {
            "uri": f"file://{tmp_path}/hero.jpeg",
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "width": 256,
            "height": 256,
            "content_type": "image/jpeg",
            "sidecar": f"file://{tmp_path}/hero.jpeg.json",
            "thumb": f"file://{tmp_path}/hero.jpeg.thumb.webp",
            "model": "flux-pro-1.1",
            "seed": 7,
            "cost": 4,
            "cost_source": "estimated",
            "request_id": xcom(run)["request_id"],
            "reused": False,
        }

    def test_no_event_holds_a_secret_or_a_url_of_bfl(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        _, events = run_and_read_events(
            lambda: hero(tmp_path, outlets=[CAMPAIGN, AssetAlias("images")])
        )
        text = json.dumps([event.extra for event in events])
        assert len(events) == 2
        assert not any(part in text for part in (KEY, "sig=", "http://", "https://", "red fox"))

    def test_an_alias_gets_an_event_for_the_asset_of_the_image(
        self, emulator: EmulatorServer, aws_lab: str, s3: str
    ) -> None:
        from tests.support.object_stores import S3Store

        S3Store(s3).make_bucket()
        path = f"s3://{aws_lab}@media/{{{{ run_id }}}}/hero.{{ext}}"
        run, events = run_and_read_events(
            lambda: hero(Path(), output_path=path, outlets=[AssetAlias("images")])
        )
        (event,) = events
        assert (event.alias, event.asset) == ("images", f"s3://media/{run.run_id}/hero.jpeg")
        assert event.extra["uri"] == f"s3://{aws_lab}@media/{run.run_id}/hero.jpeg"
        assert event.extra["sha256"] == xcom(run)["image"]["sha256"]

    @pytest.mark.parametrize("way", ["worker", "trigger"])
    def test_the_event_has_the_prompt_only_if_the_task_asks_for_it(
        self, emulator: EmulatorServer, tmp_path: Path, hurry: None, way: str
    ) -> None:
        arguments = {"deferrable": way == "trigger", "inline_wait": 0}
        _, events = run_and_read_events(
            lambda: hero(
                tmp_path,
                prompt_in_events=True,
                outlets=[CAMPAIGN, AssetAlias("images")],
                **arguments,
            )
        )
        assert [event.extra["prompt"] for event in events] == ["a red fox"] * 2

    @pytest.mark.parametrize("arguments", [{"hide_prompt": True}, {"sidecar": False}])
    def test_a_prompt_in_events_is_refused_if_the_sidecar_does_not_have_it(
        self, tmp_path: Path, arguments: dict[str, Any]
    ) -> None:
        with pytest.raises(FluxRequestError, match="prompt_in_events=True needs"):
            hero(tmp_path, prompt_in_events=True, **arguments)

    def test_the_event_of_a_kept_image_says_that_it_is_reused(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        run_and_read_events(lambda: hero(tmp_path, seed=7))
        _, events = run_and_read_events(lambda: hero(tmp_path, seed=7, reuse="always"))
        (event,) = events
        assert event.extra["reused"] is True
        assert (event.extra["cost"], event.extra["cost_source"]) == (0, "reused")
        assert emulator.stats()["submits"] == 1

    def test_the_event_without_an_output_path_has_no_image(self, emulator: EmulatorServer) -> None:
        run, events = run_and_read_events(
            lambda: hero(Path(), output_path=None, outlets=[CAMPAIGN, AssetAlias("images")])
        )
        (event,) = events
        assert event.extra["request_id"] == xcom(run)["request_id"]
        assert "uri" not in event.extra

    def test_a_failed_task_emits_no_event(self, emulator: EmulatorServer, tmp_path: Path) -> None:
        run, events = run_and_read_events(
            lambda: FluxGenerateOperator(
                task_id="hero",
                prompt="x [[fault:moderated=Violence]]",
                outlets=[CAMPAIGN],
                output_path=f"file://{tmp_path}/x.jpeg",
            )
        )
        assert (run.state, events) == ("failed", [])

    def test_what_the_dag_puts_into_the_extra_is_kept(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        def add_team(context: Any) -> None:
            context["outlet_events"][CAMPAIGN].extra = {"team": "shop", "model": "ours"}

        _, events = run_and_read_events(lambda: hero(tmp_path, pre_execute=add_team))
        (event,) = events
        assert (event.extra["team"], event.extra["model"]) == ("shop", "ours")
        assert event.extra["width"] == 256

    @names_partitions
    def test_the_event_is_of_the_partition_that_the_task_names(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        _, events = run_and_read_events(lambda: hero(tmp_path, partition_key="{{ 'BAG' }}-12"))
        assert [event.partition for event in events] == ["BAG-12"]

    @names_partitions
    @pytest.mark.parametrize(("key", "partition"), [(0, "0"), (date(2026, 7, 1), "2026-07-01")])
    def test_a_partition_may_be_a_number_or_a_date(
        self, emulator: EmulatorServer, tmp_path: Path, key: Any, partition: str
    ) -> None:
        _, events = run_and_read_events(lambda: hero(tmp_path, partition_key=key))
        assert [(event.partition, event.extra["width"]) for event in events] == [(partition, 256)]

    @pytest.mark.parametrize("key", [["BAG-12"], {"sku": "BAG-12"}])
    def test_a_partition_that_is_no_text_does_not_fail_the_task_of_a_landed_image(
        self, emulator: EmulatorServer, tmp_path: Path, key: Any
    ) -> None:
        run, events = run_and_read_events(lambda: hero(tmp_path, partition_key=key))
        assert run.state == "success"
        assert [(event.partition, event.extra["width"]) for event in events] == [(None, 256)]

    def test_an_image_whose_name_is_not_ascii_or_too_long_does_not_fail_its_task(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        """Airflow's API server fails a task that emits an event for a URI that is not ASCII."""
        long = "/".join(["x" * 200] * 8)

        def build() -> None:
            for number, name in enumerate(["t\u00fcr", long]):
                FluxGenerateOperator(
                    task_id=f"door_{number}",
                    prompt="a door",
                    output_path=f"file://{tmp_path}/{name}.jpeg",
                    outlets=[AssetAlias("doors")],
                    **SMALL,
                )

        run, events = run_and_read_events(build)
        assert [event.asset for event in events] == [f"file://{tmp_path}/t%C3%BCr.jpeg"]
        assert events[0].extra["uri"] == f"file://{tmp_path}/t\u00fcr.jpeg"
        assert {ti.state for ti in run.get_task_instances()} == {"success"}

    def test_an_outlet_that_has_no_events_does_not_fail_the_task(
        self, emulator: EmulatorServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        run, events = run_and_read_events(
            lambda: hero(tmp_path, outlets=[{"namespace": "elsewhere"}, CAMPAIGN])
        )
        assert run.state == "success"
        assert [event.extra["width"] for event in events] == [256]


class TestBatch:
    def test_the_event_of_a_batch_has_counts_credits_and_the_manifest(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        rows = [{"key": key, "prompt": f"a {key}"} for key in ("fox", "hare")]
        rows.append({"key": "wolf", "prompt": "x [[fault:moderated=Violence]]"})
        run, events = run_and_read_events(lambda: catalogue(tmp_path, rows))
        (event,) = events
        summary = xcom(run, "all")
        assert event.extra == {name: summary[name] for name in event.extra}
        assert event.extra["manifest"] == f"file://{tmp_path}/manifest-all.jsonl"
        counts = {name: event.extra[name] for name in ("rows", "landed", "moderated", "credits")}
        assert counts == {"rows": 3, "landed": 2, "moderated": 1, "credits": 8}
        assert set(asset_events.BatchEventExtra.__annotations__) == set(event.extra)

    def test_an_alias_gets_an_event_for_each_row_with_an_image(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        rows = [{"key": key, "prompt": f"a {key}"} for key in ("fox", "hare")]
        rows.append({"key": "wolf", "prompt": "x [[fault:moderated=Violence]]"})
        _, events = run_and_read_events(
            lambda: catalogue(
                tmp_path, rows, outlets=[CAMPAIGN, AssetAlias("images")], prompt_in_events=True
            )
        )
        images = {event.extra["key"]: event for event in events if event.alias}
        assert set(images) == {"fox", "hare"}
        for key, event in images.items():
            assert event.asset == f"file://{tmp_path}/{key}.jpeg"
            assert event.extra["prompt"] == f"a {key}"
            assert "seconds" not in event.extra  # the length of a video, not the time of the row
            content = (tmp_path / f"{key}.jpeg").read_bytes()
            assert event.extra["sha256"] == hashlib.sha256(content).hexdigest()

    def test_an_alias_gets_no_more_events_than_the_limit(
        self,
        emulator: EmulatorServer,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(asset_events, "MAX_IMAGE_EVENTS", 2)
        _, events = run_and_read_events(
            lambda: catalogue(tmp_path, ["a", "b", "c"], outlets=[AssetAlias("images")])
        )
        assert [event.extra["key"] for event in events] == ["0", "1"]
        assert "1 more images have none" in caplog.text

    @names_partitions
    def test_each_row_with_an_image_is_a_partition_on_request(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        rows = [{"key": key, "prompt": f"a {key}"} for key in ("fox", "hare")]
        rows.append({"key": "wolf", "prompt": "x [[fault:moderated=Violence]]"})
        _, events = run_and_read_events(lambda: catalogue(tmp_path, rows, partition_by_key=True))
        assert sorted(event.partition or "" for event in events) == ["fox", "hare"]
        assert {event.extra["manifest"] for event in events} == {
            f"file://{tmp_path}/manifest-all.jsonl"
        }

    @names_partitions
    def test_the_dags_of_the_page_plan_a_run_for_each_product(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        from airflow.models.asset import AssetPartitionDagRun

        page = runpy.run_path(str(ROOT / "docs/snippets/asset_partitions.py"))
        page["pages"].is_paused_upon_creation = False
        store_dag(page["pages"])
        images = page["images"].get_task("products")
        images.output_path = f"file://{tmp_path}/{{key}}.{{ext}}"
        run = run_dag(page["images"])
        assert run.state == "success"
        with create_session() as session:
            planned = session.scalars(
                select(AssetPartitionDagRun.partition_key).where(
                    AssetPartitionDagRun.target_dag_id == "flux_product_page"
                )
            ).all()
        assert sorted(planned) == ["BAG-12", "MUG-07"]

    def test_more_rows_than_a_task_can_emit_partitions_for_are_refused_before_the_submit(
        self, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(asset_events, "MAX_PARTITIONS", 2)
        run, events = run_and_read_events(
            lambda: catalogue(tmp_path, ["a", "b", "c"], partition_by_key=True)
        )
        assert (run.state, events) == ("failed", [])
        assert emulator.stats()["submits"] == 0

    @names_partitions
    def test_a_key_that_is_no_partition_does_not_fail_the_batch(
        self, emulator: EmulatorServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        rows = [{"key": "k" * 251, "prompt": "a fox"}, {"key": "hare", "prompt": "a hare"}]
        run, events = run_and_read_events(
            lambda: catalogue(
                tmp_path,
                rows,
                output_path=f"file://{tmp_path}/{{index}}.jpeg",
                partition_by_key=True,
            )
        )
        assert run.state == "success"
        assert [event.partition for event in events] == ["hare"]
        assert "longer than 250 characters" in caplog.text


class TestTransfer:
    def test_the_event_of_a_copy_describes_the_copy(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        def build() -> None:
            first = hero(tmp_path, outlets=[])
            FluxToObjectStorageOperator(
                task_id="copy",
                generation=first.output,
                output_path=f"file://{tmp_path}/copy.jpeg",
                outlets=[CAMPAIGN],
                prompt_in_events=True,
            )

        _, events = run_and_read_events(build)
        (event,) = events
        assert event.extra["uri"] == f"file://{tmp_path}/copy.jpeg"
        assert event.extra["prompt"] == "a red fox"

    def test_the_event_of_a_list_has_its_images_and_their_credits(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        def build() -> None:
            made = FluxGenerateOperator.partial(task_id="made", **SMALL).expand(prompt=["a", "b"])
            FluxToObjectStorageOperator(
                task_id="land",
                generation=made.output,
                output_path=f"file://{tmp_path}/{{index}}.jpeg",
                outlets=[CAMPAIGN, AssetAlias("images")],
            )

        _, events = run_and_read_events(build)
        (event,) = (event for event in events if event.alias is None)
        uris = [f"file://{tmp_path}/{n}.jpeg" for n in range(2)]
        assert (event.extra["count"], event.extra["credits"]) == (2, 8)
        assert [image["uri"] for image in event.extra["images"]] == uris
        assert sorted(event.asset for event in events if event.alias) == uris


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://my_conn@bucket/a/b.png", "s3://bucket/a/b.png"),
        ("gs://bucket/a b.png", "gs://bucket/a b.png"),
        ("abfs://conn@container/x.png", "abfs://container/x.png"),
        ("file:///tmp/x.png", "file:///tmp/x.png"),
        ("file:///tmp/100%/t\u00fcr.png", "file:///tmp/100%/t%C3%BCr.png"),
    ],
)
def test_the_asset_of_an_image_is_ascii_and_does_not_name_its_connection(
    uri: str, expected: str
) -> None:
    assert asset_uri(uri) == expected


def test_an_extra_has_only_numbers_that_airflow_can_send() -> None:
    extra = describe_image({"uri": "file:///x", "seed": 2**64, "model": "\ud800", "cost": None})
    assert extra == {"uri": "file:///x", "model": "?", "reused": False}
