"""A batch in trouble: what has landed, is it what the service delivers, and is all accounted for that was paid."""

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

from benchmarks.figures import LIMIT, at_most, exactly
from benchmarks.quota import floor_of, quota_use, spans, submitting_phase
from benchmarks.runs import start_batch
from benchmarks.service import Service, service

FAULTS = ("poll-500@3%", "reset@2%", "submit-503-made@1%", "moderated@2%")
#: As many in a row are no longer chance.
TRIES = 30


def trouble(count: int, folder: Path, options: Sequence[str]) -> bool:
    """Run a batch against an emulator with faults by chance, and judge it."""
    faults = [part for fault in FAULTS for part in ("--fault", fault)]
    with service(*options, "--latency", "1", *faults) as emulator:
        said = start_batch(emulator, folder, "trouble", count, on_uncertain="resubmit").wait()
        timeline = emulator.ask("timeline")
        summary = said["returned"]
        rows = [json.loads(line) for line in _path(summary["manifest"]).read_text().splitlines()]
        outcomes = Counter(row["outcome"] for row in rows)
        landed = [row for row in rows if row["outcome"] == "landed"]
        strangers = _strangers(emulator, landed)
    made = timeline["tasks"]
    struck = Counter(fault for task in made for fault in task["faults"])
    uncertain = sum(row["uncertain_submits"] for row in rows)
    active = spans(made)
    use, refused = (
        quota_use(active, submitting_phase(active), LIMIT),
        timeline["refused"].get("429", 0),
    )
    floor = floor_of(active, LIMIT)
    print(f"  drawn: {struck['submit-503-made']} of {len(made)} submits answered 503 with the task made, "
          f"{struck['moderated']} moderated")  # fmt: skip
    print(
        f"  {said['wall']:.0f} s, the floor being {floor:.0f} s; quota use {use:.3f}, {refused} 429s; "
        f"{1000 * said['cpu'] / count:.1f} ms CPU each"
    )
    print(f"  outcomes: {dict(outcomes)}; error: {said['error'] or 'none'}")
    return all(
        [
            exactly("rows in the manifest, in the order of the input", len(rows), count),
            exactly(
                "index of the rows that is not theirs",
                sum(row["index"] != n for n, row in enumerate(rows)),
                0,
            ),
            exactly(
                "rows neither landed nor moderated",
                count - outcomes["landed"] - outcomes["moderated"],
                0,
            ),
            at_most("moderated rows, those drawn", outcomes["moderated"], struck["moderated"], "d"),
            exactly("images that are not those of the manifest and the service", len(strangers), 0),
            exactly(
                "submits; rows and what was reported as uncertain", len(made), count + uncertain
            ),
            exactly(
                "uncertain in the summary; in the manifest", summary["uncertain_submits"], uncertain
            ),
            exactly(
                "submits answered 503 with the task made; uncertain",
                struck["submit-503-made"],
                uncertain,
            ),
        ]
    )


def _strangers(emulator: Service, landed: Sequence[dict[str, Any]]) -> list[str]:
    """Return the keys of the rows whose file is not what the manifest says, or not what the emulator delivers."""
    own = local()

    def is_right(row: dict[str, Any]) -> bool:
        if not hasattr(own, "session"):
            own.session = requests.Session()
        said = row["sha256"], row["bytes"]
        found = [
            _path(row["uri"]).read_bytes(),
            _delivered(own.session, emulator, row["request_id"]),
        ]
        return all((hashlib.sha256(data).hexdigest(), len(data)) == said for data in found)

    with ThreadPoolExecutor(8) as pool:
        return [
            row["key"]
            for row, right in zip(landed, pool.map(is_right, landed), strict=True)
            if not right
        ]


def _delivered(session: requests.Session, emulator: Service, request_id: str) -> bytes:
    url = f"{emulator.url}/v1/get_result?id={request_id}"
    sample = _insist(lambda: session.get(url, timeout=30)).json()["result"]["sample"]
    return _insist(lambda: session.get(sample, timeout=30)).content


def _insist(ask: Callable[[], requests.Response]) -> requests.Response:
    for _ in range(TRIES):
        try:
            answer = ask()
        except requests.exceptions.RequestException:
            continue
        if answer.status_code == 200:
            return answer
    raise RuntimeError("the emulator does not answer")


def _path(uri: str) -> Path:
    return Path(urlsplit(uri).path)
