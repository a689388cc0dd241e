"""Reuse of an existing image with the same fingerprint, under any name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.emulator import EmulatorServer
from tests.support.image_task import image_task, read_image, read_sidecar, run_task
from tests.support.object_stores import Store
from tests.support.sample_media import make_image

pytestmark = [
    pytest.mark.usefixtures("hurry"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def submits(emulator: EmulatorServer) -> int:
    return int(emulator.stats()["submits"])


#: A name, and the same name as another day renders it.
NAMES = {
    "same": ("{root}/hero.{{ext}}", "{root}/hero.{{ext}}"),
    "fingerprint": ("{root}/{{fingerprint}}.{{ext}}", "{root}/{{fingerprint}}.{{ext}}"),
    "dated": ("{root}/2026-10-01/hero.{{ext}}", "{root}/2026-10-02/hero.{{ext}}"),
    "known afterwards": ("{root}/{{request_id}}.{{ext}}", "{root}/{{request_id}}.{{ext}}"),
}


def named(root: str, name: str, day: int, **arguments: Any) -> Any:
    task = image_task(NAMES[name][day].format(root=root), **arguments)
    task._root = f"{root}/"  # as a template in the path leaves it
    return task


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("reuse", ["never", "run", "always"])
def test_each_value_of_reuse_decides_which_requests_are_submitted_again(
    emulator: EmulatorServer, tmp_path: Path, name: str, reuse: Any
) -> None:
    root = f"file://{tmp_path}"
    first = run_task(named(root, name, 0, reuse=reuse))
    assert (first["reused"], first["cost"], first["cost_source"]) == (False, 4, "estimated")
    again = run_task(named(root, name, 1, reuse=reuse))
    assert submits(emulator) == (2 if reuse == "never" else 1)
    other_run = run_task(named(root, name, 1, reuse=reuse), "tuesday")
    assert submits(emulator) == {"never": 3, "run": 2, "always": 1}[reuse]
    assert [again["reused"], other_run["reused"]] == [reuse != "never", reuse == "always"]
    if reuse == "never":
        return
    assert (again["cost"], again["cost_source"], again["estimated_cost"]) == (0, "reused", 4)
    assert (again["status"], again["request_id"]) == ("Ready", first["request_id"])
    assert (again["seed"], again["fingerprint"]) == (first["seed"], first["fingerprint"])
    assert again["image"]["sha256"] == first["image"]["sha256"]
    assert "sig=" not in json.dumps(again)


def test_a_reused_image_under_another_name_is_copied_with_its_sidecar(
    emulator: EmulatorServer, store: Store
) -> None:
    first = run_task(named(store.root, "dated", 0, reuse="always", cache_control="no-store"))
    again = run_task(
        named(store.root, "dated", 1, reuse="always", cache_control="no-store"), "tuesday"
    )
    assert submits(emulator) == 1
    assert again["image"]["uri"] == f"{store.root}/2026-10-02/hero.jpeg"
    assert read_image(store, again) == read_image(store, first)
    before, after = read_sidecar(store, first), read_sidecar(store, again)
    assert (after["reused_from"], after["media"]["uri"]) == (
        first["image"]["uri"],
        again["image"]["uri"],
    )
    assert (after["run"]["run_id"], after["request"]) == ("tuesday", before["request"])
    assert before["reused_from"] is None
    assert store.stat(again["image"]["uri"]) == store.stat(first["image"]["uri"])


@pytest.mark.parametrize(
    ("store", "placeholder"),
    [("file", "seed"), ("s3", "request_id"), ("gs", "sha256"), ("abfs", "seed")],
    indirect=["store"],
)
def test_a_reused_image_under_its_own_name_is_left_unchanged(
    emulator: EmulatorServer, store: Store, placeholder: str
) -> None:
    path = f"{store.root}/{{{placeholder}}}.{{ext}}"
    first = run_task(image_task(path, reuse="always"))
    before, properties = read_sidecar(store, first), store.stat(first["image"]["uri"])
    again = run_task(image_task(path, reuse="always"), "tuesday")
    assert again["image"] == first["image"]
    assert store.stat(again["image"]["uri"]) == properties
    assert read_sidecar(store, again) == before


@pytest.mark.parametrize(
    "changed",
    [
        {"prompt": "a hare"},
        {"seed": 8},
        {"output_format": "png"},
        {"safety_tolerance": 3},
        {"prompt_upsampling": True},
        {"model": "flux-2-pro"},
    ],
    ids=str,
)
def test_a_request_that_differs_is_submitted(
    emulator: EmulatorServer, tmp_path: Path, changed: dict[str, Any]
) -> None:
    name = "same" if "seed" in changed else "dated"
    first = run_task(named(str(tmp_path), name, 0, seed=7, reuse="always"))
    if "model" in changed:
        changed = {**changed, "width": 256, "height": 256}
    other = run_task(named(str(tmp_path), name, 1, **{"seed": 7, "reuse": "always", **changed}))
    assert (submits(emulator), other["reused"]) == (2, False)
    assert other["request_id"] != first["request_id"]


def test_arguments_that_do_not_change_the_image_do_not_cause_a_submit(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    hook = {"webhook_url": "https://hook.example/1"}
    first = run_task(
        image_task(f"{tmp_path}/x.{{ext}}", reuse="always", webhook_secret="s3cret-one", **hook)
    )
    for more in (
        {"webhook_secret": "s3cret-two", **hook},
        {"webhook_url": "https://hook.example/2"},
        {"poll_interval": 0.2, "timeout": 99, "task_id": "other"},
        {"parameters": {"seed": None}},
    ):
        again = run_task(image_task(f"{tmp_path}/x.{{ext}}", reuse="always", **more))
        assert again["image"] == first["image"]
    assert submits(emulator) == 1


def test_reuse_compares_the_bytes_of_an_input_and_not_its_name(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    def edit(source: str) -> Any:
        given = {"input_image": f"file://{tmp_path}/{source}"}
        return run_task(
            image_task(
                f"{tmp_path}/out/x.{{ext}}",
                model="flux-kontext-pro",
                parameters=given,
                reuse="always",
            )
        )

    (tmp_path / "a.png").write_bytes(make_image(shade=1))
    (tmp_path / "b.png").write_bytes(make_image(shade=1))
    first = edit("a.png")
    assert edit("b.png")["image"] == first["image"]
    assert submits(emulator) == 1
    (tmp_path / "a.png").write_bytes(make_image(shade=2))
    assert not edit("a.png")["reused"]
    assert submits(emulator) == 2


def test_a_hidden_prompt_is_hidden_in_the_sidecar_of_a_reused_image(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    run_task(named(str(tmp_path), "dated", 0, prompt="a canary fox", reuse="always"))
    again = run_task(
        named(str(tmp_path), "dated", 1, prompt="a canary fox", reuse="always", hide_prompt=True)
    )
    assert again["reused"]
    assert "canary" not in Path(again["image"]["sidecar"]).read_text()


def test_a_reused_image_is_marked_if_embed_metadata_is_set(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    run_task(named(str(tmp_path), "dated", 0, reuse="always"))
    again = run_task(named(str(tmp_path), "dated", 1, reuse="always", embed_metadata=True))
    assert b"trainedAlgorithmicMedia" in Path(again["image"]["uri"]).read_bytes()


DRAFT = {"mode": "t2v", "duration": 5, "draft": True}


def film(tmp_path: Path, name: str) -> Any:
    path = f"{tmp_path}/{name}/film.{{ext}}"
    task = image_task(path, model="flux-3-video", parameters=DRAFT, reuse="always")
    task._root = f"{tmp_path}/"
    return run_task(task)


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_draft_video_is_reused_with_its_draft_cache(
    emulator: EmulatorServer, tmp_path: Path, name: str
) -> None:
    first, again = film(tmp_path, "a"), film(tmp_path, name)
    assert (submits(emulator), again["reused"]) == (1, True)
    assert again["image"] is None
    assert again["video"]["seconds"] == first["video"]["seconds"] == 5
    assert (
        Path(again["video"]["draft_cache"]).read_bytes()
        == Path(first["video"]["draft_cache"]).read_bytes()
    )


def test_a_draft_cache_that_is_gone_is_not_in_the_xcom(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    Path(film(tmp_path, "a")["video"]["draft_cache"]).unlink()
    cache = film(tmp_path, "a")["video"]["draft_cache"]
    assert cache is None or Path(cache).exists()


@pytest.mark.parametrize(
    "arguments",
    [
        {"reuse": "always", "sidecar": False},
        {"reuse": "sometimes"},
        {"reuse": "run", "output_path": None},
    ],
)
def test_arguments_that_make_reuse_impossible_are_refused_when_the_dag_is_parsed(
    arguments: dict[str, Any],
) -> None:
    from airflow_provider_flux.bfl.errors import FluxRequestError

    with pytest.raises(FluxRequestError, match="reuse="):
        image_task(**{"output_path": "/tmp/x.{ext}", **arguments})
