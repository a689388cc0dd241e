"""max_active and pause of a running task, from the connection and from a Variable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_flux.account.live_settings import (
    LiveReader,
    LiveSettings,
    parse_quota_variable,
    read_live_settings,
)
from airflow_provider_flux.bfl.errors import FluxConfigurationError


@pytest.mark.parametrize(
    ("text", "members"),
    [
        (None, {}),
        ("  ", {}),
        ('{"max_active": 6}', {"max_active": 6, "pause": False}),
        ('{"pause": "true"}', {"pause": True}),
        ('{"flux_default": {"max_active": "8"}, "other": 7}', {"max_active": 8, "pause": False}),
        ('{"other": {"pause": true}}', {"pause": False}),
    ],
)
def test_a_variable_is_for_all_connections_or_for_those_that_it_names(
    text: str | None, members: dict[str, Any]
) -> None:
    assert parse_quota_variable(text, "flux_default") == members


@pytest.mark.parametrize(
    "text",
    [
        *("[]", "{", "7", '{"max_active": 0}', '{"max_active": 10001}', '{"max_active": true}'),
        *('{"pause": "maybe"}', '{"pause": true, "slots": 3}', '{"flux_default": 3}', "[" * 9999),
        '{"max_active": 1e999}',
    ],
)
def test_a_malformed_variable_is_named_with_the_allowed_values(text: str) -> None:
    with pytest.raises(FluxConfigurationError, match="the Variable 'flux_quota'"):
        parse_quota_variable(text, "flux_default")


@pytest.mark.parametrize(
    ("of_variable", "of_task", "limit"),
    [(None, None, 24), (12, None, 12), (None, 40, 40), (12, 8, 8)],
)
def test_the_variable_replaces_the_limit_of_the_connection_and_bounds_that_of_a_task(
    of_variable: int | None, of_task: int | None, limit: int
) -> None:
    assert LiveSettings(of_variable, 24, None).limit(of_task) == limit


def test_a_changed_connection_is_seen_at_the_next_look(
    connect: Callable[..., None],
) -> None:
    connect("http://127.0.0.1:1", max_active=12)
    assert read_live_settings("flux_default") == LiveSettings(None, 12, None)
    connect("http://127.0.0.1:1", max_active=6, pause="true")
    live = read_live_settings("flux_default")
    assert (live.limit(), live.paused_by) == (6, "pause of the connection 'flux_default'")


def test_settings_that_cannot_be_read_again_stay_as_they_were_with_one_warning(
    connect: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    connect("http://127.0.0.1:1")
    reader = LiveReader("flux_default", seconds=10.0)
    assert reader.read_first(0.0) is not None
    assert reader.read(9.0) is None
    connect("http://127.0.0.1:1", max_active="many")
    assert [reader.read(10.0), reader.read(20.0)] == [None, None]
    assert caplog.text.count("cannot be read now, and are as they were") == 1
    connect("http://127.0.0.1:1", max_active=3)
    live = reader.read(30.0)
    assert live is not None
    assert live.limit() == 3
