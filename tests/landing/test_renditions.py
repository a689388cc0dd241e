"""Renditions in each store: beside the image, in XCom and sidecar, and never at its expense."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG
from airflow.utils.db import initdb
from PIL import ExifTags, Image, ImageCms

from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.generation import Generation, renditions_of
from airflow_provider_flux.landing import renditions
from airflow_provider_flux.landing.plan import LandingPlan, read_landing_plan
from airflow_provider_flux.landing.sidecar import DIGITAL_SOURCE_TYPE
from airflow_provider_flux.landing.target import Target
from airflow_provider_flux.ledger.record import drop_media_outside
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.testing.dag_run import run_dag
from tests.support.batch_tries import batch, quick
from tests.support.image_metadata import READERS, read_metadata
from tests.support.image_task import (
    copy_task,
    each_store_and_way,
    image_task,
    read_image,
    read_sidecar,
    run_task,
)
from tests.support.object_stores import FileStore, Store
from tests.support.run_operator import WAYS

__all__ = ["quick"]

pytestmark = [
    pytest.mark.usefixtures("hurry"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
SQUARE = {"width": 100, "height": 100, "fit": "crop"}
THUMB = {"width": 64, "format": "webp"}


def submits(emulator: EmulatorServer) -> int:
    return int(emulator.stats()["submits"])


def names_in(folder: Path) -> list[str]:
    return [name for name in FileStore(folder).names() if not name.startswith("_flux/")]


def check_rendition(store: Store, rendition: Any) -> Image.Image:
    """Check that a store has what the XCom says about a rendition, and return its picture."""
    data = store.read(rendition["uri"])
    assert data is not None
    assert rendition["sha256"] == hashlib.sha256(data).hexdigest()
    assert rendition["bytes"] == len(data)
    image = Image.open(io.BytesIO(data))
    image.load()
    assert rendition["content_type"] == f"image/{(image.format or '').lower()}"
    assert (rendition["width"], rendition["height"]) == image.size
    return image


@each_store_and_way
def test_an_image_lands_with_its_renditions_in_store_xcom_and_sidecar(
    emulator: EmulatorServer, store: Store, way: str
) -> None:
    task = image_task(
        f"{store.root}/{{seed}}.{{ext}}",
        way=way,
        seed=7,
        cache_control="max-age=60",
        renditions={"thumb": THUMB, "square": SQUARE},
    )
    generation = run_task(task)
    found = generation["image"]["renditions"]
    assert [found[name]["uri"] for name in ("thumb", "square")] == [
        f"{store.root}/7.jpeg.thumb.webp",
        f"{store.root}/7.jpeg.square.jpeg",
    ]
    assert check_rendition(store, found["thumb"]).size == (64, 64)
    assert check_rendition(store, found["square"]).size == (100, 100)
    described = read_sidecar(store, generation)["media"]["renditions"]
    assert {name: {**facts, "spec": None} for name, facts in described.items()} == {
        name: {**facts, "spec": None} for name, facts in found.items()
    }
    assert described["square"]["spec"] == {**SQUARE, "path": "{image}.{name}.{ext}"}
    if store.scheme != "file":
        stat = store.stat(found["thumb"]["uri"])
        assert (stat.content_type, stat.cache_control) == ("image/webp", "max-age=60")
    assert store.names() == [
        "7.jpeg",
        "7.jpeg.json",
        "7.jpeg.square.jpeg",
        "7.jpeg.thumb.webp",
    ]


class TestDefault:
    @pytest.mark.parametrize("way", WAYS)
    def test_an_operator_that_names_no_renditions_writes_a_thumb(
        self, emulator: EmulatorServer, tmp_path: Path, way: str
    ) -> None:
        task = image_task(f"{tmp_path}/x.{{ext}}", way=way, width=1024, height=512)
        (thumb,) = run_task(task)["image"]["renditions"].values()
        assert thumb["uri"] == f"{tmp_path}/x.jpeg.thumb.webp"
        assert check_rendition(FileStore(tmp_path), thumb).size == (320, 160)

    def test_images_that_differ_in_the_suffix_have_thumbs_of_their_own(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        for image_format in ("jpeg", "png"):
            run_task(image_task(f"{tmp_path}/x.{{ext}}", output_format=image_format))
        thumbs = [name for name in names_in(tmp_path) if "thumb" in name]
        assert thumbs == ["x.jpeg.thumb.webp", "x.png.thumb.webp"]

    def test_an_empty_dict_switches_renditions_off(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        generation = run_task(image_task(f"{tmp_path}/x.{{ext}}", renditions={}))
        assert generation["image"]["renditions"] == {}
        assert names_in(tmp_path) == ["x.jpeg", "x.jpeg.json"]

    def test_a_thumb_lands_without_a_sidecar(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        generation = run_task(image_task(f"{tmp_path}/x.{{ext}}", sidecar=False))
        assert list(generation["image"]["renditions"]) == ["thumb"]
        assert names_in(tmp_path) == ["x.jpeg", "x.jpeg.thumb.webp"]


class TestPath:
    def test_a_path_may_name_a_folder_below_that_of_the_image(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        path = "{name}/{stem}.{ext}"
        task = image_task(f"{tmp_path}/x.{{ext}}", renditions={"small": {**THUMB, "path": path}})
        found = run_task(task)["image"]["renditions"]
        assert found["small"]["uri"] == f"{tmp_path}/small/x.webp"
        assert names_in(tmp_path) == ["small/x.webp", "x.jpeg", "x.jpeg.json"]

    def test_a_suffix_without_a_format_is_the_format(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        renditions_ = {"small": {"width": 64, "path": "small.png"}}
        task = image_task(f"{tmp_path}/{{request_id}}/x.{{ext}}", renditions=renditions_)
        found = run_task(task)["image"]["renditions"]["small"]
        assert found["uri"].endswith("/small.png")
        assert check_rendition(FileStore(tmp_path), found).format == "PNG"

    @pytest.mark.parametrize(
        ("changes", "problem"),
        [
            ({"width": 0}, "greater than or equal to 1"),
            ({"width": 8193}, "less than or equal to 8192"),
            ({"width": 8192, "height": 8192}, "more than 16777216 pixels"),
            ({"width": None}, "needs a width or a height"),
            ({"fit": "crop"}, "needs width and height"),
            ({"fit": "cover"}, "'contain', 'crop' or 'pad'"),
            ({"format": "gif"}, "'jpeg', 'png' or 'webp'"),
            ({"quality": 0}, "greater than or equal to 1"),
            ({"format": "png", "quality": 9}, "quality, which a png does not have"),
            ({"background": "rd"}, "white, black, transparent or #rrggbb"),
            ({"format": "jpeg", "background": "transparent"}, "which a jpeg cannot have"),
            ({"widht": 9}, "unknown member 'widht'"),
            ({"path": "../{stem}.{ext}"}, "'.' or '..'"),
            ({"path": "/tmp/{stem}.{ext}"}, "is absolute"),
            ({"path": "s3://other/{stem}.{ext}"}, "is absolute"),
            ({"path": "_flux/{stem}.{ext}"}, "folder of the ledger"),
            ({"path": "{stem.__class__}.{ext}"}, "unknown placeholder"),
            ({"path": "{stem:>9}.{ext}"}, "a format for a placeholder"),
            ({"path": "{stem"}, "unbalanced braces"),
            ({"path": "{stem}.json"}, "no suffix of an image"),
            ({"path": "{stem}\n.{ext}"}, "control character"),
            ({"path": "{stem}.png", "format": "webp"}, "promises another format"),
            ({"path": "{stem}.{ext}"}, "may replace its image"),
            ({"path": "x.{ext}"}, "may replace its image"),
        ],
    )
    @pytest.mark.parametrize("is_template", [False, True], ids=["literal", "at run time"])
    def test_a_wrong_rendition_is_refused_before_anything_is_submitted(
        self,
        emulator: EmulatorServer,
        tmp_path: Path,
        changes: dict[str, Any],
        problem: str,
        is_template: bool,
    ) -> None:
        spec = {"width": 64, **changes}
        described = problem.replace("(", "\\(").replace(".", "\\.").replace("#", "\\#")
        if not is_template:
            with pytest.raises(FluxError, match=described):
                image_task(f"{tmp_path}/x.{{ext}}", renditions={"small": spec})
            return
        task = image_task(f"{tmp_path}/x.{{ext}}")
        task.renditions = {"small": spec}
        with pytest.raises(Exception, match=described):
            run_task(task)
        assert submits(emulator) == 0

    @pytest.mark.parametrize(
        ("renditions_", "problem"),
        [
            ({"a b": THUMB}, "is no name"),
            ({"../x": THUMB}, "is no name"),
            ({f"n{number}": THUMB for number in range(17)}, "more than 16"),
            ({"a": {**THUMB, "path": "x.webp"}, "b": {**THUMB, "path": "X.webp"}}, "same path"),
            ([THUMB], "valid dictionary"),
        ],
    )
    def test_names_of_renditions_are_checked_when_the_dag_is_parsed(
        self, tmp_path: Path, renditions_: Any, problem: str
    ) -> None:
        with pytest.raises(FluxError, match=problem):
            image_task(f"{tmp_path}/x.{{ext}}", renditions=renditions_)

    def test_renditions_that_are_one_file_for_the_name_of_the_image_are_refused(
        self, tmp_path: Path
    ) -> None:
        renditions_ = {"a": {**THUMB, "path": "{stem}.webp"}, "b": {**THUMB, "path": "hero.webp"}}
        with pytest.raises(FluxError, match="may replace 'a', another rendition"):
            image_task(f"{tmp_path}/hero.png", renditions=renditions_)
        image_task(f"{tmp_path}/other.png", renditions=renditions_)

    def test_a_rendition_may_have_the_name_of_the_image_in_another_format(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        spec = {"width": 64, "format": "webp", "path": "{stem}.{ext}"}
        run_task(image_task(f"{tmp_path}/x.jpg", renditions={"web": spec}))
        assert names_in(tmp_path) == ["x.jpg", "x.jpg.json", "x.webp"]


@pytest.fixture(scope="module")
def database() -> None:
    """The metadata database, which a DAG run needs."""
    initdb()


class TestTemplates:
    @pytest.mark.usefixtures("database")
    def test_members_of_renditions_are_templates(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        with DAG("sizes", schedule=None, params={"width": 48, "fit": "crop"}) as dag:
            FluxGenerateOperator(
                task_id="hero",
                prompt="a fox",
                width=256,
                height=256,
                output_path=f"{tmp_path}/x.{{ext}}",
                renditions={
                    "small": {
                        "width": "{{ params.width }}",
                        "height": 32,
                        "fit": "{{ params.fit }}",
                    }
                },
            )
        run = run_dag(dag)
        assert run.state == "success"
        with Image.open(tmp_path / "x.jpeg.small.jpeg") as image:
            assert image.size == (48, 32)

    def test_a_wrong_value_of_a_template_is_refused_before_the_submit(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        spec = {"width": "{{ 0 }}"}
        task = image_task(f"{tmp_path}/x.{{ext}}", renditions={"small": spec})
        task.render_template_fields({})
        with pytest.raises(AirflowFailException, match="greater than or equal to 1"):
            run_task(task)
        assert submits(emulator) == 0


@pytest.mark.usefixtures("quick")
class TestBatch:
    def test_the_manifest_has_the_thumb_and_all_renditions_of_each_row(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        renditions_ = {"thumb": THUMB, "square": SQUARE}
        task = batch(tmp_path, [{"prompt": "a"}, {"prompt": "b"}], renditions=renditions_)
        task.retry()
        for number, row in enumerate(task.manifest()):
            folder = f"{tmp_path}/out"
            assert row["thumb"] == f"{folder}/{number}.jpeg.thumb.webp"
            assert row["renditions"] == {
                "thumb": row["thumb"],
                "square": f"{folder}/{number}.jpeg.square.jpeg",
            }
            assert Path(row["thumb"]).exists()

    @pytest.mark.parametrize(
        ("output_format", "is_refused"), [("webp", True), ("jpeg", False), (None, False)]
    )
    def test_a_row_whose_image_a_thumb_would_replace_is_refused_before_the_submit(
        self,
        emulator: EmulatorServer,
        tmp_path: Path,
        output_format: str | None,
        is_refused: bool,
    ) -> None:
        more = {"output_format": output_format} if output_format else {}
        rows = [{"prompt": "a", "key": key, **more} for key in ("hero", "hero.webp.thumb")]
        task = batch(tmp_path, rows)
        if not is_refused:
            assert task.retry()["landed"] == 2
            return
        with pytest.raises(AirflowFailException, match="would replace the rendition thumb"):
            task.retry()
        assert submits(emulator) == 0


class TestMark:
    @pytest.mark.parametrize("reader", READERS)
    @pytest.mark.parametrize("rendition_format", ["jpeg", "png", "webp"])
    @pytest.mark.parametrize("embed_metadata", [False, True])
    def test_a_rendition_is_marked_as_generated_by_ai(
        self,
        emulator: EmulatorServer,
        tmp_path: Path,
        embed_metadata: bool,
        rendition_format: str,
        reader: str,
    ) -> None:
        spec = {"width": 64, "format": rendition_format}
        task = image_task(
            f"{tmp_path}/x.{{ext}}", renditions={"small": spec}, embed_metadata=embed_metadata
        )
        found = run_task(task)["image"]["renditions"]["small"]
        metadata = read_metadata(Path(found["uri"]).read_bytes(), reader)
        assert metadata["source"] == DIGITAL_SOURCE_TYPE
        assert metadata["tool"] == "FLUX flux-pro-1.1"

    @pytest.mark.parametrize("reader", READERS)
    @pytest.mark.parametrize("rendition_format", ["jpeg", "png", "webp"])
    def test_mark_color_profile_and_orientation_are_right_in_a_copy(
        self, emulator: EmulatorServer, tmp_path: Path, rendition_format: str, reader: str
    ) -> None:
        first = run_task(image_task(f"{tmp_path}/x.{{ext}}", sidecar=False, renditions={}))
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        path = Path(first["image"]["uri"])
        Image.new("RGB", (200, 100), "teal").save(path, icc_profile=profile, exif=exif.tobytes())
        first["image"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()

        spec = {"width": 50, "format": rendition_format}
        task = copy_task(first, f"{tmp_path}/copy.{{ext}}", renditions={"small": spec})
        small = run_task(task)["image"]["renditions"]["small"]
        assert (small["width"], small["height"]) == (50, 100)
        metadata = read_metadata(Path(small["uri"]).read_bytes(), reader)
        assert metadata["source"] == DIGITAL_SOURCE_TYPE
        assert metadata["orientation"] in {None, 1}
        assert metadata["icc"]


class TestFailure:
    def test_a_rendition_that_fails_is_a_warning_and_the_image_stands(
        self, emulator: EmulatorServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "blocked").write_text("a file where the rendition needs a folder")
        specs = {"bad": {**THUMB, "path": "blocked/{stem}.{ext}"}, "good": THUMB}
        generation = run_task(image_task(f"{tmp_path}/x.{{ext}}", renditions=specs))
        assert list(generation["image"]["renditions"]) == ["good"]
        assert list(read_sidecar(FileStore(tmp_path), generation)["media"]["renditions"]) == [
            "good"
        ]
        warnings = [
            record.getMessage()
            for record in caplog.records
            if record.levelno == logging.WARNING and "its rendition" in record.getMessage()
        ]
        assert len(warnings) == 1
        assert "'bad' is missing" in warnings[0]
        assert submits(emulator) == 1

    def test_a_rendition_never_replaces_the_image_of_another_task_of_the_run(
        self, emulator: EmulatorServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        other = run_task(
            image_task(f"{tmp_path}/x.jpeg.thumb.webp", task_id="other", output_format="webp")
        )
        before = Path(other["image"]["uri"]).read_bytes()
        generation = run_task(image_task(f"{tmp_path}/x.{{ext}}"))
        assert generation["image"]["renditions"] == {}
        assert Path(other["image"]["uri"]).read_bytes() == before
        assert "is the image of the task 'other'" in caplog.text

    def test_a_video_has_no_renditions(self, emulator: EmulatorServer, tmp_path: Path) -> None:
        task = image_task(
            f"{tmp_path}/x.{{ext}}",
            model="flux-3-video",
            parameters={"mode": "t2v", "duration": 5},
        )
        video = run_task(task)["video"]
        assert video["renditions"] == {}
        assert names_in(tmp_path) == ["x.mp4", "x.mp4.json"]


class TestExistingImages:
    def test_a_reused_image_gets_the_renditions_that_it_lacks(
        self, emulator: EmulatorServer, store: Store
    ) -> None:
        path = f"{store.root}/x.{{ext}}"
        first = run_task(image_task(path, reuse="always", renditions={}))
        before = read_sidecar(store, first)
        again = run_task(image_task(path, reuse="always", renditions={"thumb": THUMB}), "tuesday")
        assert (submits(emulator), again["reused"]) == (1, True)
        check_rendition(store, again["image"]["renditions"]["thumb"])
        assert read_image(store, again) == read_image(store, first)
        after = read_sidecar(store, again)
        assert list(after["media"].pop("renditions")) == ["thumb"]
        assert before["media"].pop("renditions") == {}
        assert after == before

    @pytest.mark.parametrize(
        "arguments", [{"reuse": "always"}, {"if_exists": "skip"}, {"if_exists": "error"}], ids=str
    )
    def test_a_rendition_that_exists_is_not_made_again(
        self,
        emulator: EmulatorServer,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        arguments: dict[str, Any],
    ) -> None:
        task = {"renditions": {"thumb": THUMB, "square": SQUARE}, **arguments}
        first = run_task(image_task(f"{tmp_path}/x.{{ext}}", **task))
        made: list[Any] = []
        original = renditions.make_rendition
        monkeypatch.setattr(
            renditions, "make_rendition", lambda *args: made.append(args) or original(*args)
        )
        again = run_task(image_task(f"{tmp_path}/x.{{ext}}", **task))
        assert submits(emulator) == 1
        assert again["image"] == first["image"]
        assert made == []

    def test_a_rendition_that_is_gone_or_described_otherwise_is_made_again(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        def run(**specs: Any) -> Any:
            task = image_task(f"{tmp_path}/x.{{ext}}", reuse="always", renditions=specs)
            return run_task(task)["image"]["renditions"]

        run(thumb=THUMB, square=SQUARE)
        (tmp_path / "x.jpeg.thumb.webp").unlink()
        found = run(thumb=THUMB, square={**SQUARE, "width": 40})
        assert check_rendition(FileStore(tmp_path), found["thumb"]).size == (64, 64)
        assert check_rendition(FileStore(tmp_path), found["square"]).size == (40, 100)
        assert run(thumb=THUMB) == found
        assert submits(emulator) == 1

    def test_an_image_of_the_user_keeps_what_is_beside_it(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        Image.new("RGB", (300, 200), "teal").save(tmp_path / "x.jpeg")
        (tmp_path / "x.jpeg.square.jpeg").write_bytes(b"of the user")
        task = image_task(
            f"{tmp_path}/x.{{ext}}",
            if_exists="skip",
            renditions={"thumb": THUMB, "square": SQUARE},
        )
        generation = run_task(task)
        assert submits(emulator) == 0
        assert list(generation["image"]["renditions"]) == ["thumb"]
        assert (tmp_path / "x.jpeg.square.jpeg").read_bytes() == b"of the user"
        assert names_in(tmp_path) == ["x.jpeg", "x.jpeg.square.jpeg", "x.jpeg.thumb.webp"]

    def test_a_copy_has_renditions_of_its_own(self, emulator: EmulatorServer, store: Store) -> None:
        first = run_task(image_task(f"{store.root}/x.{{ext}}"))
        copy = run_task(copy_task(first, f"{store.root}/copy/y.{{ext}}"))
        assert copy["image"]["renditions"]["thumb"]["uri"] == f"{store.root}/copy/y.jpeg.thumb.webp"
        check_rendition(store, copy["image"]["renditions"]["thumb"])

    def test_a_landing_under_its_own_name_adds_what_is_missing(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        first = run_task(image_task(f"{tmp_path}/x.{{ext}}", renditions={}))
        again = run_task(copy_task(first, f"{tmp_path}/x.{{ext}}"))
        assert list(again["image"]["renditions"]) == ["thumb"]

    def test_a_generation_of_an_earlier_version_has_no_renditions_and_is_copied(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        first = run_task(image_task(f"{tmp_path}/x.{{ext}}", renditions={}))
        del first["image"]["renditions"]
        assert renditions_of(first["image"]) == {}
        copy = run_task(copy_task(first, f"{tmp_path}/y.{{ext}}"))
        assert list(copy["image"]["renditions"]) == ["thumb"]


class TestPlanted:
    @pytest.mark.parametrize("path", ["../x.{ext}", "/tmp/x.{ext}", "s3://b/x.{ext}", "x.py"])
    def test_a_plan_with_a_rendition_elsewhere_cannot_be_read(self, path: str) -> None:
        plan = LandingPlan(target=Target(path="/lake/x.png")).model_dump(mode="json")
        assert read_landing_plan(plan) is not None
        plan["target"]["options"]["renditions"] = {"thumb": {"width": 9, "path": path}}
        assert read_landing_plan(plan) is None

    def test_a_plan_of_an_earlier_version_has_the_default_thumb(self) -> None:
        plan = LandingPlan(target=Target(path="/lake/x.png")).model_dump(mode="json")
        del plan["target"]["options"]["renditions"]
        read = read_landing_plan(plan)
        assert read is not None
        assert list(read.target.options.renditions) == ["thumb"]

    def test_a_record_counts_only_the_renditions_below_the_folder_of_the_images(self) -> None:
        facts = {"sha256": "", "bytes": 1, "width": 1, "height": 1, "content_type": "image/webp"}
        uris = {"own": "/lake/a.webp", "out": "/etc/a.webp", "up": "/lake/../etc/a.webp"}
        listed = {name: {"uri": uri, **facts} for name, uri in uris.items()}
        image = {"uri": "/lake/a.png", "renditions": {**listed, "odd": 7}}
        generation: Any = {"request_id": "r", "image": image, "video": None}
        kept = drop_media_outside(generation, "/lake/")["image"]
        assert kept is not None
        assert list(kept["renditions"]) == ["own"]

    def test_a_sidecar_that_names_a_rendition_elsewhere_leads_to_none(
        self, emulator: EmulatorServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "lake").mkdir()
        (tmp_path / "secret.webp").write_bytes(b"secret")
        path = f"{tmp_path}/lake/x.{{ext}}"
        first = run_task(image_task(path, reuse="always"))
        sidecar = Path(first["image"]["sidecar"])
        described = json.loads(sidecar.read_text())
        planted = {**described["media"]["renditions"]["thumb"]}
        for number, uri in enumerate(
            (f"{tmp_path}/secret.webp", f"{tmp_path}/lake/../secret.webp", "https://evil.example/x")
        ):
            described["media"]["renditions"][f"evil{number}"] = {**planted, "uri": uri}
        sidecar.write_text(json.dumps(described))
        again = run_task(image_task(path, reuse="always"))
        assert again["reused"]
        assert list(again["image"]["renditions"]) == ["thumb"]
        assert "names renditions elsewhere" in caplog.text

    @pytest.mark.parametrize(
        "planted",
        [
            {"thumb": {"uri": 7}},
            {"thumb": None},
            {7: {}},
            ["thumb"],
            "thumb",
            {"thumb": {"uri": "x", "sha256": "", "bytes": "9", "width": 1, "height": 1}},
        ],
        ids=str,
    )
    def test_what_is_no_rendition_is_left_out(self, planted: Any) -> None:
        assert renditions_of({"renditions": planted}) == {}


def test_pixels_are_decoded_off_the_event_loop(
    emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    original = renditions.make_rendition
    monkeypatch.setattr(
        renditions,
        "make_rendition",
        lambda *args: threads.append(threading.current_thread().name) or original(*args),
    )
    run_task(image_task(f"{tmp_path}/x.{{ext}}", way="deferred"))
    assert len(threads) == 1
    assert threads[0].startswith("asyncio_")  # a thread of the executor of the loop


def test_a_landed_generation_is_the_same_type_for_every_way(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    kinds = set()
    for way in WAYS:
        generation: Generation = run_task(image_task(f"{tmp_path}/{way}.{{ext}}", way=way))
        image = generation["image"]
        assert image is not None
        kinds.add((*image, *image["renditions"]["thumb"]))
        shutil.rmtree(tmp_path / "_flux")
    assert len(kinds) == 1
