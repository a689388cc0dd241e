"""Videos: deferred at once, landed as mp4, and drafts that the next task enhances."""

from __future__ import annotations

import hashlib
import io
import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import av
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_flux.bfl import errors
from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.client import FluxClient
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.transfers.flux_to_object_storage import FluxToObjectStorageOperator
from tests.support.run_operator import WAYS, new_context, run_operator
from tests.support.sample_media import make_video

pytestmark = pytest.mark.usefixtures("hurry")
ways = pytest.mark.parametrize("way", WAYS)
T2V = {"mode": "t2v", "duration": 5}
DRAFT = {**T2V, "draft": True}


def operator(
    prompt: str | None = "a fox", way: str = "sync", model: str = "flux-3-video", **arguments: Any
) -> FluxGenerateOperator:
    arguments = {
        "task_id": "film",
        "prompt": prompt,
        "poll_interval": 0.1,
        **WAYS[way],
        **arguments,
    }
    return FluxGenerateOperator(model=model, **arguments)


def seconds_of(data: bytes) -> float:
    with av.open(io.BytesIO(data)) as container:
        return float((container.duration or 0) / av.time_base)


@ways
def test_a_video_is_landed_as_mp4(emulator: EmulatorServer, tmp_path: Path, way: str) -> None:
    generation = run_operator(
        operator(way=way, parameters=T2V, output_path=f"{tmp_path}/{{seed}}.{{ext}}")
    )
    video = generation["video"]
    data = (tmp_path / f"{generation['seed']}.mp4").read_bytes()
    assert video == {
        "uri": f"{tmp_path}/{generation['seed']}.mp4",
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "width": video["width"],
        "height": video["height"],
        "content_type": "video/mp4",
        "sidecar": f"{video['uri']}.json",
        "renditions": {},
        "seconds": 5,
        "draft_cache": None,
    }
    assert video["width"] > video["height"] > 0
    assert seconds_of(data) == 5
    assert generation["image"] is None
    assert (generation["cost"], generation["cost_source"]) == (85, "reported")
    assert "sig=" not in json.dumps(generation)
    name = f"{generation['seed']}.mp4"
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, f"{name}.json"]
    assert emulator.stats()["submits"] == 1


@pytest.mark.parametrize(
    ("model", "field"),
    [("flux-tools/video-edit-v1", "video"), ("flux-tools/video-upscale-v1", "input_video")],
)
def test_the_video_tools_take_a_file(
    emulator: EmulatorServer, tmp_path: Path, model: str, field: str
) -> None:
    (tmp_path / "in.mp4").write_bytes(make_video(2))
    parameters = {field: f"file://{tmp_path}/in.mp4"}
    video = run_operator(
        operator(model=model, parameters=parameters, output_path=f"{tmp_path}/out.{{ext}}")
    )["video"]
    scale = 1 if field == "video" else 2
    assert (video["width"], video["height"], video["seconds"]) == (320 * scale, 192 * scale, 2)


@pytest.mark.parametrize(
    "fault", ["cut=1", "truncate=1", "html=2", "empty=1", "reset=1", "expired=1"]
)
@ways
def test_a_video_that_arrives_damaged_is_downloaded_again(
    emulator: EmulatorServer, tmp_path: Path, fault: str, way: str
) -> None:
    task = operator(
        f"x [[fault:{fault}]]", way, parameters=DRAFT, output_path=f"{tmp_path}/x.{{ext}}"
    )
    video = run_operator(task)["video"]
    assert seconds_of(Path(video["uri"]).read_bytes()) == 5
    assert emulator.stats()["submits"] == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("cut=always", errors.FluxImageError),
        ("html=always", errors.FluxImageError),
        ("empty=always", errors.FluxImageError),
        ("truncate=always", errors.FluxServiceError),
        ("expired=always", errors.FluxResultExpiredError),
    ],
)
def test_what_is_no_whole_video_is_not_stored(
    emulator: EmulatorServer, tmp_path: Path, fault: str, error: type[FluxError]
) -> None:
    task = operator(f"x [[fault:{fault}]]", parameters=DRAFT, output_path=f"{tmp_path}/x.{{ext}}")
    with pytest.raises(AirflowFailException) as caught:
        run_operator(task)
    assert isinstance(caught.value.__cause__, error)
    assert list(tmp_path.iterdir()) == []
    assert emulator.stats()["submits"] == 1


@ways
def test_a_draft_lands_with_the_cache_that_enhances_it(
    emulator: EmulatorServer, tmp_path: Path, way: str
) -> None:
    draft = run_operator(
        operator(way=way, parameters=DRAFT, output_path=f"{tmp_path}/draft.{{ext}}")
    )
    assert draft["video"]["draft_cache"] == f"{tmp_path}/draft.draft.bin"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "draft.draft.bin",
        "draft.mp4",
        "draft.mp4.json",
    ]
    parameters = {"mode": "draft_enhance", "draft_cache": draft["video"]["draft_cache"]}
    final = run_operator(
        operator(None, way, parameters=parameters, output_path=f"{tmp_path}/final.{{ext}}")
    )
    assert final["video"]["width"] > draft["video"]["width"]
    assert final["video"]["draft_cache"] is None
    assert final["cost_source"] == "reported"
    assert emulator.stats()["submits"] == 2


def test_the_cache_of_a_draft_is_beside_a_video_of_any_name(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    video = run_operator(operator(parameters=DRAFT, output_path=f"file://{tmp_path}/film"))["video"]
    assert video["draft_cache"] == f"file://{tmp_path}/film.draft.bin"
    assert (tmp_path / "film.draft.bin").stat().st_size


def test_the_transfer_lands_a_draft_with_its_cache(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    generation = run_operator(operator(parameters=DRAFT))
    assert (generation["video"], generation["image"]) == (None, None)
    transfer = FluxToObjectStorageOperator(
        task_id="t", generation=generation, output_path=f"{tmp_path}/x.{{ext}}"
    )
    video = run_operator(transfer)["video"]
    assert (video["uri"], video["draft_cache"]) == (f"{tmp_path}/x.mp4", f"{tmp_path}/x.draft.bin")
    assert Path(video["draft_cache"]).stat().st_size
    assert emulator.stats()["submits"] == 1


def test_an_enhancement_of_a_file_that_is_no_draft_fails(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    (tmp_path / "x.bin").write_bytes(b"not a draft")
    with pytest.raises(errors.FluxGenerationError, match="draft cache"):
        run_operator(
            operator(None, parameters={"mode": "draft_enhance", "draft_cache": f"{tmp_path}/x.bin"})
        )


def test_the_long_name_of_a_mode_is_accepted(emulator: EmulatorServer) -> None:
    assert run_operator(operator(parameters={**T2V, "mode": "text-to-video"}))["status"] == "Ready"


def polls_when_deferred(task: FluxGenerateOperator, emulator: EmulatorServer) -> int:
    """Execute a task up to its deferral, and return the number of its polls."""
    with pytest.raises(TaskDeferred):
        task.execute(new_context())
    return int(emulator.stats()["polls"])


#: Slow models, with the parameters that they need.
SLOW: dict[str, dict[str, Any]] = {"flux-3-image": {}, "flux-3-video": T2V}


@pytest.mark.parametrize("model", SLOW)
def test_a_slow_model_does_not_wait_on_the_worker(emulator: EmulatorServer, model: str) -> None:
    started = time.monotonic()
    task = operator(model=model, parameters=SLOW[model], deferrable=True, inline_wait=30)
    assert polls_when_deferred(task, emulator) == 0
    assert time.monotonic() - started < 5


def test_a_slow_model_waits_on_the_worker_if_inline_wait_is_long_enough(
    emulator: EmulatorServer,
) -> None:
    assert (
        operator(model="flux-3-image", deferrable=True, inline_wait=120).execute(new_context())[
            "status"
        ]
        == "Ready"
    )


def test_a_fast_model_waits_on_the_worker(emulator: EmulatorServer) -> None:
    assert (
        operator(model="flux-2-max", deferrable=True, inline_wait=10).execute(new_context())[
            "status"
        ]
        == "Ready"
    )


def test_a_slow_model_waits_on_the_worker_if_the_task_cannot_defer(
    emulator: EmulatorServer,
) -> None:
    assert (
        operator(model="flux-3-image", deferrable=False).execute(new_context())["status"] == "Ready"
    )


@pytest.mark.parametrize(
    ("model", "arguments", "seconds"),
    [
        ("flux-pro-1.1", {}, 600),
        ("flux-2-max", {}, 600),
        ("flux-3-image", {}, 900),
        ("flux-3-video", {"parameters": T2V}, 1800),
        ("flux-3-video", {"parameters": T2V, "timeout": 40}, 40),
        ("flux-3-video", {"parameters": T2V, "execution_timeout": timedelta(seconds=70)}, 70),
        ("flux-pro-1.1", {"execution_timeout": timedelta(hours=2)}, 600),
    ],
)
def test_the_default_timeout_depends_on_the_model(
    emulator: EmulatorServer, model: str, arguments: dict[str, Any], seconds: float
) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        operator(way="deferred", model=model, **arguments).execute(new_context())
    left = deferred.value.trigger.deadline - time.time()
    assert seconds - 5 < left <= seconds
    assert seconds + 50 < deferred.value.timeout.total_seconds() <= seconds + 61


def test_an_image_in_place_of_a_video_lands_because_it_is_paid_for(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    task = operator(
        "x [[fault:wrong-format]]", parameters=DRAFT, output_path=f"{tmp_path}/x.{{ext}}"
    )
    generation = run_operator(task)
    assert generation["video"] is None
    assert generation["image"]["uri"] == f"{tmp_path}/x.jpeg"


def test_a_video_lands_even_if_its_draft_cache_cannot_be_downloaded(
    emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = FluxClient.download

    def refuse_the_cache(client: FluxClient, url: str, **options: Any) -> bytes:
        if ".bin" in url:
            raise errors.FluxResultExpiredError("gone")
        return original(client, url, **options)

    monkeypatch.setattr(FluxClient, "download", refuse_the_cache)
    generation = run_operator(operator("x", parameters=DRAFT, output_path=f"{tmp_path}/x.{{ext}}"))
    assert generation["video"]["draft_cache"] is None
    assert (tmp_path / "x.mp4").stat().st_size == generation["video"]["bytes"]
