"""Filters of the templates of the gallery."""

from __future__ import annotations

import pytest

from airflow_provider_flux.gallery.page_filters import show_outcome


class TestShowOutcome:
    @pytest.mark.parametrize(
        ("outcome", "label"),
        [("landed", "Landed"), ("awaiting_input", "Awaiting input"), ("", "Unknown")],
    )
    def test_an_outcome_is_shown_as_words(self, outcome: str, label: str) -> None:
        assert show_outcome(outcome) == label
