"""The documentation matches the code: snippets, links, parameters, errors, options and faults."""

from __future__ import annotations

import configparser
import inspect
import io
import json
import os
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from pydantic import BaseModel

from airflow_provider_flux.batch.input.mapping import SPECIAL_NAMES
from airflow_provider_flux.batch.report.counters import Counters
from airflow_provider_flux.batch.report.manifest import ManifestRow
from airflow_provider_flux.batch.row_policy import RowOutcome
from airflow_provider_flux.batch.survey import NO_FIGURES
from airflow_provider_flux.bfl import errors
from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.bfl.catalog.custom import read_models
from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxError
from airflow_provider_flux.bfl.inputs import MediaFile
from airflow_provider_flux.bfl.request import build_request, estimate_cost
from airflow_provider_flux.client import FluxClient
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.emulator.__main__ import _parser
from airflow_provider_flux.emulator.faults import FAULTS
from airflow_provider_flux.generation import Generation, LandedImage, LandedVideo
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.output_path import PLACEHOLDERS
from airflow_provider_flux.landing.sidecar import Sidecar, encode_sidecar, parse_sidecar
from airflow_provider_flux.object_store.backends import BACKENDS
from airflow_provider_flux.operators.base import FluxLandingOperator
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.operators.review import FluxReviewOperator
from airflow_provider_flux.provider_info import CONNECTION_FORM, get_provider_info
from airflow_provider_flux.transfers.flux_to_object_storage import FluxToObjectStorageOperator
from airflow_provider_flux.triggers.result import FluxResultTrigger
from scripts import sync_snippets
from tests.support.object_stores import AzureStore, BucketStore, GcsStore, S3Store
from tests.support.run_operator import run_operator
from tests.support.sql_databases import SqliteLab
from tests.support.submit_by_client import submit_by_hook

ROOT = Path(__file__).parents[2]
PAGES = sorted({*ROOT.glob("*.md"), *sync_snippets.list_pages(ROOT)})
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
each_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_CONNECTION = re.compile(r"\bAIRFLOW_CONN_FLUX_DEFAULT=")


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return [code for kind, code in _FENCE.findall(text) if kind == language]


def prose(text: str) -> str:
    return _FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    """Return the fragments that the headings of a page can be linked by."""
    headings = [
        re.sub(r"[^\w\- ]", "", heading.lower()) for heading in _HEADING.findall(prose(text))
    ]
    return {heading.strip().replace(" ", "-") for heading in headings}


def dead_links(page: Path, root: Path = ROOT) -> list[str]:
    """Return the relative links of a page that have no target."""
    dead = []
    for target in _LINK.findall(prose(page.read_text(encoding="utf-8"))):
        path, _, fragment = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (page.parent / path).resolve() if path else page
        lost_fragment = (
            fragment
            and file.suffix == ".md"
            and file.exists()
            and fragment not in anchors(file.read_text())
        )
        if not file.exists() or not file.is_relative_to(root) or lost_fragment:
            dead.append(target)
    return dead


def missing(names: Any, text: str, shape: str = "`{}`") -> list[str]:
    """Return the names that a text does not have in a shape, which is backticks by default."""
    return [name for name in names if shape.format(name) not in text]


def connections(text: str) -> list[str]:
    """Return the values of AIRFLOW_CONN_FLUX_DEFAULT in the shell blocks of a page."""
    words = [
        word
        for code in blocks(text, "bash")
        if _CONNECTION.search(code)
        for word in shlex.split(code)
    ]
    return [
        word.partition("=")[2] for word in words if word.startswith("AIRFLOW_CONN_FLUX_DEFAULT=")
    ]


# Snippets


def test_the_snippets_of_all_pages_are_in_sync() -> None:
    assert sync_snippets.main(["--check"]) == 0


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A page with one stale snippet, and its source."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "a.py").write_text(
        "def f():\n    # [START one]\n    x = 1\n\n    y = 2\n    # [END one]\n"
    )
    (tmp_path / "README.md").write_text(
        "Before\n\n<!-- snippet: a.py#one -->\n```python\nold\n```\n\nAfter\n"
    )
    return tmp_path


def test_a_stale_snippet_is_named_and_renewed(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (tree / "README.md").read_text()
    assert sync_snippets.main(["--check"], tree) == 1
    assert "README.md: a.py#one is stale" in capsys.readouterr().out
    assert (tree / "README.md").read_text() == before
    assert sync_snippets.main([], tree) == 0
    assert (tree / "README.md").read_text() == before.replace("old", "x = 1\n\ny = 2")
    assert sync_snippets.main(["--check"], tree) == 0


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("<!-- snippet: a.py#two -->\n```python\n```", "no region"),
        ("<!-- snippet: b.py#one -->\n```python\n```", "cannot be read"),
        ("<!-- snippet: a.py#one -->\nText\n```python\n```", "no fenced block"),
    ],
)
def test_a_wrong_snippet_marker_is_an_error(
    tree: Path, capsys: pytest.CaptureFixture[str], marker: str, message: str
) -> None:
    (tree / "docs" / "page.md").write_text(f"{marker}\n")
    assert sync_snippets.main(["--check"], tree) == 1
    assert message in capsys.readouterr().err


def test_all_python_code_in_the_pages_is_a_snippet() -> None:
    # The examples of models.md are generated, and tested, from the catalog.
    for name in set(NAMES) - {"docs/models.md"}:
        text = text_of(name)
        snippets = [
            snippet
            for snippet in sync_snippets.find_snippets(text, ROOT)
            if ".py#" in snippet.source
        ]
        assert len(blocks(text, "python")) == len(snippets), name


# Links


@each_page
def test_all_links_of_a_page_have_a_target(page: Path) -> None:
    assert dead_links(page) == []


def test_the_check_of_links_finds_a_dead_link(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A `heading`, here\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md) [b](gone.md) ![c](gone.png) "
        "[d](there.md#a-heading-here) [e](there.md#nowhere) [f](#x)"
    )
    assert dead_links(page, tmp_path) == ["gone.md", "gone.png", "there.md#nowhere", "#x"]


def test_the_index_lists_every_page() -> None:
    pages = [name.removeprefix("docs/") for name in NAMES if name.startswith("docs/")]
    assert (
        missing([name for name in pages if name != "index.md"], text_of("docs/index.md"), "({})")
        == []
    )


def test_the_picture_is_small() -> None:
    assert 10_000 < (ROOT / "docs/images/hero.jpeg").stat().st_size < 250_000


# Names


def error_names() -> list[str]:
    return [
        cls.__name__
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, FluxError)
    ]


def test_every_error_is_documented() -> None:
    assert missing(error_names(), text_of("docs/errors.md"), "\n### {}\n") == []


@each_page
def test_every_error_that_a_page_names_exists(page: Path) -> None:
    assert set(re.findall(r"\bFlux\w+Error\b", page.read_text())) - set(error_names()) == set()


@pytest.mark.parametrize(
    ("operator", "page"),
    [
        (FluxGenerateOperator, "docs/operators/generate.md"),
        (FluxGenerateBatchOperator, "docs/operators/batch-reference.md"),
        (FluxToObjectStorageOperator, "docs/operators/to_object_storage.md"),
        (FluxReviewOperator, "docs/review.md"),
    ],
)
def test_every_parameter_of_an_operator_is_documented_with_its_default(
    operator: type, page: str
) -> None:
    rows = {row[0]: row[1:] for row in table(text_of(page), "parameter")}
    common = inspect.signature(FluxLandingOperator.__init__).parameters
    taken = {**common, **inspect.signature(operator.__init__).parameters}
    names = [name for name in taken if name not in {"self", "kwargs"}]
    assert sorted(rows) == sorted(names)
    for name in names:
        is_templated = name in operator.template_fields
        assert rows[name][2] == ("yes" if is_templated else "no"), name
        default = taken[name].default
        if isinstance(default, (float, str)):
            expected = f"{default:g}" if isinstance(default, float) else default
            assert rows[name][0].strip("`") == expected, name
    assert set(operator.template_fields) <= set(rows)


def table(text: str, head: str) -> list[list[str]]:
    """Return the rows of the table with ``head`` over its first column.

    Backticks are removed from the first cell of a row.
    """
    rows = text.partition(f"\n| {head} |")[2].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    return [[first.strip("` "), *(cell.strip(" |") for cell in rest)] for first, *rest in cells]


def test_the_documented_defaults_of_a_model_are_sent() -> None:
    rows = {
        row[0]: row[1].strip("`")
        for row in table(text_of("docs/operators/generate.md"), "parameter")
    }
    for name, value in MODELS["flux-pro-1.1"].sent_defaults.items():
        assert rows[name] == str(value), name


def input_file(width: int = 1000, height: int = 1000) -> MediaFile:
    return MediaFile("test", "image/png", 1, "0" * 64, io.BytesIO, width, height)


SQUARE = {"prompt": "x", "width": 1024, "height": 1024}
#: The requests in the table of prices: model, description, parameters.
COSTS: list[tuple[str, str, dict[str, Any]]] = [
    ("flux-pro-1.1", "an image", {"prompt": "x"}),
    ("flux-pro-1.1-ultra", "an image", {"prompt": "x"}),
    ("flux-2-klein-4b", "1024 x 1024", SQUARE),
    ("flux-2-pro", "1024 x 1024", SQUARE),
    (
        "flux-2-pro",
        "1024 x 1024, from two images of one megapixel",
        {**SQUARE, "input_image": input_file(), "input_image_2": input_file()},
    ),
    ("flux-kontext-pro", "an edit", {"prompt": "x", "input_image": input_file()}),
    ("flux-pro-1.0-fill", "an inpainting", {"image": input_file(), "mask": input_file()}),
    (
        "flux-tools/outpainting-v1",
        "`mode` `fast`",
        {**SQUARE, "input_image": input_file(), "mode": "fast"},
    ),
    ("flux-3-image", "1k", {"prompt": "x", "resolution": "1k"}),
    ("flux-3-image", "1.5k", {"prompt": "x", "resolution": "1.5k"}),
    ("flux-3-image-klein", "1k", {"prompt": "x", "resolution": "1k"}),
    (
        "flux-3-video",
        "a draft of 5 s",
        {"prompt": "x", "mode": "t2v", "duration": 5, "draft": True},
    ),
    (
        "flux-3-video",
        "5 s from text, `hd`",
        {"prompt": "x", "mode": "t2v", "duration": 5, "resolution": "hd"},
    ),
]


def test_the_prices_of_the_concept_page_are_the_estimates() -> None:
    rows = [tuple(row) for row in table(text_of("docs/concepts/what-is-paid.md"), "model")]
    expected = []
    for name, request, parameters in COSTS:
        estimate = estimate_cost(build_request(name, parameters))
        reported = MODELS[name].cost_reported.replace("never", "no")
        expected.append((name, request, f"{estimate.credits:g}", f"{estimate.usd:.2g}", reported))
    assert rows == expected


def test_the_readme_counts_the_models() -> None:
    assert f"All {len(MODELS)} generation routes" in text_of("README.md")
    assert f"All {len(MODELS)} generation routes" in text_of("CHANGELOG.md")


def test_every_model_that_a_page_names_exists() -> None:
    # Beside the catalog: a model of the future, and mistakes in examples.
    known = {*MODELS, "flux-2-next", "flux-fill", "flux-9"}
    for name in NAMES:
        named = set(re.findall(r"(?:model=|\| )[\"`](flux-[a-z0-9./-]+)[\"`]", text_of(name)))
        assert named - known == set(), name


def test_every_placeholder_of_output_path_is_documented() -> None:
    rows = table(text_of("docs/operators/generate.md"), "placeholder")
    assert [row[0] for row in rows] == [f"{{{name}}}" for name in PLACEHOLDERS]


def test_every_key_of_the_xcom_is_documented() -> None:
    rows = {row[0]: row[1] for row in table(text_of("docs/operators/generate.md"), "key")}
    assert list(rows) == list(Generation.__annotations__)
    assert missing(LandedImage.__annotations__, rows["image"]) == []
    assert (
        missing(set(LandedVideo.__annotations__) - set(LandedImage.__annotations__), rows["video"])
        == []
    )
    page = text_of("docs/operators/generate.md")
    (shown,) = [json.loads(code) for code in blocks(page, "json")]
    assert list(shown) == list(Generation.__annotations__)
    assert list(shown["image"]) == list(LandedImage.__annotations__)


# Batches

BATCH, BATCH_REFERENCE = "docs/operators/batch.md", "docs/operators/batch-reference.md"


def named_in(rows: list[list[str]]) -> list[str]:
    """Return the names in the first column of a table; a cell may have several."""
    return [name.strip("` ") for row in rows for name in row[0].split(",")]


def test_every_outcome_of_a_row_is_documented() -> None:
    assert named_in(table(text_of(BATCH), "outcome")) == list(get_args(RowOutcome))


def test_every_column_of_a_batch_is_documented() -> None:
    assert named_in(table(text_of(BATCH_REFERENCE), "column")) == list(SPECIAL_NAMES)
    assert named_in(table(text_of(BATCH_REFERENCE), "column of the manifest")) == list(
        ManifestRow.__annotations__
    )


def test_every_key_of_the_summary_of_a_batch_is_documented() -> None:
    summary = Counters(rows=1, max_active=1).summarize({}, estimated=0, seconds=0)
    more = [*NO_FIGURES, "trimmed", "pruned", "manifest", "failed_path"]
    assert named_in(table(text_of(BATCH_REFERENCE), "key")) == [*summary, *more]


def test_every_argument_of_the_trigger_is_documented() -> None:
    generation = {"request_id": "r", "polling_url": None}
    trigger = FluxResultTrigger(flux_conn_id="flux_default", generation=generation, deadline=0)  # type: ignore[typeddict-item]
    rows = table(text_of("docs/how-waiting-works.md"), "argument of the trigger")
    assert [row[0] for row in rows] == list(trigger.serialize()[1])


# Object storage


def fields_of(model: type[BaseModel], prefix: str = "") -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        is_model = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        names += fields_of(field.annotation, f"{name}.") if is_model else [f"{prefix}{name}"]
    return names


def test_every_field_of_the_sidecar_is_documented() -> None:
    rows = table(text_of("docs/object-storage-reference.md"), "field of the sidecar")
    assert [row[0] for row in rows] == fields_of(Sidecar)


def test_the_sidecar_in_the_documentation_is_valid() -> None:
    (shown,) = blocks(text_of("docs/object-storage-reference.md"), "json")
    sidecar = parse_sidecar(shown.encode())
    assert sidecar is not None
    assert encode_sidecar(sidecar).decode() == shown


def test_every_store_option_is_documented() -> None:
    table_of_options = table(text_of("docs/object-storage-reference.md"), "scheme")
    rows = {
        row[0]: [set(re.findall(r"`(\w+)`", cell)) for cell in row[1:]] for row in table_of_options
    }
    assert len(rows) == len(BACKENDS)
    for dialect in BACKENDS:
        (scheme,) = dialect.schemes & set(rows)
        assert rows[scheme] == [dialect.shared, dialect.options - dialect.shared], scheme


@pytest.mark.parametrize(
    ("task_id", "kind"), [("s3", S3Store), ("azure", AzureStore), ("gcs", GcsStore)]
)
def test_the_store_options_in_the_documentation_are_applied(
    task_id: str,
    kind: type[BucketStore],
    emulator: EmulatorServer,
    shown_tasks: dict[str, Any],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = kind(request.getfixturevalue(task_id))
    store.make_bucket()
    monkeypatch.setenv(f"AIRFLOW_CONN_SHOWN_{task_id.upper()}", kind.connection(store.url))
    task = shown_tasks[f"flux_store_options.{task_id}"].prepare_for_execution()
    task.output_path = store.root_by(f"shown_{task_id}") + "/{request_id}.{ext}"
    image = run_operator(task)["image"]
    assert store.stat(image["uri"]).metadata["sha256"] == image["sha256"]
    if isinstance(store, S3Store):
        head = store.client.head_object(
            Bucket=store.bucket, Key=image["uri"].partition(f"@{store.bucket}/")[2]
        )
        assert {name: head[name] for name in task.store_options} == task.store_options
        assert head["CacheControl"] == task.cache_control


def test_the_reuse_dag_of_the_documentation_submits_each_image_once(
    emulator: EmulatorServer, shown_tasks, landed_below
) -> None:
    landed = [
        landed_below(
            shown_tasks["flux_reuse.hero"], {"params": {"product": product}, "run_id": run_id}
        )
        for product, run_id in [
            ("a red door", "one"),
            ("a red door", "two"),
            ("a blue door", "two"),
        ]
    ]
    assert [generation["reused"] for generation in landed] == [False, True, False]
    assert (landed[1]["cost"], landed[1]["estimated_cost"]) == (0, landed[0]["cost"])
    assert landed[1]["image"]["uri"].endswith("/catalog/two/hero.jpeg")
    assert emulator.stats()["submits"] == 2


# Connection


def test_every_connection_field_is_documented() -> None:
    rows = {row[0]: row[1] for row in table(text_of("docs/connection.md"), "field")}
    ((connection,), form) = get_provider_info()["connection-types"], CONNECTION_FORM
    assert missing(connection["conn-fields"], "".join(rows), "{}` (extra)") == []
    for name, field in connection["conn-fields"].items():
        assert rows[f"{name}` (extra)"] == field["label"]
    for name, label in form["relabeling"].items():
        assert rows[name] == label


@pytest.mark.parametrize("name", NAMES)
def test_every_connection_in_the_documentation_can_be_used(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in connections(text_of(name)):
        monkeypatch.setenv("AIRFLOW_CONN_FLUX_DEFAULT", value)
        settings = FluxHook().settings
        assert settings.api_key in {"bfl_your_key", "bfl_emulator"}
        for word, host in {
            "eu": "https://api.eu.bfl.ai",
            "us": "https://api.us.bfl.ai",
            "8484": "http://127.0.0.1:8484",
        }.items():
            if re.search(rf"\b{word}\b|3A{word}", value):
                assert settings.base_url == host
        if "read_timeout" in value:
            assert settings.read_timeout == 90


def test_connections_are_documented_as_json_and_as_uri() -> None:
    shown = connections(text_of("docs/connection.md"))
    assert {value.startswith("{") for value in shown} == {True, False}


# Emulator


def test_every_fault_of_the_emulator_is_documented() -> None:
    rows = [tuple(row) for row in table(text_of("docs/emulator.md"), "fault")]
    assert rows == [(kind.usage, kind.phase, kind.meaning) for kind in FAULTS.values()]


def test_every_option_of_the_emulator_is_documented_with_its_default() -> None:
    rows = {row[0]: row[1] for row in table(text_of("docs/emulator.md"), "option")}
    options = {
        action.option_strings[-1]: action.default
        for action in _parser()._actions
        if action.dest != "help"
    }
    assert sorted(rows) == sorted(options)
    for name, default in options.items():
        if default and default is not True:
            assert rows[name] == (f"{default:g}" if isinstance(default, float) else str(default)), (
                name
            )


# [START emulator_fixture]
@pytest.fixture
def flux(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmulatorServer]:
    with EmulatorServer(EmulatorConfig(latency=0.2)) as server:
        connection = {"conn_type": "flux", "password": "bfl_emulator", "host": server.url}
        monkeypatch.setenv("AIRFLOW_CONN_FLUX_DEFAULT", json.dumps(connection))
        yield server


def test_an_error_while_waiting_does_not_submit_twice(flux: EmulatorServer, tmp_path: Path) -> None:
    task = FluxGenerateOperator(
        task_id="hero",
        prompt="A lighthouse [[fault:poll-500=2]]",
        output_path=f"{tmp_path}/hero.{{ext}}",
        deferrable=False,
    )
    generation = task.execute({"ti": SimpleNamespace(map_index=-1)})
    assert Path(generation["image"]["uri"]).exists()
    assert flux.stats()["submits"] == 1
    # [END emulator_fixture]


# The DAGs that only the pages show


@pytest.fixture(scope="module")
def shown_tasks() -> dict[str, Any]:
    """All tasks of docs/snippets, as ``dag.task``."""
    from tests.support.airflow_names import DagBag

    bag = DagBag(str(ROOT / "docs" / "snippets"))
    assert bag.import_errors == {}
    return {f"{name}.{task.task_id}": task for name, dag in bag.dags.items() for task in dag.tasks}


@pytest.fixture
def landed_below(tmp_path: Path) -> Callable[[Any, dict[str, Any]], Any]:
    """Render a task, move its output from /tmp/flux to the folder of the test, and run it."""

    def render_and_run(task: Any, values: dict[str, Any]) -> Any:
        task = task.prepare_for_execution()
        task.render_template_fields(values)
        task.output_path = task.output_path.replace("file:///tmp/flux", f"file://{tmp_path}")
        task._root = task._root.replace("file:///tmp/flux", f"file://{tmp_path}")
        return run_operator(task)

    return render_and_run


def test_the_dag_of_the_readme_lands_one_image(
    emulator: EmulatorServer, shown_tasks, landed_below, tmp_path: Path
) -> None:
    import pendulum

    day = SimpleNamespace(run_after=pendulum.datetime(2026, 11, 22))
    landed_below(shown_tasks["flux_ten_lines.hero"], {"dag_run": day})
    assert (tmp_path / "2026-11-22" / "hero.jpeg").exists()
    assert emulator.stats()["submits"] == 1


def test_landing_an_earlier_request_submits_nothing(
    emulator: EmulatorServer, shown_tasks, landed_below, tmp_path: Path
) -> None:
    submission = submit_by_hook("flux-pro-1.1", {"prompt": "a fox"})
    params = {"request_id": submission.request_id, "polling_url": submission.polling_url}
    landed_below(shown_tasks["flux_land_by_id.land"], {"params": params})
    landed_below(shown_tasks["flux_land_by_id.land"], {"params": {**params, "polling_url": ""}})
    assert (tmp_path / "landed" / f"{submission.request_id}.jpeg").exists()
    assert emulator.stats()["submits"] == 1
    with pytest.raises(AirflowFailException, match="no request_id"):
        landed_below(
            shown_tasks["flux_land_by_id.land"], {"params": {"request_id": "", "polling_url": ""}}
        )


def test_a_list_of_generations_is_landed_by_one_task(
    emulator: EmulatorServer, shown_tasks, landed_below, tmp_path: Path
) -> None:
    land = shown_tasks["flux_land_many.land"].prepare_for_execution()
    land.generation = [
        run_operator(FluxGenerateOperator(task_id=f"g{n}", prompt=f"door {n}")) for n in range(3)
    ]
    assert len(landed_below(land, {"run_id": "r"})) == 3
    names = [f"{n:03d}.jpeg" for n in range(3)]
    assert {path.name for path in (tmp_path / "doors" / "r").iterdir()} == {
        *names,
        *(f"{name}.json" for name in names),
        *(f"{name}.thumb.webp" for name in names),
    }


def test_the_batch_between_two_tasks_reports_the_moderated_row(
    emulator: EmulatorServer, shown_tasks, landed_below, tmp_path: Path
) -> None:
    images = shown_tasks["flux_batch_rows.images"].prepare_for_execution()
    images.requests = shown_tasks["flux_batch_rows.rows"].python_callable()
    images.requests[0]["prompt"] += " [[fault:moderated=Violence]]"
    images.requests[2]["prompt"] += " [[fault:moderated=Violence]]"
    summary = landed_below(images, {"run_id": "r"})
    assert (summary["landed"], summary["moderated"], summary["fallbacks"]) == (2, 1, 1)
    reasons = shown_tasks["flux_batch_rows.without_image"].python_callable(summary)
    assert list(reasons) == ["door"]
    assert reasons["door"].startswith("moderated: ")
    assert "Violence" in reasons["door"]
    assert {path.name for path in (tmp_path / "doors" / "r").glob("*.jpeg")} == {
        "hero.jpeg",
        "sign.jpeg",
    }


def test_the_batch_from_a_file_lands_each_row(
    emulator: EmulatorServer, shown_tasks, landed_below, tmp_path: Path
) -> None:
    products = tmp_path / "products.csv"
    products.write_text(
        "sku,name,description\nLAMP-01,Desk lamp,A brass lamp\nMUG-07,Mug,A mug of stoneware\n"
    )
    task = shown_tasks["flux_batch.catalogue"].prepare_for_execution()
    task.requests = str(products)
    task.output_path = task.output_path.replace("s3://my_s3@media", f"file://{tmp_path}")
    task._root = task._root.replace("s3://my_s3@media", f"file://{tmp_path}")
    summary = landed_below(task, {"run_id": "r"})
    assert (summary["rows"], summary["landed"]) == (2, 2)
    assert {path.stem for path in (tmp_path / "out" / "catalogue" / "r").glob("*.jpeg")} == {
        "LAMP-01",
        "MUG-07",
    }


def test_the_batch_from_a_table_lands_each_product(
    emulator: EmulatorServer, shown_tasks, landed_below, sqlite: SqliteLab, tmp_path: Path
) -> None:
    sqlite.run("CREATE TABLE products (sku text, description text, updated_at text, season text)")
    sqlite.run(
        "INSERT INTO products VALUES (?, ?, ?, ?)",
        [("LAMP-01", "A brass lamp", "2026-01-05", "spring"), ("MUG-07", "A mug", "", "autumn")],
    )
    task = shown_tasks["flux_batch_sql.products"].prepare_for_execution()
    task.sql = task.sql.replace("%(season)s", ":season")  # the placeholder of SQLite
    task.sql_conn_id = sqlite.conn_id
    task.output_path = task.output_path.replace("s3://my_s3@media", f"file://{tmp_path}")
    task._root = task._root.replace("s3://my_s3@media", f"file://{tmp_path}")
    summary = landed_below(task, {"params": {"season": "spring"}})
    assert (summary["rows"], summary["landed"]) == (1, 1)


def test_the_quoted_message_for_invalid_rows_is_that_of_the_operator(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    (shown,) = [code for code in blocks(text_of(BATCH), "text") if "not valid" in code]
    (tmp_path / "rows.csv").write_text("sku,text,w\nA,a fox,512\nB,,512\nC,a hen,abc\n")
    task = FluxGenerateBatchOperator(
        task_id="x",
        requests=f"{tmp_path}/rows.csv",
        columns={"key": "sku", "prompt": "text", "width": "w"},
        output_path=f"{tmp_path}/{{key}}.{{ext}}",
    )
    with pytest.raises(AirflowFailException) as caught:
        run_operator(task)
    assert str(caught.value) == shown.strip()
    assert emulator.stats()["submits"] == 0


def test_models_outside_of_the_catalog_get_a_request(shown_tasks) -> None:
    known = shown_tasks["flux_other_models.in_the_catalog"]._build_request()
    assert known.parameters == {
        "prompt": "A paper boat on a puddle",
        "width": 1024,
        "height": 768,
        "disable_pup": True,
    }
    assert (known.path, estimate_cost(known).credits) == ("/v1/flux-2-pro", 3)
    unknown = shown_tasks["flux_other_models.not_in_the_catalog"]._build_request()
    assert (unknown.path, estimate_cost(unknown).credits) == ("/v1/flux-2-next", None)


@pytest.mark.parametrize(("balance", "is_enough"), [(9, True), (8, False)])
def test_the_budget_dag_compares_estimate_and_balance(
    connect, shown_tasks, balance: float, is_enough: bool
) -> None:
    task = shown_tasks["flux_budget.check_budget"]
    with EmulatorServer(EmulatorConfig(credits=balance)) as server:
        connect(server.url)
        if is_enough:
            assert task.python_callable(*task.op_args) == balance
        else:
            with pytest.raises(
                AirflowFailException,
                match="9 credits are needed by estimate, and the account has 8",
            ):
                task.python_callable(*task.op_args)


# Models of the user


def test_the_model_in_the_documented_configuration_can_be_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = text_of("docs/new-models.md")
    (ini,) = blocks(text, "ini")
    parser = configparser.ConfigParser()
    parser.read_string(ini)
    (model,) = read_models(parser["flux"]["models"]).values()
    parameters = {"prompt": "x", "detail": 0.3, "style": "photo"}
    request = build_request("flux-2-next", parameters, models={model.name: model})
    assert (request.path, estimate_cost(request).credits) == ("/v1/flux-2-next", 4)
    rows = {row[0] for row in table(text, "key of a model")}
    assert rows == set(json.loads(parser["flux"]["models"])["flux-2-next"])
    ((name, value),) = [shlex.split(code)[1].split("=", 1) for code in blocks(text, "bash")]
    monkeypatch.setenv(name, value)
    assert (
        FluxGenerateOperator(task_id="x", model="flux-2-next", prompt="x")._build_request().path
        == request.path
    )


@pytest.mark.parametrize(
    "models",
    [
        '{"flux-2-next": {"like": "flux-2-pro", "cost": 4}}',
        '{"x": {"like": "flux-9"}}',
        "{like: 1}",
    ],
)
def test_the_quoted_messages_for_a_wrong_configuration_are_those_of_the_code(models: str) -> None:
    shown = re.findall(
        r"^\| [^|]+ \| `(\[flux\] models.+)` \|$", text_of("docs/new-models.md"), re.MULTILINE
    )
    with pytest.raises(FluxConfigurationError) as caught:
        read_models(models)
    assert len(shown) == 3
    assert [text for text in shown if text in str(caught.value)] != []


def test_every_method_of_the_account_is_documented() -> None:
    rows = [row[0].partition("(")[0] for row in table(text_of("docs/account.md"), "method")]
    of_account = re.compile(r"(get_(credits|my_finetunes|finetune_details)|delete_\w+|report_\w+)")
    assert sorted(rows) == sorted(name for name in vars(FluxClient) if of_account.fullmatch(name))


# The rest


@each_page
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    text = page.read_text()
    named = set(re.findall(r"`make ([a-z-]+)`", text))
    named |= {
        name
        for code in blocks(text, "bash")
        for name in re.findall(r"^make ([a-z-]+)$", code, re.MULTILINE)
    }
    assert named - targets == set()


def test_the_folders_in_the_documentation_are_those_of_the_package() -> None:
    rows = table(text_of("docs/development.md"), "folder")
    named = set()
    for row in rows:
        named |= set(named_in([row]))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
    package = {
        f"airflow_provider_flux/{path.name}{'/' if path.is_dir() else ''}"
        for path in (ROOT / "airflow_provider_flux").glob("[!_]*")
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert package <= named


@each_page
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    for path, _, name in re.findall(
        r"`(tests/[\w/]+\.py)::(Test\w+::)?(test_\w+)`", page.read_text()
    ):
        assert f"def {name}(" in text_of(path), f"{path}::{name}"


@each_page
def test_every_file_of_the_tests_that_a_page_names_exists(page: Path) -> None:
    paths = re.findall(r"\btests/[\w/]+\.py\b", page.read_text())
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_modules_that_the_development_page_names_exist() -> None:
    folders = [ROOT, ROOT / "airflow_provider_flux"]
    paths = re.findall(r"`([a-z_]+(?:/\w+)+(?:\.py|/))`", text_of("docs/development.md"))
    assert [path for path in paths if not any((folder / path).exists() for folder in folders)] == []


@each_page
def test_no_page_names_a_path_of_this_machine(page: Path) -> None:
    home = os.path.expanduser("~")
    assert [path for path in (str(ROOT), f"{home}/") if path in page.read_text()] == []
