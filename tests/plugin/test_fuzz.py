"""Every endpoint of the plugin, fuzzed by schemathesis as users of several rights."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from tests.plugin.conftest import Landed
from tests.support.plugin_server import PluginServer

schemathesis = pytest.importorskip("schemathesis")

#: Requests to each operation for each user.
EXAMPLES = 12
SCRIPT = "<script>alert(1)</script>"
#: The answer of Airflow itself: it takes no path with a line break to a plugin.
NOT_REACHED = '{"detail":"Not Found"}'


def operations() -> list[Any]:
    """Return the operations of the application, as its OpenAPI description has them."""
    from airflow_provider_flux.plugin.app import create_fastapi

    schema = schemathesis.openapi.from_dict(create_fastapi().openapi())
    return [result.ok() for result in schema.get_all_operations()]


@pytest.mark.parametrize("user", [None, "stranger", "viewer", "admin"])
def test_no_request_makes_the_server_fail_or_show_what_the_user_may_not_see(
    server: PluginServer, landed: Landed, user: str | None
) -> None:
    client = server.client(user)
    secret = (landed.foreign_folder / "hero.jpeg").read_bytes()
    # Ids that exist, which random texts would not find.
    existing = {
        "dag_id": ["album", "foreign", "album_planted", SCRIPT],
        "run_id": [*landed.run_ids.values(), SCRIPT],
        "task_id": ["hero", "shelf", "many", "cloud", SCRIPT],
    }
    statuses: dict[str, set[int]] = {}
    for operation in operations():
        for case in _cases(operation):
            path = dict(case.path_parameters or {})
            for number, (name, values) in enumerate(existing.items()):
                if name in path and len(str(path)) % (number + 2):
                    path[name] = values[len(str(path)) % len(values)]
            case.path_parameters = path
            sent = case.as_transport_kwargs(base_url=f"{server.url}/flux")
            try:
                answer = client.request(sent["method"], sent["url"], params=sent.get("params"))
            except httpx.InvalidURL:  # no client can send it
                continue
            label = f"{user}: {sent['method']} {answer.request.url}"
            statuses.setdefault(operation.path, set()).add(answer.status_code)
            assert answer.status_code < 500, f"{label}: {answer.text[:500]}"
            assert SCRIPT not in answer.text, label
            assert "/etc/passwd" not in answer.text, label
            if user in (None, "viewer"):
                assert answer.content != secret, label
            is_of_airflow = answer.text == NOT_REACHED or (
                # The answer to HEAD has no text.
                sent["method"] == "HEAD" and "%0A" in str(answer.request.url)
            )
            assert is_of_airflow or "content-security-policy" in answer.headers, label
    if user is None:
        protected = {path: codes for path, codes in statuses.items() if "static" not in path}
        assert all(200 not in codes for codes in protected.values()), protected


def _cases(operation: Any) -> list[Any]:
    """Return requests to an operation: all valid ones that it says, and some that are not."""
    found: list[Any] = []
    modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    for mode in modes:

        @settings(
            max_examples=EXAMPLES,
            database=None,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def collect(case: Any) -> None:
            found.append(case)

        with suppress(Unsatisfiable):  # any text is valid for some operations
            collect()
    return found
