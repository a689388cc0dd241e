"""A batch against an emulator with random faults: its images, its manifest and its accounting."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import Any
from urllib.parse import urlsplit

import requests

from benchmarks.emulator import Emulator, run_emulator
from benchmarks.figures import LIMIT, check_at_most, check_equal
from benchmarks.quota import floor_of, quota_use, read_spans, submitting_phase
from benchmarks.runs import start_batch

FAULTS = ("poll-500@3%", "reset@2%", "submit-503-made@1%", "moderated@2%")
#: Attempts at a request to the emulator. So many random faults in a row do not happen.
_MAX_ATTEMPTS = 30


def run_faults(count: int, folder: Path, options: Sequence[str]) -> bool:
    """Run a batch against an emulator with random faults, and check its result.

    :param count: images to make.
    :param folder: folder of the batch.
    :param options: further options of the emulator.
    :return: whether all figures are as expected.
    """
    fault_options = [part for fault in FAULTS for part in ("--fault", fault)]
    with run_emulator(*options, "--latency", "1", *fault_options) as emulator:
        report = start_batch(emulator, folder, "faults", count, on_uncertain="resubmit").wait()
        timeline = emulator.read("timeline")
        summary = report["summary"]
        rows = [json.loads(line) for line in _path(summary["manifest"]).read_text().splitlines()]
        wrong_keys = _find_wrong_images(
            emulator, [row for row in rows if row["outcome"] == "landed"]
        )

    _print_figures(report, timeline, rows)
    outcomes = Counter(row["outcome"] for row in rows)
    drawn = Counter(fault for entry in timeline["tasks"] for fault in entry["faults"])
    uncertain = sum(row["uncertain_submits"] for row in rows)
    wrong_index = sum(row["index"] != number for number, row in enumerate(rows))
    neither = count - outcomes["landed"] - outcomes["moderated"]
    submits = len(timeline["tasks"])
    made_503 = drawn["submit-503-made"]
    return all(
        [
            check_equal("rows in the manifest", len(rows), count),
            check_equal("rows in the manifest with a wrong index", wrong_index, 0),
            check_equal("rows that neither landed nor were moderated", neither, 0),
            check_at_most("moderated rows", outcomes["moderated"], drawn["moderated"], "d"),
            check_equal("images that differ from manifest or emulator", len(wrong_keys), 0),
            check_equal("submits (rows and uncertain submits)", submits, count + uncertain),
            check_equal(
                "uncertain submits in the summary (manifest)",
                summary["uncertain_submits"],
                uncertain,
            ),
            check_equal("submits answered 503 though accepted (uncertain)", made_503, uncertain),
        ]
    )


def _print_figures(
    report: dict[str, Any], timeline: dict[str, Any], rows: Sequence[dict[str, Any]]
) -> None:
    generations = timeline["tasks"]
    drawn = Counter(fault for entry in generations for fault in entry["faults"])
    active = read_spans(generations)
    use = quota_use(active, submitting_phase(active), LIMIT)
    refused = timeline["refused"].get("429", 0)
    print(
        f"  drawn: {drawn['submit-503-made']} of {len(generations)} submits answered 503 though "
        f"accepted, {drawn['moderated']} moderated"
    )
    print(
        f"  {report['wall']:.0f} s, floor {floor_of(active, LIMIT):.0f} s; quota use {use:.3f}, "
        f"{refused} 429s; {1000 * report['cpu'] / len(rows):.1f} ms CPU each"
    )
    outcomes = Counter(row["outcome"] for row in rows)
    print(f"  outcomes: {dict(outcomes)}; error: {report['error'] or 'none'}")


def _find_wrong_images(emulator: Emulator, landed: Sequence[dict[str, Any]]) -> list[str]:
    """Return the keys of the rows whose file differs from the manifest or from the emulator's."""
    thread = local()

    def is_right(row: dict[str, Any]) -> bool:
        if not hasattr(thread, "session"):
            thread.session = requests.Session()
        expected = row["sha256"], row["bytes"]
        stored = _path(row["uri"]).read_bytes()
        delivered = _download(thread.session, emulator, row["request_id"])
        return all(
            (hashlib.sha256(data).hexdigest(), len(data)) == expected
            for data in (stored, delivered)
        )

    with ThreadPoolExecutor(8) as pool:
        checked = zip(landed, pool.map(is_right, landed), strict=True)
        return [row["key"] for row, right in checked if not right]


def _download(session: requests.Session, emulator: Emulator, request_id: str) -> bytes:
    url = f"{emulator.url}/v1/get_result?id={request_id}"
    sample = _retry(lambda: session.get(url, timeout=30)).json()["result"]["sample"]
    return _retry(lambda: session.get(sample, timeout=30)).content


def _retry(send: Callable[[], requests.Response]) -> requests.Response:
    for _ in range(_MAX_ATTEMPTS):
        try:
            response = send()
        except requests.exceptions.RequestException:
            continue
        if response.status_code == 200:
            return response
    raise RuntimeError("the emulator does not answer")


def _path(uri: str) -> Path:
    return Path(urlsplit(uri).path)
