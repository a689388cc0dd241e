"""The reasons of checks, which functions of users write."""

from __future__ import annotations

from airflow_provider_flux.checks.run_check import clean_reason


class TestCleanReason:
    def test_a_reason_has_no_secret_of_an_error(self) -> None:
        reason = clean_reason(
            "raised: 403 for https://me:canary@host/a?token=canary\n, bfl_canary1"
        )
        assert "canary" not in reason
        assert reason.startswith("raised: 403 for https://")

    def test_a_reason_is_one_short_line(self) -> None:
        assert clean_reason("a\x00b\nc") == "a b c"
        assert len(clean_reason("word " * 100_000)) < 600
