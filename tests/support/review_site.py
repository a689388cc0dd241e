"""Reviews of one run that wait for people, for the browser: each test answers its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.utils.db import initdb

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from tests.support.run_operator import FakeTaskInstance
from tests.support.stored_review import StoredReview, store_reviews

#: Candidates of one review that a person answers by keys; `make soak` has 100.
MANY = int(os.environ.get("FLUX_REVIEW_CANDIDATES", "40"))
#: Headline of a review that runs a script if the page takes it for HTML.
HOSTILE_SUBJECT = '"><img src=x onerror="document.title=\'owned\'">'
_PROMPT = "A lighthouse on a cliff, November light, photo"
_SCENES = ("at dawn", "in a storm", "under the Milky Way", "from the sea")


@contextmanager
def review_site(folder: Path, *, is_drawn: bool = False) -> Iterator[Mapping[str, StoredReview]]:
    """Generate candidates, and store reviews of them that wait while the block lasts.

    :param folder: folder of all images.
    :param is_drawn: whether each picture shows something. Others take a fraction of the time.
    """
    initdb()
    config = EmulatorConfig(
        latency=0, credits=10_000, seed=7, image_bytes=None if is_drawn else 20_000
    )
    before = os.environ.get("AIRFLOW_CONN_FLUX_DEFAULT")
    with EmulatorServer(config) as emulator:
        connection = {"conn_type": "flux", "password": "bfl_key_of_a_test", "host": emulator.url}
        os.environ["AIRFLOW_CONN_FLUX_DEFAULT"] = json.dumps(connection)
        try:
            yield _store(folder, (1024, 768) if is_drawn else (256, 256))
        finally:
            if before is None:
                del os.environ["AIRFLOW_CONN_FLUX_DEFAULT"]
            else:
                os.environ["AIRFLOW_CONN_FLUX_DEFAULT"] = before


def _store(folder: Path, shape: tuple[int, int]) -> Mapping[str, StoredReview]:
    size = {"width": shape[0], "height": shape[1]}
    four = _generate(folder / "four", 4, size)
    many = _generate(folder / "many", MANY, {"width": 256, "height": 256})
    again = {
        "prompt": _PROMPT,
        "candidates_path": f"{folder}/again/{{key}}.{{ext}}",
        "parameters": size,
        "per_round": 2,
        "max_cost": 40,
    }

    def one(task_id: str, **arguments: Any) -> StoredReview:
        subject = "Pick the hero image"
        return StoredReview(task_id, folder, four, **{"subject": subject, **arguments})

    hour = timedelta(hours=1)
    return store_reviews(
        one("pick", **again),
        one("by_mouse"),
        one("by_keyboard"),
        one("reject"),
        one("ask_again", **again),
        one("timeout", defaults=3, response_timeout=hour),
        one("two_reviewers"),
        one("assigned", assigned_users={"id": "somebody", "name": "somebody"}),
        one("hostile", subject=HOSTILE_SUBJECT),
        StoredReview("many", folder, many, subject="Pick the packshots", multiple=True),
    )


def _generate(folder: Path, count: int, size: dict[str, Any]) -> Any:
    """Generate candidates with a batch, and return its summary."""
    rows = [
        {"key": f"candidate-{n}", "prompt": f"{_PROMPT}, {_SCENES[n % len(_SCENES)]}"}
        for n in range(1, count + 1)
    ]
    operator = FluxGenerateBatchOperator(
        task_id="candidates",
        requests=rows,
        defaults=size,
        output_path=f"{folder}/{{key}}.{{ext}}",
    )
    ti = FakeTaskInstance(-1)
    vars(ti).update(dag_id="album_review", run_id="night", task_id=folder.name)
    vars(ti).update(try_number=1, max_tries=3)
    context: Any = {"ti": ti}
    return operator.execute(context)
