"""Two tasks of one DAG run never replace each other's image."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred
from airflow.sdk import DAG, task, task_group

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.operators.sibling_tasks import check_sibling_tasks
from tests.support.batch_tries import batch, prompts, quick
from tests.support.image_task import copy_task, image_task, run_task, task_context
from tests.support.memory_use import MAX_GROWTH_MIB, run_measured

__all__ = ["quick"]

WHERE = {"width": 256, "height": 256, "poll_interval": 0.1, "prompt": "a fox"}
REFUSED = "the same names, so they would replace each other. Nothing was submitted"


def new_task(task_id: str, path: str, **arguments: Any) -> FluxGenerateOperator:
    return FluxGenerateOperator(task_id=task_id, output_path=path, **{**WHERE, **arguments})


def mapped_group(path: str, **second: Any) -> DAG:
    with DAG("ads") as dag:

        @task_group
        def product(name: str) -> None:
            new_task("hero", path)
            new_task("thumb", path, **second)

        product.expand(name=["a", "b"])
    return dag


def run_all(dag: DAG, *task_ids: str, map_indexes: tuple[int, ...] = (-1,)) -> list[Any]:
    outcomes: list[Any] = []
    for task_id in task_ids:
        for map_index in map_indexes:
            try:
                operator = dag.task_dict[task_id]
                outcomes.append(run_task(operator, map_index=map_index, dag=dag))
            except AirflowFailException as error:
                outcomes.append(str(error))
    return outcomes


def test_two_tasks_of_a_mapped_group_with_one_key_are_refused_before_the_submit(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    """Fault 14: 4 images were billed, and 2 files were left."""
    dag = mapped_group(f"{tmp_path}/{{key}}.{{ext}}")
    outcomes = run_all(dag, "product.hero", "product.thumb", map_indexes=(0, 1))
    assert all(REFUSED in outcome for outcome in outcomes)
    assert emulator.stats()["submits"] == 0


@pytest.mark.parametrize(
    "path",
    ["{{{{ task.task_id }}}}/{key}.{ext}", "{key}-{request_id}.{ext}", "{key}.{model}.{ext}"],
)
def test_tasks_whose_names_differ_or_may_differ_are_not_refused(
    emulator: EmulatorServer, tmp_path: Path, path: str
) -> None:
    """Fault 14: the check refuses no names that differ."""
    dag = mapped_group(f"{tmp_path}/{path.format_map(Same())}", model="flux-2-pro")
    for operator in dag.task_dict.values():
        operator.render_template_fields({"task": operator})
    outcomes = run_all(dag, "product.hero", "product.thumb", map_indexes=(0, 1))
    assert len({outcome["image"]["uri"] for outcome in outcomes}) == 4


class Same(dict[str, str]):
    """Placeholders that stay as they are."""

    def __missing__(self, name: str) -> str:
        return f"{{{name}}}"


@pytest.mark.parametrize(
    ("second", "is_refused"),
    [
        ({"output_format": "png"}, False),
        ({"model": "flux-2-pro", "parameters": {"output_format": "png"}}, False),
        ({"model": "flux-3-image"}, False),
        ({"model": "flux-3-video", "parameters": {"mode": "t2v"}}, False),
        ({"output_format": "jpeg"}, True),
        ({"model": "flux-2-pro"}, True),
    ],
)
def test_one_name_with_different_suffixes_is_not_refused(
    second: dict[str, Any], is_refused: bool
) -> None:
    """Fault 14: ``hero.jpeg`` and ``hero.png`` are two files."""
    path = "/images/hero.{ext}"
    with DAG("ads") as dag:
        FluxGenerateOperator(task_id="hero", prompt="a fox", output_path=path)
        FluxGenerateOperator(task_id="other", prompt="a fox", output_path=path, **second)
    for task_id in dag.task_dict:
        with pytest.raises(FluxRequestError, match=REFUSED) if is_refused else nullcontext():
            check_sibling_tasks(task_id, dag)


@pytest.mark.parametrize("name", ["hero.png", "{{ ds }}/{index}.{ext}"])
def test_two_tasks_with_one_literal_path_are_refused_before_the_submit(
    emulator: EmulatorServer, tmp_path: Path, name: str
) -> None:
    """Fault 14: the second of two tasks replaced the image of the first."""
    with DAG("ads") as dag:
        new_task("hero", f"{tmp_path}/{name}")
        new_task("thumb", f"{tmp_path}/{name}")
    for operator in dag.task_dict.values():
        operator.render_template_fields({"ds": "2026-11-29"})
    assert all(REFUSED in outcome for outcome in run_all(dag, "hero", "thumb"))
    assert emulator.stats()["submits"] == 0


def test_tasks_of_two_branches_may_share_a_path(emulator: EmulatorServer, tmp_path: Path) -> None:
    """Fault 14: a branch runs one of them."""
    with DAG("ads") as dag:

        @task.branch
        def choose() -> str:
            return "hero"

        choose() >> [new_task(name, f"{tmp_path}/x.png") for name in ("hero", "thumb")]
    assert run_all(dag, "hero")[0]["image"]["uri"] == f"{tmp_path}/x.png"


def test_a_later_task_is_refused_only_if_the_earlier_one_has_landed(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    """Fault 14: a task may stand in for one that failed, and must not replace one that landed."""
    with DAG("ads") as dag:
        new_task("hero", f"{tmp_path}/x.png") >> new_task("stand_in", f"{tmp_path}/x.png")
    assert run_all(dag, "stand_in")[0]["image"]
    (outcome,) = run_all(dag, "hero")
    assert "The task 'stand_in' (map index -1) of this DAG run has landed its image at" in outcome
    assert emulator.stats()["submits"] == 1


def test_another_run_and_another_try_replace_the_image_as_if_exists_says(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    """Fault 14: what a user asks for by ``if_exists="overwrite"`` still happens."""
    uris = {
        run_task(image_task(f"{tmp_path}/x.png"), run_id)["image"]["uri"]
        for run_id in ("monday", "monday", "tuesday")
    }
    assert uris == {f"{tmp_path}/x.png"}
    assert emulator.stats()["submits"] == 3


def test_an_image_whose_name_is_taken_in_its_run_lands_beside_it(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    """Fault 14: a name with a seed is known only when both images are billed."""
    path = f"{tmp_path}/{{seed}}.png"
    first = run_task(image_task(path, seed=7))
    second = run_task(image_task(path, "a hare", seed=7, task_id="thumb"))
    beside = f"{tmp_path}/7-{second['request_id']}.png"
    assert [item["image"]["uri"] for item in (first, second)] == [f"{tmp_path}/7.png", beside]
    assert second["image"]["sidecar"] == f"{beside}.json"
    assert len(list(tmp_path.glob("*.png"))) == 2


def test_a_copy_does_not_replace_an_image_of_its_run(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    """Fault 14: ``FluxToObjectStorageOperator`` lands billed images, too."""
    first = run_task(image_task(f"{tmp_path}/a.png"))
    second = run_task(image_task(f"{tmp_path}/b.png", "a hare", task_id="thumb"))
    copy = run_task(copy_task(second, f"{tmp_path}/a.png"))
    assert copy["image"]["uri"] == f"{tmp_path}/a-{second['request_id']}.png"
    assert run_task(copy_task(first, f"{tmp_path}/a.png"))["image"] == first["image"]


def test_a_large_object_under_the_name_of_a_sidecar_is_neither_read_whole_nor_replaced(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    """Fault 9: whoever may write to the bucket chose how much a worker reads."""
    planted = tmp_path / "x.png.json"
    with planted.open("wb") as file:
        file.truncate(512 * 1024 * 1024)
    run_task(image_task(f"{tmp_path}/imports.png"))
    measured = run_measured(run_task, image_task(f"{tmp_path}/x.png"))
    assert measured.outcome["image"]["sidecar"] is None
    assert planted.stat().st_size == 512 * 1024 * 1024
    assert measured.grown_mib < MAX_GROWTH_MIB


def test_a_submitted_image_lands_although_another_task_has_its_name_by_now(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    """Fault 14: the names of other tasks matter before a submit, and must not hold an image."""
    path = f"{tmp_path}/x.png"
    with DAG("ads"):
        task = new_task("hero", path, deferrable=True, inline_wait=0)
    around = task_context(task)
    with pytest.raises(TaskDeferred):
        task.execute(around)
    with DAG("ads") as dag:
        retried = new_task("hero", path)
        new_task("thumb", path)
    around["ti"].try_number = 2
    assert retried.execute({**around, "dag": dag})["image"]["uri"] == path
    assert emulator.stats()["submits"] == 1


def test_a_sidecar_replaces_a_sidecar_only(emulator: EmulatorServer, tmp_path: Path) -> None:
    """Fault 14: a sidecar replaced whatever had its name, for example a paid image."""
    (tmp_path / "x.png.json").write_bytes(b"\xff\xd8 not a sidecar")
    generation = run_task(image_task(f"{tmp_path}/x.png"))
    assert generation["image"]["sidecar"] is None
    assert (tmp_path / "x.png.json").read_bytes() == b"\xff\xd8 not a sidecar"
    (tmp_path / "x.png.json").write_text('{"schema_version": 2}')
    assert run_task(image_task(f"{tmp_path}/x.png"))["image"]["sidecar"]


@pytest.mark.usefixtures("quick")
class TestBatch:
    def test_a_row_of_another_map_index_with_the_same_key_is_not_submitted(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        """Fault 14: rows of two mapped batches with one path replaced each other."""
        task = batch(tmp_path, prompts(2), output_path=f"{tmp_path}/out/{{key}}.{{ext}}")
        for map_index, problem in ((0, None), (1, "of this DAG run has landed its image at")):
            context, operator = task.context(), task.new_operator()
            context["ti"].map_index = map_index
            if problem is None:
                assert operator.execute(context)["landed"] == 2
            else:
                with pytest.raises(AirflowFailException):
                    operator.execute(context)
        assert emulator.stats()["submits"] == 2

    @pytest.mark.parametrize("is_in_group", [False, True])
    def test_one_manifest_for_all_map_indexes_is_refused_before_the_submit(
        self, emulator: EmulatorServer, tmp_path: Path, is_in_group: bool
    ) -> None:
        """Fault 14: the manifest of the last map index replaced all others."""
        fixed = {
            "output_path": f"{tmp_path}/{{{{ ti.map_index }}}}/{{key}}.{{ext}}",
            "manifest_path": f"{tmp_path}/m.jsonl",
        }
        with DAG("ads") as dag:

            @task_group
            def shop(rows: Any) -> None:
                FluxGenerateBatchOperator(task_id="hero", requests=["a fox"], **fixed)

            if is_in_group:
                shop.expand(rows=[1, 2])
            else:
                FluxGenerateBatchOperator.partial(task_id="shop.hero", **fixed).expand(
                    requests=[["a fox"], ["a hare"]]
                )
        task = batch(tmp_path, ["a fox"], manifest_path=fixed["manifest_path"])
        task.arguments["task_id"] = "shop.hero"
        context = {**task.context(), "dag": dag}
        context["ti"].map_index = 1
        with pytest.raises(AirflowFailException, match="is the same for all mapped tasks"):
            task.new_operator().execute(context)
        assert emulator.stats()["submits"] == 0

    def test_rows_with_one_name_by_the_bytes_of_their_inputs_are_billed_once(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        """Fault 14: two files with the same bytes make one request, and one name."""
        from tests.support.sample_media import make_image

        for name in "ab":
            (tmp_path / f"{name}.png").write_bytes(make_image())
        rows = [{"prompt": "a", "input_image": f"{tmp_path}/{name}.png"} for name in "ab"]
        task = batch(
            tmp_path,
            rows,
            model="flux-kontext-pro",
            defaults={},
            output_path=f"{tmp_path}/out/{{fingerprint}}.{{ext}}",
        )
        task.fail(AirflowFailException)
        assert sorted(task.outcomes()) == ["invalid", "landed"]
        assert emulator.stats()["submits"] == 1
