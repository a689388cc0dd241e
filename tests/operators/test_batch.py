"""FluxGenerateBatchOperator over HTTP: how each row ends, and the cost of retries and clears."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG

from airflow_provider_flux.bfl.errors import FluxBatchError, FluxRequestError
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from tests.support.batch_tries import SMALL, batch, prompts, quick
from tests.support.object_stores import S3Store
from tests.support.sample_media import make_image

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")


def submits(emulator: EmulatorServer) -> int:
    return int(emulator.stats()["submits"])


def test_the_rows_of_a_batch_land_and_its_manifest_describes_each_image(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    task = batch(
        tmp_path, [{"prompt": f"fox {n}", "key": f"sku-{n}", "seed": n} for n in range(30)]
    )
    summary = task.retry()
    assert summary["landed"] == summary["rows"] == submits(emulator) == 30
    assert (summary["credits"], summary["usd"], summary["credits_wasted"]) == (120, 1.2, 0)
    assert summary["manifest"] == f"{tmp_path}/out/manifest-hero.jsonl"
    assert 0 < summary["p50_seconds"] <= summary["p95_seconds"]
    for number, row in enumerate(task.manifest()):
        data = Path(row["uri"]).read_bytes()
        assert (row["index"], row["key"], row["seed"]) == (number, f"sku-{number}", number)
        assert row["uri"] == f"{tmp_path}/out/sku-{number}.jpeg"
        assert (row["sha256"], row["bytes"]) == (hashlib.sha256(data).hexdigest(), len(data))
        assert (row["width"], row["height"], row["content_type"]) == (256, 256, "image/jpeg")
        assert json.loads(Path(row["sidecar"]).read_text())["request"]["prompt"] == f"fox {number}"


def test_the_summary_of_a_batch_is_small_and_names_no_row(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    task = batch(tmp_path, [{"prompt": f"fox {n}", "key": f"secret-sku-{n}"} for n in range(20)])
    text = json.dumps(task.retry())
    assert len(text) < 1000
    assert "sku" not in text
    assert "fox" not in text
    assert set(task.ti.xcoms) == {"flux_batch", "flux_ledger"}


def test_a_batch_lands_in_a_bucket_with_few_writes_of_its_journal(
    emulator: EmulatorServer, aws_lab: str, s3: str, tmp_path: Path
) -> None:
    store = S3Store(s3)
    store.make_bucket()
    task = batch(tmp_path, prompts(60), output_path=f"{store.root}/out/{{key}}.{{ext}}")
    summary = task.retry()
    assert summary["landed"] == submits(emulator) == 60
    manifest = store.read(summary["manifest"])
    assert manifest is not None
    for row in map(json.loads, manifest.splitlines()):
        assert hashlib.sha256(store.read(row["uri"]) or b"").hexdigest() == row["sha256"]
    segments = [name for name in store.all_names() if ".rows/" in name and name.endswith(".jsonl")]
    assert 1 < len(segments) < 10
    assert task.retry()["landed"] == 60
    assert submits(emulator) == 60


def test_a_retry_and_a_clear_submit_no_landed_row_again(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    task = batch(tmp_path, prompts(10))
    first = task.retry()
    again, cleared = task.retry(), task.cleared().retry()
    assert submits(emulator) == 10
    for later in (again, cleared):
        assert (later["landed"], later["credits"]) == (10, first["credits"])
    assert task.outcomes() == ["landed"] * 10


def test_a_clear_with_on_clear_new_submits_all_rows_again(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    task = batch(tmp_path, prompts(4), on_clear="new")
    task.retry()
    task.retry()
    assert submits(emulator) == 4
    assert task.cleared().retry()["credits"] == 16
    assert submits(emulator) == 8
    task.retry()
    assert submits(emulator) == 8


def test_a_retry_submits_only_the_rows_that_were_added(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    rows = [{"prompt": f"fox {n}", "key": f"k{n}"} for n in range(6)]
    task = batch(tmp_path, rows[:4])
    task.retry()
    summary = task.retry(requests=list(reversed(rows)))
    assert (summary["landed"], submits(emulator)) == (6, 6)
    assert [row["key"] for row in task.manifest()] == ["k5", "k4", "k3", "k2", "k1", "k0"]
    assert [row["index"] for row in task.manifest()] == list(range(6))


@pytest.mark.parametrize(("on_change", "submitted"), [("new", 3), ("resume", 2)])
def test_on_change_decides_whether_a_changed_row_is_submitted_or_resumed(
    emulator: EmulatorServer, tmp_path: Path, on_change: str, submitted: int
) -> None:
    task = batch(tmp_path, ["a fox", "a hare"], on_change=on_change)
    task.retry()
    summary = task.retry(requests=["a red fox", "a hare"])
    assert (summary["landed"], submits(emulator)) == (2, submitted)
    assert summary["credits"] == 4 * submitted
    assert summary["credits_wasted"] == 4 * (submitted - 2)
    sidecar = json.loads(Path(task.manifest()[0]["sidecar"]).read_text())
    assert sidecar["request"]["prompt"] == ("a red fox" if on_change == "new" else "a fox")
    task.retry()
    assert submits(emulator) == submitted


def test_a_batch_reuses_existing_images_of_the_same_request(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    batch(tmp_path, ["a fox", "a hare"]).retry()
    task = batch(
        tmp_path, ["a fox", "a hare", "an owl"], reuse="always", ledger_path=f"{tmp_path}/other"
    )
    summary = task.retry()
    assert (summary["reused"], summary["landed"], submits(emulator)) == (2, 1, 3)
    assert (summary["credits"], summary["credits_saved"]) == (4, 8)
    row = task.manifest()[0]
    assert (row["outcome"], row["cost"], row["cost_source"]) == ("reused", 0, "reused")
    assert hashlib.sha256(Path(row["uri"]).read_bytes()).hexdigest() == row["sha256"]


def test_a_batch_skips_existing_objects_with_if_exists_skip(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.jpeg").write_bytes(there := make_image("jpeg"))
    task = batch(tmp_path, ["a fox", "a hare"], if_exists="skip")
    assert task.retry()["reused"] == 1
    assert task.outcomes() == ["landed", "reused"]
    assert submits(emulator) == 1
    assert (tmp_path / "out" / "1.jpeg").read_bytes() == there


def test_a_batch_whose_images_all_exist_ends_at_once(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    batch(tmp_path, ["a fox"]).retry()
    summary = batch(tmp_path, ["a fox"], reuse="always", ledger_path=f"{tmp_path}/other").retry()
    assert summary["reused"] == 1
    assert summary["seconds"] < 4


def test_an_existing_object_fails_its_row_only_with_if_exists_error(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "1.jpeg").write_bytes(make_image("jpeg"))
    task = batch(tmp_path, ["a fox", "a hare"], if_exists="error")
    task.fail(AirflowFailException, "1 of 2 rows have no image")
    assert task.outcomes() == ["landed", "invalid"]
    assert submits(emulator) == 1


def test_a_moderated_row_is_never_sent_again_unchanged(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    bad = "bad [[fault:moderated=Violence]]"
    task = batch(tmp_path, ["a fox", bad])
    assert task.retry()["moderated"] == 1
    task.retry()
    summary = task.cleared().retry()
    assert emulator.stats()["submits_per_prompt"] == {"a fox": 1, bad: 1}
    assert (summary["credits"], summary["credits_wasted"]) == (4, 0)
    row = task.manifest()[1]
    assert (row["outcome"], row["uri"], row["cost"]) == ("moderated", None, 0)
    assert "Violence" in row["reason"]
    assert task.retry(requests=["a fox", "good"])["landed"] == 2
    assert submits(emulator) == 3


def test_a_retry_submits_a_failed_generation_again(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    bad = "bad [[fault:error]]"
    task = batch(tmp_path, ["a fox", bad])
    task.fail(FluxBatchError, r"1 of 2 rows have no image \(1 failed\), more than max_failed=0")
    assert task.summary
    assert (task.summary["failed"], task.summary["credits"]) == (1, 4)
    assert task.manifest()[1]["cost"] == 0
    task.fail(FluxBatchError)
    assert emulator.stats()["submits_per_prompt"] == {"a fox": 1, bad: 2}
    assert task.retry(requests=["a fox", "good"])["landed"] == 2


def test_invalid_rows_are_named_and_nothing_is_submitted(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    rows: list[Any] = [
        "a fox",
        {"prompt": "x", "width": 7},
        {"prompt": "y", "colour": 1},
        5,
        {"prompt": "z"},
    ]
    task = batch(tmp_path, rows)
    message = task.fail(
        AirflowFailException, "^FluxRequestError: Nothing was submitted. 3 rows are not valid:"
    )
    for expected in (
        "key '1', index 1: flux-pro-1.1: width=7",
        "key '2', index 2: 'colour'",
        "key 'row-3', index 3: is an int",
    ):
        assert expected in message
    assert submits(emulator) == 0
    assert task.summary is None
    summary = task.retry(on_invalid_row="skip")
    assert (summary["invalid"], summary["landed"], submits(emulator)) == (3, 2, 2)
    assert task.outcomes() == ["landed", "invalid", "invalid", "invalid", "landed"]
    assert "width=7" in task.manifest()[1]["reason"]


def test_bad_rows_of_a_file_are_skipped_and_the_others_land_at_a_path_object(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    """Faults 26, 27 and 28: a repeated key, a deep cell, and a manifest path that is a ``Path``."""
    deep = "[" * 900 + "]" * 900
    lines = [
        "key,prompt,width,images",
        "A,a fox,,",
        "A,a hare,,",
        f"B,a cat,,{deep}",
        "C,a dog,,,,",
    ]
    rows = tmp_path / "rows.csv"
    rows.write_text("\n".join(lines))
    columns = {"key": "key", "prompt": "prompt", "width": "width", "input_image": "images"}
    manifest = tmp_path / "manifest.jsonl"
    task = batch(
        tmp_path,
        rows,
        columns=columns,
        model="flux-kontext-pro",
        defaults={},
        on_invalid_row="skip",
        manifest_path=manifest,
    )
    summary = task.retry()
    assert summary["manifest"] == str(manifest)
    ended = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert [(row["key"], row["outcome"]) for row in ended] == [
        ("A", "landed"),
        ("A", "invalid"),
        ("B", "invalid"),
        ("C", "landed"),
    ]
    assert ended[1]["reason"].startswith("line 3: key 'A' is taken by line 2.")
    assert (task.retry()["landed"], submits(emulator)) == (2, 2)


@pytest.mark.parametrize("kind", [int, float, str, Decimal])
def test_a_retry_with_keys_of_another_type_submits_nothing_again(
    kind: Any, emulator: EmulatorServer, tmp_path: Path
) -> None:
    """Fault 13: a column of floats had other keys, and each image was paid again."""
    task = batch(tmp_path, [{"prompt": "a fox", "key": 101}])
    assert task.retry()["landed"] == 1
    assert task.retry(requests=[{"prompt": "a fox", "key": kind(101)}])["landed"] == 1
    assert submits(emulator) == 1
    assert [path.name for path in (tmp_path / "out").glob("101*.jpeg")] == ["101.jpeg"]


def test_texts_for_missing_values_are_sent_on_request_only(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    """Fault 24: a prompt ``nan`` was submitted."""
    task = batch(tmp_path, ["a fox", "nan"], on_invalid_row="skip")
    assert (task.retry()["landed"], task.outcomes()) == (1, ["landed", "invalid"])
    assert task.retry(keep_null_text=True)["landed"] == 2
    assert emulator.stats()["submits_per_prompt"] == {"a fox": 1, "nan": 1}


def test_a_row_that_the_service_refuses_ends_as_invalid(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    refused = "bad [[fault:detail-object]]"
    task = batch(tmp_path, ["a fox", refused])
    message = task.fail(AirflowFailException, r"1 of 2 rows have no image \(1 invalid\)")
    assert "Retrying will not help" in message
    assert task.outcomes() == ["landed", "invalid"]
    assert "The request was refused" in task.manifest()[1]["reason"]
    assert task.cleared().retry(on_invalid_row="skip")["invalid"] == 1
    assert submits(emulator) == 1


@pytest.mark.parametrize("fault", ["submit-lost", "submit-503-made"])
def test_an_uncertain_row_is_not_submitted_again_until_a_user_clears_the_task(
    emulator: EmulatorServer, tmp_path: Path, fault: str
) -> None:
    (lost,) = prompts(1, fault)
    task = batch(tmp_path, ["a hare", lost])
    for _ in range(2):
        message = task.fail(AirflowFailException, r"1 of 2 rows have no image \(1 uncertain\)")
        assert "Retrying will not help" in message
        assert task.summary
        assert (
            task.summary["uncertain_submits"],
            task.summary["credits"],
            task.summary["credits_wasted"],
        ) == (1, 8, 4)
    assert submits(emulator) == 2
    row = task.manifest()[1]
    assert (row["outcome"], row["uncertain_submits"], row["request_id"]) == ("uncertain", 1, None)
    # A user accepts a second charge, and that answer is lost, too.
    task.cleared().fail(AirflowFailException)
    assert task.summary["uncertain_submits"] == 2
    assert emulator.stats()["submits_per_prompt"] == {"a hare": 1, lost: 2}
    assert task.cleared().retry(requests=["a hare", "good"])["landed"] == 2


@pytest.mark.parametrize("status", [408, 409, 425, 451, 499])
def test_a_batch_counts_an_undocumented_answer_as_an_uncertain_submit(
    emulator: EmulatorServer, tmp_path: Path, status: int
) -> None:
    """Fault 11: a batch posted again by itself after a 408, and counted nothing as uncertain."""
    (unclear,) = prompts(1, f"submit-status={status},3")
    task = batch(tmp_path, ["a hare", unclear])
    task.fail(AirflowFailException, r"1 of 2 rows have no image \(1 uncertain\)")
    assert task.summary
    assert (task.summary["uncertain_submits"], task.summary["credits"]) == (1, 8)
    assert (submits(emulator), emulator.stats()["refused"]) == (1, 1)


@pytest.mark.parametrize("cost", ["-100", "NaN", "Infinity", "1e308"])
def test_an_absurd_cost_neither_lowers_the_credits_of_a_batch_nor_breaks_its_manifest(
    emulator: EmulatorServer, tmp_path: Path, cost: str
) -> None:
    """Fault 8: with negative or NaN costs max_cost never held, and the manifest was no JSON."""
    fault = f"absurd-cost={cost}"
    task = batch(tmp_path, prompts(2, fault), max_cost=8)
    summary = task.retry()
    assert (summary["credits"], summary["credits_estimated"]) == (8, 8)
    assert [row["cost"] for row in task.manifest()] == [4, 4]
    task.cleared().fail(AirflowFailException, "max_cost=8", requests=prompts(3, fault))
    assert submits(emulator) == 2


def test_an_uncertain_row_is_submitted_again_with_on_uncertain_resubmit(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    (lost,) = prompts(1, "submit-lost")
    task = batch(tmp_path, ["a hare", lost], on_uncertain="resubmit")
    task.fail(AirflowFailException, "1 uncertain")
    assert emulator.stats()["submits_per_prompt"] == {"a hare": 1, lost: 3}
    assert task.summary
    assert (task.summary["uncertain_submits"], task.summary["credits"]) == (3, 16)
    assert task.manifest()[1]["uncertain_submits"] == 3


def test_a_lost_generation_is_submitted_again_only_by_a_clear(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    (lost,) = prompts(1, "lost")
    task = batch(tmp_path, ["a hare", lost])
    for _ in range(2):
        task.fail(AirflowFailException, r"\(1 lost\)")
        assert task.summary
        assert (task.summary["credits"], task.summary["credits_wasted"]) == (8, 4)
    assert submits(emulator) == 2
    assert task.manifest()[1]["cost"] == 4
    task.cleared().fail(AirflowFailException, r"\(1 lost\)")
    assert (task.summary["credits"], task.summary["credits_wasted"]) == (12, 8)
    assert emulator.stats()["submits_per_prompt"] == {"a hare": 1, lost: 2}


@pytest.mark.parametrize("fault", ["moderated", "error"])
def test_the_fallback_of_a_row_is_submitted_once(
    emulator: EmulatorServer, tmp_path: Path, fault: str
) -> None:
    rows = [
        {"prompt": f"bad [[fault:{fault}]]", "fallback_prompt": "good"},
        {"prompt": "fine", "fallback_prompt": "never sent"},
        {"prompt": f"worse [[fault:{fault}]]", "fallback_prompt": f"bad too [[fault:{fault}]]"},
    ]
    task = batch(tmp_path, rows, max_failed=1)
    summary = task.retry()
    assert task.outcomes() == [
        "landed",
        "landed",
        "moderated" if fault == "moderated" else "failed",
    ]
    assert [row["fallback"] for row in task.manifest()] == [True, False, True]
    assert (summary["fallbacks"], summary["credits"], submits(emulator)) == (2, 8, 5)
    sidecar = json.loads(Path(task.manifest()[0]["sidecar"]).read_text())
    assert sidecar["request"]["prompt"] == "good"
    if fault == "moderated":
        task.retry()
        assert [row["fallback"] for row in task.manifest()] == [True, False, True]
        assert submits(emulator) == 5


def test_the_log_has_the_expected_credits_of_each_model(
    emulator: EmulatorServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 4: a column ``model`` raises the price of its row, without a mapping."""
    rows = ["a fox", {"prompt": "b", "model": "flux-2-max", "width": 256, "height": 256}]
    batch(tmp_path, rows).retry()
    assert "several models. flux-2-max: 1 row, 7 credits; flux-pro-1.1: 1 row, 4" in caplog.text
    assert submits(emulator) == 2


def test_a_fallback_may_use_another_model(emulator: EmulatorServer, tmp_path: Path) -> None:
    rows = [
        {
            "prompt": "bad [[fault:moderated]]",
            "fallback_prompt": "good",
            "fallback_model": "flux-2-pro",
        }
    ]
    task = batch(tmp_path, rows)
    summary = task.retry()
    assert emulator.stats()["submits_per_model"] == {"flux-pro-1.1": 1, "flux-2-pro": 1}
    assert (summary["landed"], summary["credits"], summary["credits_reported"]) == (1, 3, 3)
    assert task.manifest()[0]["model"] == "flux-2-pro"


def test_a_fallback_uses_the_inputs_of_its_row(emulator: EmulatorServer, tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(make_image())
    row = {
        "prompt": "bad [[fault:moderated]]",
        "input_image": f"{tmp_path}/in.png",
        "fallback_prompt": "good",
    }
    task = batch(tmp_path, [row], model="flux-2-pro")
    assert task.retry()["landed"] == 1
    sidecar = json.loads(Path(task.manifest()[0]["sidecar"]).read_text())
    assert (
        sidecar["request"]["parameters"]["input_image"]["sha256"]
        == hashlib.sha256(make_image()).hexdigest()
    )


@pytest.mark.parametrize(
    ("limits", "error"),
    [
        ({"max_failed": 2}, None),
        ({"max_failed": "20%"}, None),
        (
            {"max_failed": 1},
            "2 of 10 rows have no image .2 failed., more than max_failed=1 allows",
        ),
        ({"max_failed": "19%"}, "more than max_failed=19%"),
        (
            {"max_failed": 2, "max_moderated": "5%"},
            "1 of 10 rows were moderated, more than max_moderated=5%",
        ),
    ],
)
def test_thresholds_limit_the_rows_without_an_image(
    emulator: EmulatorServer, tmp_path: Path, limits: dict[str, Any], error: str | None
) -> None:
    task = batch(
        tmp_path, [*prompts(7), *prompts(2, "error", 7), *prompts(1, "moderated", 9)], **limits
    )
    if error:
        task.fail(FluxBatchError, error)
    else:
        assert task.retry()["landed"] == 7
    assert task.counts() == {"landed": 7, "failed": 2, "moderated": 1}


def test_too_many_moderated_rows_fail_the_task_without_a_retry(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    task = batch(tmp_path, [*prompts(2), *prompts(1, "moderated", 2)], max_moderated=0)
    task.fail(
        AirflowFailException,
        "1 of 3 rows were moderated.*manifest-hero.jsonl.*Retrying will not help",
    )
    assert task.summary
    assert task.summary["moderated"] == 1


BAD: list[tuple[dict[str, Any], str]] = [
    ({"output_path": None}, "output_path is required"),
    ({"output_path": "/tmp/x/hero.png"}, "may be the same for all rows. Add {key} or {index}"),
    ({"output_path": "hero/{key}.png"}, "is relative"),
    ({"output_path": "/x/{sku}.png"}, "unknown placeholder {sku}"),
    ({"model": "flux-pro-9"}, "'flux-pro-9'"),
    ({"defaults": {"colour": 1}}, "defaults: 'colour' is neither a parameter"),
    ({"defaults": {"key": 1}}, "defaults cannot hold key"),
    ({"columns": {"promt": "text"}}, "columns: 'promt' is neither a parameter"),
    ({"columns": ["prompt"]}, "columns is list, not a dict"),
    ({"max_active": 0}, "max_active=0 must be a whole number of 1 or more"),
    ({"max_active": "many"}, "max_active='many' must be a whole number"),
    ({"model_limits": {"flux-2-pro": 0}}, "model_limits['flux-2-pro']=0 must be a whole number"),
    ({"model_limits": {"flux-2-prro": 3}}, "'flux-2-prro'"),
    ({"model_limits": 3}, "model_limits is int, not a dict"),
    ({"max_cost": -1}, "max_cost=-1 must be credits, 0 or more"),
    ({"max_cost": "5%"}, "max_cost='5%' must be credits"),
    ({"max_cost": float("nan")}, "max_cost=nan must be credits"),
    ({"max_failed": -1}, "max_failed=-1 must be a number of rows, or a share"),
    ({"max_failed": 1.5}, "max_failed=1.5 must be"),
    ({"max_failed": "101%"}, "max_failed='101%' must be"),
    ({"max_failed": True}, "max_failed=True must be"),
    ({"max_moderated": "few"}, "max_moderated='few' must be"),
    ({"on_invalid_row": "ignore"}, "on_invalid_row='ignore' must be one of 'fail', 'skip'"),
    ({"on_uncertain": "retry"}, "on_uncertain='retry' must be one of 'fail', 'resubmit'"),
    ({"on_change": "fail"}, "on_change='fail' must be one of 'new', 'resume'"),
    ({"on_clear": "reuse"}, "on_clear='reuse' must be one of 'resume', 'new'"),
    ({"reuse": "sometimes"}, "reuse='sometimes' must be one of"),
    ({"reuse": "always", "sidecar": False}, "needs sidecar=True"),
    ({"if_exists": "ask"}, "if_exists='ask'"),
    (
        {"manifest_path": "/x/manifest.csv"},
        "manifest_path='/x/manifest.csv' must end in one of .jsonl",
    ),
    ({"max_active": True}, "max_active=True must be a whole number"),
    ({"ledger_path": "ledger"}, "ledger_path='ledger' must be a folder"),
    ({"timeout": 0}, "timeout=0 must be a number of seconds"),
    ({"timeout": "10"}, "timeout='10' must be a number of seconds"),
    ({"timeout": float("inf")}, "timeout=inf must be a number of seconds"),
]


@pytest.mark.parametrize(("arguments", "error"), BAD, ids=[error[:40] for _, error in BAD])
def test_a_wrong_literal_argument_fails_when_the_dag_is_parsed(
    arguments: dict[str, Any], error: str
) -> None:
    with pytest.raises(FluxRequestError) as caught:
        FluxGenerateBatchOperator(
            **{
                "task_id": "hero",
                "requests": ["a fox"],
                "output_path": "/x/{key}.{ext}",
                **arguments,
            }
        )
    assert error in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_batch_without_rows_succeeds_with_an_empty_manifest(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    summary = batch(tmp_path, []).retry()
    assert (summary["rows"], summary["credits"], submits(emulator)) == (0, 0, 0)
    assert Path(summary["manifest"].removeprefix("file://")).read_bytes() == b""


def test_a_batch_that_is_killed_before_its_start_submits_nothing(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    task = batch(tmp_path, ["a fox"])
    operator = task.new_operator()
    operator.on_kill()
    with pytest.raises(FluxBatchError, match="was stopped"):
        operator.execute(task.context())
    assert submits(emulator) == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"max_cost": "many"}, "FluxRequestError: max_cost='many' must be credits"),
        ({"max_cost": ""}, "FluxRequestError: max_cost='' must be credits"),
        ({"max_failed": "None"}, "FluxRequestError: max_failed='None' must be a number of rows"),
        ({"max_failed": "x"}, "FluxRequestError: max_failed='x' must be"),
        ({"output_path": "OUT/hero.png"}, "may be the same for all rows"),
        ({"model": "flux-9"}, "flux-9"),
        ({"requests": None}, "FluxRequestError: requests is a NoneType. It must be"),
        ({"manifest_path": "/x/m.csv"}, "FluxRequestError: manifest_path='/x/m.csv' must end in"),
    ],
)
def test_a_wrong_rendered_argument_fails_before_the_first_submit(
    emulator: EmulatorServer, tmp_path: Path, arguments: dict[str, Any], error: str
) -> None:
    templated = {
        "output_path": "{{ x }}",
        "requests": ["a fox"],
        "max_cost": "{{ x }}",
        "max_failed": "{{ x }}",
    }
    operator = FluxGenerateBatchOperator(
        **templated, task_id="hero", model="{{ x }}", manifest_path="{{ x }}"
    )
    rendered = {
        "output_path": f"{tmp_path}/{{key}}.{{ext}}",
        "max_cost": "1000",
        "max_failed": "2%",
        "model": "flux-pro-1.1",
        "manifest_path": None,
    }
    for name, value in {**rendered, **arguments}.items():
        setattr(
            operator, name, value.replace("OUT", str(tmp_path)) if isinstance(value, str) else value
        )
    with pytest.raises(AirflowFailException, match=error):
        operator.execute(batch(tmp_path, []).context())
    assert submits(emulator) == 0


def test_the_arguments_of_a_batch_may_be_templates(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    from airflow.sdk.definitions.context import Context

    with DAG("ads", schedule=None):
        operator = FluxGenerateBatchOperator(
            task_id="hero",
            requests=[{"prompt": "{{ name }} 1"}, {"prompt": "{{ name }} 2 [[fault:error]]"}],
            output_path=f"{tmp_path}/{{{{ name }}}}/{{key}}.{{ext}}",
            defaults={**SMALL, "output_format": "{{ 'png' }}"},
            max_cost="{{ 4 + 4 }}",
            max_failed="{{ 50 }}%",
            manifest_path=f"{tmp_path}/{{{{ name }}}}.jsonl",
            ledger_path=f"{tmp_path}/{{{{ name }}}}-ledger",
        )
    operator._timings = {"poll_interval": 0.1}
    context: Any = batch(tmp_path, []).context()
    operator.render_template_fields(Context(**context, name="fox"))  # type: ignore[typeddict-item]
    summary = operator.execute(context)
    assert (summary["landed"], summary["failed"]) == (1, 1)
    assert (tmp_path / "fox" / "0.png").exists()
    assert (tmp_path / "fox.jsonl").exists()
    assert list((tmp_path / "fox-ledger").glob("**/*.jsonl"))


def test_a_mapped_batch_warns_if_another_may_give_the_same_names(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    for name, is_warned in {
        "{key}": True,
        "4711-{key}": False,
        "{request_id}": False,
        "{index}-x": True,
    }.items():
        task = batch(tmp_path, prompts(1), output_path=f"{tmp_path}/out/{name}.{{ext}}")
        context, operator, warnings = task.context(), task.new_operator(), list[str]()
        context["ti"].map_index = 4711
        operator.log.warning = lambda text, *values, lines=warnings: lines.append(text % values)
        operator.execute(context)
        assert (
            any("may be the same for rows of other mapped tasks" in line for line in warnings)
            == is_warned
        )


def test_two_mapped_batches_have_separate_manifests_and_journals(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    for index in range(2):
        task = batch(
            tmp_path,
            prompts(2, start=2 * index),
            output_path=f"{tmp_path}/out/m{index}-{{key}}.{{ext}}",
        )
        context = task.context()
        context["ti"].map_index = index
        assert task.new_operator().execute(context)["landed"] == 2
    assert submits(emulator) == 4
    names = {path.name for path in (tmp_path / "out").glob("manifest*")}
    manifests = {"manifest-hero-0.jsonl", "manifest-hero-1.jsonl"}
    assert names == manifests | {f"{name}.index" for name in manifests}


def read_plain(path: Path) -> bytes:
    """Return the bytes of a file; those of an index as they were before the compression."""
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".index" else data


def test_a_batch_writes_no_secret_to_any_file_log_or_xcom(
    emulator: EmulatorServer,
    connect: Callable[..., None],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow_provider_flux.batch import row_store

    connect(emulator.url, webhook_secret="hush-hush-hush")
    files: list[bytes] = []
    close = row_store.RowStore.close

    def read_and_close(self: row_store.RowStore) -> None:
        files.extend(path.read_bytes() for path in self.path.parent.iterdir())
        close(self)

    monkeypatch.setattr(row_store.RowStore, "close", read_and_close)
    hook = f"{emulator.url}/hook"
    rows = [
        {"prompt": "a fox"},
        {"prompt": "bad [[fault:echo-secrets]]"},
        {"prompt": "expired [[fault:expired]]"},
        {"prompt": "moderated [[fault:moderated]]"},
        {
            "prompt": "edit",
            "model": "flux-2-pro",
            "input_image": f"{emulator.url}/x.png?X-Amz-Signature=abc123",
        },
    ]
    task = batch(
        tmp_path, rows, on_invalid_row="skip", max_failed=1, defaults={"webhook_url": hook}
    )
    with caplog.at_level("DEBUG"):
        task.retry()
    assert task.counts() == {"landed": 2, "invalid": 1, "moderated": 1, "failed": 1}
    assert b"abc123" in b"".join(files)  # it is to be sent: in the temporary file, and nowhere else
    written = [read_plain(path) for path in tmp_path.rglob("*") if path.is_file()]
    shown = b"\n".join([*written, caplog.text.encode(), json.dumps(task.ti.xcoms).encode()])
    assert files
    assert b"a fox" in b"".join(files)
    for secret in (b"bfl_canary_key", b"hush-hush", b"sig=", b"iVBORw0KGgoiVBOR"):
        assert secret not in shown + b"".join(files)
    assert b"abc123" not in shown
