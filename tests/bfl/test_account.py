"""Answers of the account routes are read without quoting secrets."""

from __future__ import annotations

import pytest

from airflow_provider_flux.bfl import account, errors
from airflow_provider_flux.bfl.http_messages import HttpAnswer


def test_the_balance_is_read_in_credits() -> None:
    assert account.read_credits(HttpAnswer(200, {}, b'{"credits": 12.5}')) == 12.5
    with pytest.raises(errors.FluxServiceError):
        account.read_credits(HttpAnswer(200, {}, b"{}"))


@pytest.mark.parametrize("balance", ["-1", "NaN", "Infinity", "-Infinity", "1e999", "true", '"9"'])
def test_a_balance_that_is_no_amount_is_unknown(balance: str) -> None:
    """Fault 8: a balance of NaN or Infinity passed every comparison."""
    with pytest.raises(errors.FluxServiceError, match="balance"):
        account.read_credits(HttpAnswer(200, {}, b'{"credits": %s}' % balance.encode()))


def test_an_error_does_not_quote_the_key_of_a_gateway() -> None:
    refusal = HttpAnswer(403, {}, b'{"detail": "key sk-gateway-123 unknown"}', ("sk-gateway-123",))
    with pytest.raises(errors.FluxAuthenticationError) as caught:
        account.read_credits(refusal)
    assert "sk-gateway" not in str(caught.value)
