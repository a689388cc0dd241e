"""The how-to pages: their DAGs run, and their error messages and estimates are correct."""

from __future__ import annotations

import io
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image, ImageStat

from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.bfl.inputs import MediaFile
from airflow_provider_flux.bfl.request import build_request, estimate_cost
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from scripts import sync_snippets
from tests.support.emulator_media import encode_image, encode_video, plain_image
from tests.support.review_tries import ReviewTask
from tests.support.run_operator import run_operator
from tests.support.sql_databases import PostgresLab

PAGES = sync_snippets.ROOT / "docs" / "how-to"
SNIPPETS = sync_snippets.ROOT / "docs" / "snippets"
BUCKET = "s3://my_s3@media"


@pytest.fixture(scope="module")
def clips() -> dict[str, bytes]:
    return {
        "clip.mp4": encode_video(plain_image(size=(320, 240)), seconds=5),
        "long.mp4": encode_video(plain_image(size=(192, 160)), seconds=16),
    }


@pytest.fixture
def bucket(tmp_path: Path, clips: dict[str, bytes]) -> Path:
    """Return a folder in place of the bucket of the pages, with their inputs."""
    room = plain_image(size=(1024, 768))
    images = {
        "room.jpeg": encode_image(room, "JPEG"),
        "mask.png": encode_image(room.convert("L")),
        "person.jpeg": encode_image(plain_image(size=(600, 800)), "JPEG"),
        "garment.jpeg": encode_image(plain_image(size=(400, 400)), "JPEG"),
        "logo.png": encode_image(plain_image(size=(300, 100))),
        "product.jpeg": encode_image(plain_image(size=(800, 600)), "JPEG"),
        "small_mask.png": encode_image(Image.new("L", (640, 480))),
        "notes.txt": b"no image",
    }
    (tmp_path / "in").mkdir()
    for name, content in (images | clips).items():
        (tmp_path / "in" / name).write_bytes(content)
    with (tmp_path / "in" / "large.png").open("wb") as file:
        file.truncate(21 * 1024 * 1024)
    return tmp_path


# The DAGs


@pytest.fixture(scope="module")
def page_tasks() -> dict[str, Any]:
    from tests.support.airflow_names import DagBag

    bag = DagBag(str(sync_snippets.ROOT / "docs" / "snippets"))
    assert bag.import_errors == {}
    return {f"{name}.{task.task_id}": task for name, dag in bag.dags.items() for task in dag.tasks}


@pytest.fixture
def run_page_task(page_tasks: dict[str, Any], bucket: Path) -> Callable[..., Any]:
    """Return a function that runs a task of the pages with the folder in place of the bucket.

    Its keyword arguments are the XComs of earlier tasks.
    """

    def rebase(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: rebase(item) for name, item in value.items()}
        return value.replace(BUCKET, f"file://{bucket}") if isinstance(value, str) else value

    def run_it(name: str, **xcoms: Any) -> Any:
        task = page_tasks[name].prepare_for_execution()
        task.render_template_fields(
            {"ti": SimpleNamespace(xcom_pull=lambda task_ids: xcoms[task_ids])}
        )
        task.parameters, task.output_path = rebase(task.parameters), rebase(task.output_path)
        return run_operator(task)

    return run_it


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("flux_edit.repaint", None),
        ("flux_multi_reference.combine", (1536, 1024)),
        ("flux_inpaint.fill", (1024, 768)),
        ("flux_outpaint.canvas", (1536, 1024)),
        ("flux_outpaint.margins", (1536, 768)),
        ("flux_erase.erase", (1024, 768)),
        ("flux_try_on.try_on", None),
        ("flux_cap_hero.hero", None),
    ],
)
def test_a_dag_of_the_how_to_pages_lands_its_image(
    emulator: EmulatorServer, bucket: Path, run_page_task, name: str, size: tuple[int, int] | None
) -> None:
    image = run_page_task(name)["image"]
    assert image["uri"].startswith(f"file://{bucket}/out/{name.partition('.')[0]}/")
    with Image.open(image["uri"].removeprefix("file://")) as landed:
        assert size is None or landed.size == size
    assert emulator.stats()["submits"] == 1


def test_the_dags_of_the_video_page_land_their_videos(
    emulator: EmulatorServer, run_page_task, hurry: None
) -> None:
    draft = run_page_task("flux_video.draft")
    assert Path(draft["video"]["draft_cache"].removeprefix("file://")).stat().st_size
    results = [
        run_page_task("flux_video.enhance", draft=draft),
        run_page_task("flux_video.animate"),
    ]
    results += [
        run_page_task(f"flux_video_from_video.{task}") for task in ("go_on", "upscale", "edit")
    ]
    for result in results:
        assert result["image"] is None
        assert (
            Path(result["video"]["uri"].removeprefix("file://")).stat().st_size
            == result["video"]["bytes"]
        )
    assert emulator.stats()["submits"] == 6


#: Pages whose DAG is not in docs/snippets, by the snippet that they show instead.
OTHER_SNIPPETS = {"test-your-dag": "tests/testing/project/product_shots_tests.py#tests"}


@pytest.mark.parametrize("path", sorted(PAGES.glob("*.md")), ids=lambda path: path.name)
def test_a_how_to_page_shows_a_tested_dag(path: Path) -> None:
    name = path.stem.replace("-", "_")
    source = OTHER_SNIPPETS.get(path.stem, f"docs/snippets/{name}.py#{name}")
    assert f"<!-- snippet: {source} -->" in path.read_text()


def test_the_sample_inputs_are_those_that_the_how_to_pages_name() -> None:
    local_s3 = runpy.run_path(str(SNIPPETS / "local_s3.py"))
    inputs = local_s3["make_inputs"]()
    named = {
        name
        for snippet in SNIPPETS.glob("*.py")
        for name in re.findall(r"s3://my_s3@media/in/([\w.]+)", snippet.read_text())
    }
    assert named
    assert named <= set(inputs)
    for name, size in {"room.jpeg": (1024, 768), "mask.png": (1024, 768)}.items():
        with Image.open(io.BytesIO(inputs[name])) as image:
            assert image.size == size
    with (
        Image.open(io.BytesIO(inputs["room.jpeg"])) as room,
        Image.open(io.BytesIO(inputs["mask.png"])) as mask,
    ):
        box = room.convert("L").point(lambda value: 255 if value > 230 else 0)
        assert abs(ImageStat.Stat(box).mean[0] - ImageStat.Stat(mask).mean[0]) < 3


def test_the_catalogue_from_postgresql_writes_the_uri_of_each_product(
    emulator: EmulatorServer, page_tasks: dict[str, Any], postgres: PostgresLab, tmp_path: Path
) -> None:
    script = (SNIPPETS / "local_postgres.py").read_text()
    postgres.run(script.partition('PRODUCTS = """')[2].partition('"""')[0])
    images = page_tasks["flux_catalogue_from_postgresql.images"].prepare_for_execution()
    to_table = page_tasks["flux_catalogue_from_postgresql.to_table"].prepare_for_execution()
    images.sql_conn_id = to_table.conn_id = postgres.conn_id
    for name in ("output_path", "failed_path"):
        setattr(images, name, getattr(images, name).replace(BUCKET, f"file://{tmp_path}"))
    images._root = images._root.replace(BUCKET, f"file://{tmp_path}")
    expected = [(4, 0, 4), (0, 4, 4)]  # landed, reused, and submits so far
    for landed, reused, submits in expected:
        images.ledger_path = f"file://{tmp_path}/run-{submits - landed}-{reused}/"
        summary = run_operator(images.prepare_for_execution())
        assert (summary["landed"], summary["reused"]) == (landed, reused)
        assert emulator.stats()["submits"] == submits
        to_table.manifest_path = summary["manifest"]
        run_operator(to_table)
    uris = postgres.values("SELECT image_uri FROM products ORDER BY sku")
    assert uris == [
        f"file://{tmp_path}/out/catalogue/{sku}.jpeg"
        for sku in ("BAG-12", "LAMP-01", "MUG-07", "VASE-03")
    ]


def test_the_nightly_review_publishes_what_a_person_approves(
    emulator: EmulatorServer, page_tasks: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "products.csv").write_text("sku,description\nA,a lamp\nB,a mug\nC,a bag\n")
    batch = page_tasks["flux_nightly_with_review.images"].prepare_for_execution()
    batch.requests = str(tmp_path / "products.csv")
    batch.output_path = f"file://{tmp_path}/candidates/{{key}}.{{ext}}"
    batch._root = f"file://{tmp_path}/candidates/"
    summary = run_operator(batch)
    shown = page_tasks["flux_nightly_with_review.review"]
    assert (shown.multiple, shown.on_reject) == (True, "skip")
    review = ReviewTask(
        tmp_path, summary, multiple=True, output_path=f"file://{tmp_path}/approved/{{key}}.{{ext}}"
    )
    approved = review.ask().answer("1", "3")
    publish = page_tasks["flux_nightly_with_review.publish"].python_callable
    assert publish(approved) == [f"file://{tmp_path}/approved/{key}.jpeg" for key in "AC"]
    assert emulator.stats()["submits"] == 3


def test_the_loop_and_the_batch_that_replaces_it_make_the_same_files(
    emulator: EmulatorServer, page_tasks: dict[str, Any], tmp_path: Path
) -> None:
    loop = page_tasks["flux_before.generate_all"].python_callable
    loop(str(tmp_path))
    batch = page_tasks["flux_after.generate_all"].prepare_for_execution()
    batch.output_path = f"file://{tmp_path}/after/{{key}}.{{ext}}"
    batch._root = f"file://{tmp_path}/after/"
    run_operator(batch)
    names = ["LAMP-01.jpeg", "MUG-07.jpeg"]
    assert sorted(path.name for path in tmp_path.glob("*.jpeg")) == names
    assert sorted(path.name for path in (tmp_path / "after").glob("*.jpeg")) == names
    assert emulator.stats()["submits"] == 4


# The mistakes

ROOM, MASK = "/media/in/room.jpeg", "/media/in/mask.png"
_TO_2K = {"width": 2048, "height": 2048}


def mistake(model: str, prompt: str | None = "x", **parameters: Any) -> dict[str, Any]:
    named = {
        name: parameters.pop(name) for name in ("width", "height", "seed") if name in parameters
    }
    return {"model": model, "prompt": prompt, "parameters": parameters, **named}


def keyframes(*images: str) -> dict[str, Any]:
    return mistake("flux-3-video", mode="i2v", keyframes=list(images))


#: Operator arguments that make the mistakes of each page, by the first column of its table.
MISTAKES = {
    "edit.md": {
        "a misspelled parameter": mistake("flux-kontext-pro", input_imag=ROOM),
        "a relative path": mistake("flux-kontext-pro", input_image="room.jpeg"),
        "a ratio in another form": mistake(
            "flux-kontext-pro", input_image=ROOM, aspect_ratio="4x3"
        ),
        "the file does not exist": mistake("flux-kontext-pro", input_image="/media/in/gone.jpeg"),
        "the file is not an image": mistake("flux-kontext-pro", input_image="/media/in/notes.txt"),
    },
    "multi-reference.md": {
        "a list": mistake("flux-2-pro", input_image=[ROOM, ROOM]),
        "the name of another model's parameter": mistake("flux-2-pro", images=[ROOM]),
        "more images than the model accepts": mistake("flux-2-klein-4b", input_image_5=ROOM),
        "a file that is too large": mistake("flux-2-pro", input_image="/media/in/large.png"),
    },
    "inpaint.md": {
        "a mask of another size": mistake(
            "flux-pro-1.0-fill", image=ROOM, mask="/media/in/small_mask.png"
        ),
        "no image": mistake("flux-pro-1.0-fill", mask=MASK),
        "the short name of the model": mistake("flux-fill", image=ROOM, mask=MASK),
        "the parameter of another tool": mistake("flux-pro-1.0-fill", input_image=ROOM),
        "a URL of the internal network": mistake(
            "flux-pro-1.0-fill", image="http://10.0.0.7/room.jpeg"
        ),
    },
    "outpaint.md": {
        "the canvas is too small": mistake(
            "flux-tools/outpainting-v1", input_image=ROOM, width=800, height=800
        ),
        "no size": mistake("flux-tools/outpainting-v1", input_image=ROOM),
        "a size for the margins": mistake("flux-pro-1.0-expand", image=ROOM, width=2000),
        "a margin that is too wide": mistake("flux-pro-1.0-expand", image=ROOM, left=4000),
        "a seed": mistake("flux-tools/outpainting-v1", input_image=ROOM, seed=1, **_TO_2K),
    },
    "erase.md": {
        "a prompt": mistake("flux-tools/erase-v1", "without the chair", image=ROOM, mask=MASK),
        "no mask": mistake("flux-tools/erase-v1", None, image=ROOM),
        "a mask of another size": mistake(
            "flux-tools/erase-v1", None, image=ROOM, mask="/media/in/small_mask.png"
        ),
        "the name without its folder": mistake("erase-v1", None, image=ROOM, mask=MASK),
        "a mask that is enlarged too much": mistake(
            "flux-tools/erase-v1", None, image=ROOM, mask=MASK, dilate_pixels=40
        ),
    },
    "try-on.md": {
        "no prompt": mistake("flux-tools/vto-v2", None, person=ROOM, garment=ROOM),
        "a wrong name for the person": mistake(
            "flux-tools/vto-v2", person_image=ROOM, garment=ROOM
        ),
        "one of the two is missing": mistake("flux-tools/vto-v2", person=ROOM),
        "a connection that does not exist": mistake(
            "flux-tools/vto-v2", person="s3://no_such_conn@media/in/person.jpeg", garment=ROOM
        ),
    },
    "video.md": {
        "no mode": mistake("flux-3-video"),
        "a parameter of another mode": mistake("flux-3-video", mode="t2v", keyframes=ROOM),
        "too short": mistake("flux-3-video", mode="t2v", duration=3),
        "three keyframes without times and duration": keyframes(ROOM, ROOM, ROOM),
        "an image instead of a video": mistake("flux-3-video", mode="v2v", start_video=ROOM),
        "a video that is too long": mistake("flux-tools/video-edit-v1", video="/media/in/long.mp4"),
    },
}


def read_quotes(page: str) -> dict[str, str]:
    """Return the messages of the table of mistakes, by its first column."""
    rows = (PAGES / page).read_text().partition("\n| mistake |")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| ([^|`]+) \| `(.+)` \|$", rows, flags=re.MULTILINE))


def prepare(task: FluxGenerateOperator) -> None:
    with task.hook.prepare_inputs(task._build_request()):
        pass


def message(arguments: dict[str, Any], bucket: Path) -> str:
    """Make a mistake, and return its error message with the folder of the pages."""

    def move_below(value: Any) -> Any:
        if isinstance(value, list):
            return [move_below(item) for item in value]
        return (
            value.replace("/media", str(bucket))
            if isinstance(value, str) and value.startswith("/media")
            else value
        )

    parameters = {name: move_below(value) for name, value in arguments["parameters"].items()}
    with pytest.raises(FluxError) as caught:
        prepare(FluxGenerateOperator(task_id="x", **arguments | {"parameters": parameters}))
    return str(caught.value).replace(str(bucket), "/media").replace("gone.jpeg", "room.jpeg")


@pytest.mark.parametrize("page", MISTAKES)
def test_the_mistakes_of_a_how_to_page_fail_with_the_quoted_messages(
    page: str, bucket: Path, connect
) -> None:
    connect("http://127.0.0.1:1")
    quotes = read_quotes(page)
    assert set(quotes) == set(MISTAKES[page])
    messages = {title: message(arguments, bucket) for title, arguments in MISTAKES[page].items()}
    assert [
        (title, messages[title]) for title, text in quotes.items() if text not in messages[title]
    ] == []


# The estimates


def file(width: int = 1000, height: int = 1000, seconds: float | None = None) -> MediaFile:
    return MediaFile("test", "x/y", 1, "0" * 64, io.BytesIO, width, height, seconds)


FROM_5_S = file(1280, 720, 5.0)
EXPAND, OUTPAINT = "flux-pro-1.0-expand", "flux-tools/outpainting-v1"
SQUARE = {"width": 1024, "height": 1024}
REFERENCES = {f"input_image{suffix}": file() for suffix in ("", "_2", "_3")}
#: Quotes of prices in the pages, each with the request whose estimate it is.
ESTIMATES = [
    ("edit.md", "4 credits (0.04 USD)", "flux-kontext-pro", {}),
    ("edit.md", "larger model: 8 credits", "flux-kontext-max", {}),
    (
        "multi-reference.md",
        "1.5 + 3 x 1.5 | 9 |",
        "flux-2-pro",
        {"width": 1536, "height": 1024, **REFERENCES},
    ),
    (
        "multi-reference.md",
        "1024 x 1024 from one input | 4.5 |",
        "flux-2-pro",
        {**SQUARE, "input_image": file()},
    ),
    ("multi-reference.md", "from text alone | 3 |", "flux-2-pro", SQUARE),
    ("multi-reference.md", "(../models.md#flux-2-max) | 8 | 7 |", "flux-2-max", SQUARE),
    ("multi-reference.md", "(../models.md#flux-2-flex) | 8 | 5 |", "flux-2-flex", SQUARE),
    ("multi-reference.md", "(../models.md#flux-2-klein-9b) | 4 | 1.5 |", "flux-2-klein-9b", SQUARE),
    ("inpaint.md", "5 credits (0.05 USD)", "flux-pro-1.0-fill", {"image": file()}),
    (
        "inpaint.md",
        "costs 6 credits",
        "flux-pro-1.0-fill-finetuned",
        {"image": file(), "finetune_id": "x"},
    ),
    (
        "outpaint.md",
        "`mode` `fast` | 4.5 |",
        OUTPAINT,
        {"input_image": file(), **SQUARE, "mode": "fast"},
    ),
    ("outpaint.md", "`high`, the default | 20 |", OUTPAINT, {"input_image": file(), **SQUARE}),
    ("outpaint.md", "`flux-pro-1.0-expand` | 5 |", EXPAND, {"image": file()}),
    (
        "erase.md",
        "3 credits (0.03 USD)",
        "flux-tools/erase-v1",
        {"image": file(), "mask": file(), "prompt": None},
    ),
    (
        "erase.md",
        "alone: also 3 credits",
        "flux-tools/deblur-v1",
        {"image": file(), "prompt": None},
    ),
    (
        "try-on.md",
        "4.75 credits (0.0475 USD)",
        "flux-tools/vto-v2",
        {"person": file(), "garment": file()},
    ),
    (
        "video.md",
        "5 s, draft | 30 |",
        "flux-3-video",
        {"mode": "t2v", "duration": 5, "draft": True},
    ),
    (
        "video.md",
        "5 s, `hd` | 85 |",
        "flux-3-video",
        {"mode": "i2v", "duration": 5, "keyframes": file()},
    ),
    (
        "video.md",
        "a video, `hd` | 205 |",
        "flux-3-video",
        {"mode": "v2v", "duration": 5, "start_video": FROM_5_S},
    ),
    (
        "video.md",
        "1280 x 720 | 138 |",
        "flux-tools/video-upscale-v1",
        {"input_video": FROM_5_S, "creativity": 0},
    ),
    ("video.md", "clip of 5 s | 15 |", "flux-tools/video-edit-v1", {"video": FROM_5_S}),
]


@pytest.mark.parametrize(
    ("page", "words", "model", "parameters"), ESTIMATES, ids=[case[1] for case in ESTIMATES]
)
def test_a_price_in_the_how_to_pages_is_the_estimate_of_its_request(
    page: str, words: str, model: str, parameters: dict[str, Any]
) -> None:
    assert words in (PAGES / page).read_text()
    estimate = estimate_cost(build_request(model, {"prompt": "x", **parameters}))
    assert estimate.credits in [float(number) for number in re.findall(r"\d+(?:\.\d+)?", words)]
    if "USD" in words:
        assert f"({estimate.usd:.4g} USD)" in words


def test_a_large_input_is_estimated_as_the_page_says() -> None:
    assert (
        "an input of 4 megapixels or more is estimated at 6 credits"
        in (PAGES / "multi-reference.md").read_text()
    )
    without, with_it = (
        estimate_cost(build_request("flux-2-pro", {"prompt": "x", **SQUARE, **inputs})).credits or 0
        for inputs in ({}, {"input_image": file(4000, 3000)})
    )
    assert with_it - without == 6


def test_the_cost_of_an_enhanced_draft_cannot_be_estimated() -> None:
    request = build_request("flux-3-video", {"mode": "draft_enhance", "draft_cache": file()})
    assert estimate_cost(request).credits is None
