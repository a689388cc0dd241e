"""Texts of BFL that quote a request."""

from __future__ import annotations

import html
import json
import time
from urllib.parse import quote, quote_plus

import pytest

from airflow_provider_flux.bfl.quotes import (
    HIDDEN,
    REMOVED,
    hide_detail,
    hide_reason,
    remove_quotes,
    texts_of,
)

PROMPT = 'Our secret "Zephyr" gearbox,\nunveiled in Zürich: 50% lighter & <quiet>'
#: Ways in which a service may write a prompt.
FORMS = [
    PROMPT,
    PROMPT.upper(),
    json.dumps(PROMPT),
    json.dumps(json.dumps(PROMPT)),
    quote(PROMPT),
    quote_plus(PROMPT),
    html.escape(PROMPT),
    repr(PROMPT),
    " ".join(PROMPT.split()),
    PROMPT[:30] + "...",
    "..." + PROMPT[-35:],
    PROMPT.replace("Zephyr", "***"),
]


@pytest.mark.parametrize("form", FORMS)
def test_a_text_that_quotes_the_prompt_is_removed(form: str) -> None:
    """Fault 6: plain, in other case, escaped, and cut at both ends."""
    assert remove_quotes(f"Not allowed: {form} (policy 7)", [PROMPT]) == REMOVED


def test_a_refusal_of_megabytes_is_compared_in_a_moment() -> None:
    """Fault 9: a long prompt and a long refusal held the loop of a batch for half a minute."""
    prompt, refusal = (" ".join(map(str, range(start, start + 4000))) for start in (10**6, 10**7))
    begin = time.process_time()
    assert len(remove_quotes(refusal * 60, [prompt])) < 100_000
    assert remove_quotes(f"{refusal} {prompt[:40]}", [prompt]) == REMOVED
    assert time.process_time() - begin < 2


@pytest.mark.parametrize("prompt", ["a", "fox", "red fox", "赤い狐"])
def test_a_short_prompt_is_found_as_whole_words_only(prompt: str) -> None:
    assert remove_quotes(f"Bad prompt: '{prompt}'", [prompt]) == REMOVED
    assert remove_quotes("Input should be foxes, bared", [prompt]) != REMOVED


def test_other_texts_stay_as_they_are() -> None:
    text = "Input should be a valid integer"
    assert remove_quotes(text, [PROMPT, "", "!!"]) == text


def test_the_texts_of_a_request_are_its_prompt_and_long_values() -> None:
    parameters = {
        "prompt": "fox",
        "output_format": "png",
        "input_image": "https://images.example.com/a.png",
        "user": "customer-0123456789",
        "new": [{"style": "a style of twenty letters"}, 7],
    }
    assert texts_of(parameters) == ("fox", "customer-0123456789", "a style of twenty letters")


def test_only_reasons_of_bfl_are_shown_without_the_prompt() -> None:
    assert hide_reason("Sexual Content") == "Sexual Content"
    assert hide_reason("A red fox") == HIDDEN
    assert hide_detail("BFL refused the poll (HTTP 422: fox).").endswith(f"(HTTP 422: {HIDDEN}")
    assert hide_detail("BFL answered with HTTP 500.") == "BFL answered with HTTP 500."
