"""The sidecar in each store: its fields, no secrets, and copies."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pendulum
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_flux import __version__
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.landing.sidecar import Sidecar, encode_sidecar, parse_sidecar
from tests.conftest import KEY
from tests.support.image_task import (
    copy_task,
    each_store_and_way,
    image_task,
    read_image,
    read_sidecar,
    run_task,
)
from tests.support.object_stores import Store
from tests.support.run_operator import WAYS
from tests.support.sample_media import encode_base64, make_image
from tests.support.scripted_host import ScriptedHost

pytestmark = [
    pytest.mark.usefixtures("hurry"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
ways = pytest.mark.parametrize("way", WAYS)
SECRET = "s3cret-canary-value"


@each_store_and_way
def test_a_sidecar_records_media_request_cost_and_run(
    emulator: EmulatorServer, store: Store, way: str
) -> None:
    before = pendulum.now("UTC")
    task = image_task(
        f"{store.root}/{{seed}}.{{ext}}", "a fox ü 図", way, seed=7, output_format="png"
    )
    generation = run_task(task, map_index=3, try_number=2)
    image, found = generation["image"], read_sidecar(store, generation)
    data = read_image(store, generation)
    moments = [pendulum.parse(found.pop(name)) for name in ("submitted_at", "landed_at")]
    assert before.subtract(seconds=1) <= moments[0] <= moments[1] <= pendulum.now("UTC")
    assert image["sidecar"] == f"{store.root}/7.png.json"
    assert found["request"].pop("fingerprint") == generation["fingerprint"]
    assert found == {
        "schema_version": 1,
        "digital_source_type": "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",
        "provider_version": __version__,
        "request_id": generation["request_id"],
        "model": "flux-pro-1.1",
        "seed": 7,
        "region_host": "127.0.0.1",
        "cost": 4.0,
        "cost_source": "estimated",
        "media": {
            "uri": image["uri"],
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
            "width": 256,
            "height": 256,
            "content_type": "image/png",
            "delivered_sha256": None,
            "seconds": None,
            "draft_cache": None,
            "renditions": found["media"]["renditions"],
        },
        "mismatches": [],
        "request": {
            "model": "flux-pro-1.1",
            "prompt": "a fox ü 図",
            "prompt_sha256": None,
            "parameters": {
                "width": 256,
                "height": 256,
                "prompt_upsampling": False,
                "seed": 7,
                "safety_tolerance": 2,
                "output_format": "png",
            },
        },
        "run": {
            "dag_id": "ads",
            "run_id": "monday",
            "task_id": "hero",
            "map_index": 3,
            "try_number": 2,
        },
        "reused_from": None,
        "review": None,
        "rejection": None,
    }
    assert store.names() == ["7.png", "7.png.json", "7.png.thumb.webp"]
    if store.scheme != "file":
        assert store.stat(image["sidecar"]).content_type == "application/json"
        expected = {
            "model": "flux-pro-1.1",
            "seed": "7",
            # Fault 41: Ceph folds an underscore into a hyphen; Azure refuses a hyphen.
            "request_id" if store.scheme == "abfs" else "request-id": found["request_id"],
            "sha256": image["sha256"],
        }
        assert store.stat(image["uri"]).metadata == expected


@ways
def test_a_hidden_prompt_is_in_no_stored_file(
    emulator: EmulatorServer, tmp_path: Path, way: str
) -> None:
    prompt = "a canary that nobody may read"
    generation = run_task(image_task(f"{tmp_path}/x.{{ext}}", prompt, way, hide_prompt=True))
    found = json.loads(Path(generation["image"]["sidecar"]).read_text())
    assert found["request"]["prompt"] is None
    assert found["request"]["prompt_sha256"] == hashlib.sha256(prompt.encode()).hexdigest()
    assert "canary" not in json.dumps(found) + json.dumps(generation)


@each_store_and_way
def test_an_image_lands_without_a_sidecar_if_sidecar_is_false(
    emulator: EmulatorServer, store: Store, way: str
) -> None:
    generation = run_task(image_task(f"{store.root}/x.{{ext}}", way=way, sidecar=False))
    assert generation["image"]["sidecar"] is None
    assert store.names() == ["x.jpeg", "x.jpeg.thumb.webp"]


@ways
@pytest.mark.parametrize("validate", [True, False])
def test_a_sidecar_holds_no_secret(
    emulator: EmulatorServer, tmp_path: Path, connect: Any, way: str, validate: bool
) -> None:
    with ScriptedHost() as host:
        host.answers["/hook"] = lambda exchange: exchange.send()
        connect(emulator.url, private_input_hosts=["127.0.0.1"])
        (tmp_path / "in.png").write_bytes(make_image(shade=3))
        url = host.put("/in.png", make_image(shade=5))
        parameters = {
            "input_image": f"file://{tmp_path}/in.png",
            "input_image_2": encode_base64(make_image(shade=4)),
            "input_image_3": f"{url}?sig=canary&X-Amz-Signature=canary",
            "webhook_url": f"{host.url}/hook?token=canary",
            "webhook_secret": SECRET,
        }
        task = image_task(
            f"{tmp_path}/x.{{ext}}",
            way=way,
            model="flux-2-pro",
            parameters=parameters,
            validate=validate,
        )
        generation = run_task(task)
    text = Path(generation["image"]["sidecar"]).read_text()
    assert not [
        one
        for one in ("canary", SECRET, KEY, encode_base64(make_image(shade=4))[:40], "iVBOR")
        if one in text
    ]
    kept = json.loads(text)["request"]["parameters"]
    assert kept["input_image"]["uri"].endswith(f"{tmp_path}/in.png")
    assert kept["input_image"]["sha256"] == hashlib.sha256(make_image(shade=3)).hexdigest()
    assert kept["input_image_2"]["uri"] == "base64"
    assert kept["input_image_2"]["sha256"] == hashlib.sha256(make_image(shade=4)).hexdigest()
    assert not {"webhook_url", "webhook_secret", "prompt"} & set(kept)


def test_a_sidecar_holds_no_signed_url_of_an_unknown_parameter(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    parameters = {"style_image": "https://h.example/style.png?sig=canary"}
    generation = run_task(
        image_task(
            f"{tmp_path}/x.{{ext}}", model="flux-2-pro", parameters=parameters, validate=False
        )
    )
    assert "canary" not in Path(generation["image"]["sidecar"]).read_text()


def test_requested_encryption_applies_to_every_file_that_lands(
    emulator: EmulatorServer, aws_lab: str
) -> None:
    """Many buckets refuse a put without encryption, and the prompt is confidential too."""
    from airflow.sdk import ObjectStoragePath

    ObjectStoragePath(f"s3://{aws_lab}@sealed/").mkdir(exist_ok=True)
    options = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/flux"}
    root = f"s3://{aws_lab}@sealed/a"
    generation = run_task(image_task(f"{root}/x.{{ext}}", reuse="always", store_options=options))
    fs = ObjectStoragePath(f"{root}/x").fs
    written = sorted(fs.find("sealed/a"))
    assert len(written) == 5  # the image, its thumb, its sidecar, an index entry, a record
    sealed = {
        name: fs.call_s3("head_object", Bucket="sealed", Key=name.partition("/")[2])
        for name in written
    }
    assert {
        name: head.get("ServerSideEncryption") for name, head in sealed.items()
    } == dict.fromkeys(written, "aws:kms")
    assert generation["image"]["uri"] == f"{root}/x.jpeg"


@pytest.mark.parametrize("store", ["file", "s3"], indirect=True)
@pytest.mark.parametrize("hide", [False, True])
def test_the_sidecar_of_a_copy_keeps_the_values_of_the_original(
    emulator: EmulatorServer, store: Store, hide: bool
) -> None:
    first = run_task(image_task(f"{store.root}/a/x.{{ext}}", "a canary fox", seed=7))
    second = run_task(copy_task(first, f"{store.root}/b/x.{{ext}}", hide_prompt=hide))
    before, after = read_sidecar(store, first), read_sidecar(store, second)
    assert read_image(store, first) == read_image(store, second)
    for name in (
        "request_id",
        "model",
        "seed",
        "region_host",
        "cost",
        "cost_source",
        "submitted_at",
    ):
        assert after[name] == before[name]
    assert after["run"]["task_id"] == "copy"
    if hide:
        assert "canary" not in json.dumps(after)
        assert after["request"]["prompt_sha256"] == hashlib.sha256(b"a canary fox").hexdigest()
    else:
        assert after["request"] == before["request"]


def test_the_copy_of_a_reused_image_records_the_original_cost_and_region(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    path = f"{tmp_path}/a/{{fingerprint}}.{{ext}}"
    first = run_task(image_task(path, seed=7, reuse="always"))
    reused = run_task(image_task(path, seed=7, reuse="always"))
    assert reused["reused"]
    second = run_task(copy_task(reused, f"{tmp_path}/b/x.{{ext}}"))
    before, after = (
        json.loads(Path(one["image"]["sidecar"]).read_text()) for one in (first, second)
    )
    assert after["request"] == before["request"]
    assert (after["region_host"], after["seed"]) == (before["region_host"], before["seed"])
    assert after["reused_from"] or after["cost"] == before["cost"]


@pytest.mark.parametrize(
    "generation",
    [{"cost_source": "free"}, {"cost": "four"}, {"seed": "seven"}, {"seed": 2**70}],
)
def test_a_generation_that_a_user_wrote_lands_or_is_refused_by_its_field(
    emulator: EmulatorServer, tmp_path: Path, generation: dict[str, Any]
) -> None:
    from airflow.providers.common.compat.sdk import AirflowFailException

    made = run_task(image_task(f"{tmp_path}/a.{{ext}}"))
    wanted = {"request_id": made["request_id"], "polling_url": made["polling_url"], **generation}
    message = ""
    try:
        run_task(copy_task(wanted, f"{tmp_path}/b.{{ext}}"))
    except AirflowFailException as error:
        message = str(error)
    assert next(iter(generation)) in message or (tmp_path / "b.jpeg.json").exists()


TEXT = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"])))
NUMBER = st.one_of(st.none(), st.integers(0, 2**63), st.floats(0, 1e9))
RUNS = st.fixed_dictionaries({"dag_id": TEXT, "run_id": TEXT, "map_index": st.integers(-1, 10**6)})
REQUESTS = st.fixed_dictionaries(
    {
        "prompt": TEXT,
        "parameters": st.dictionaries(
            st.text(max_size=5), st.one_of(st.booleans(), st.integers(), TEXT)
        ),
    }
)
PLAIN = {"request_id": "r", "model": "m", "submitted_at": "s", "landed_at": "l"}
MEDIA = {
    "uri": "u",
    "sha256": "0",
    "bytes": 1,
    "width": 1,
    "height": 1,
    "content_type": "image/png",
}


@settings(max_examples=100)
@given(RUNS, REQUESTS, NUMBER, st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_a_stored_sidecar_is_read_again_unchanged(
    run: Any, request: Any, cost: Any, mismatches: list[str]
) -> None:
    made = Sidecar.model_validate(
        {
            **PLAIN,
            "media": MEDIA,
            "run": run,
            "request": request,
            "cost": cost,
            "mismatches": mismatches,
        }
    )
    assert parse_sidecar(encode_sidecar(made)) == made


WHOLE = json.dumps({**PLAIN, "media": MEDIA, "run": {}, "request": {}}).encode()


def test_an_unknown_field_of_a_sidecar_is_ignored() -> None:
    assert parse_sidecar(WHOLE) is not None
    assert parse_sidecar(
        json.dumps({**json.loads(WHOLE), "mood": "good"}).encode()
    ) == parse_sidecar(WHOLE)


@pytest.mark.parametrize(
    "data",
    [
        *(
            b"",
            b"\xff\xfe",
            b"null",
            b"[]",
            b"{}",
            WHOLE[:-1],
            WHOLE[: len(WHOLE) // 2],
            b"[" * 100_000,
        ),
        json.dumps({**json.loads(WHOLE), "schema_version": 2}).encode(),
        json.dumps({**json.loads(WHOLE), "media": None}).encode(),
    ],
    ids=range(10),
)
def test_any_other_content_is_not_read_as_a_sidecar(data: bytes) -> None:
    assert parse_sidecar(data) is None
