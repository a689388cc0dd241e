"""Texts for logs hold no key, no signature and no image bytes."""

from __future__ import annotations

import base64
import time

import pytest

from airflow_provider_flux.bfl.redaction import hide_userinfo, redact, redact_line
from airflow_provider_flux.bfl.responses import GenerationResult


def test_keys_queries_base64_and_named_secrets_are_removed_from_a_text() -> None:
    text = "key bfl_abc-DEF_9 url https://a.b/c?sig=X&se=2 blob " + "QUJD" * 30 + " own s3cret!"
    clean = redact(text, "s3cret", None)
    assert (
        clean == "key bfl_*** url https://a.b/c?<query removed> blob <long value removed> own ***!"
    )


def test_a_deep_path_stays_in_a_text_and_base64_is_removed() -> None:
    path = "s3://media/" + "/".join(f"folder{n}" for n in range(20)) + "/" + "a" * 64 + ".png"
    assert redact(f"{path} could not be written") == f"{path} could not be written"
    blob = base64.b64encode(bytes(range(256)) * 3).decode()
    assert "/" in blob
    jpeg = base64.b64encode(
        bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffdb") * 5
    ).decode()
    assert jpeg.startswith("/9j/")
    assert redact(f"{jpeg} end") == "<long value removed> end"
    for before in ("input_image=", "image: ", "image:", "'", "(", ""):
        clean = redact(f"{before}{blob} end")
        assert clean.endswith("<long value removed> end")
        assert blob[:12] not in clean


@pytest.mark.parametrize(
    "url",
    [
        "HTTPS://host.example/x?sig=CANARY",
        "Https://host.example/x?a=1&Signature=CANARY",
        "https://host.example/x#sig=CANARY",
        "//host.example/x?sig=CANARY",
        r"https:\/\/host.example\/x?sig=CANARY",
        r"\/\/host.example\/x?t=CANARY",
        r"https:\/\/host.example\/x\u003ft=CANARY",
        "https%3A%2F%2Fhost.example%2Fx%3Ft%3DCANARY",
        "https%253a%252f%252fhost.example%252fx%253ft%253dCANARY",
        "abfs://box@account.example/x?sv=1&sig=CANARY",
        "x-amz-signature=CANARY",
        "https://user:CANARY@host.example/x",
        "https://CANARY@host.example/x",
        "https://user:p@CANARY@host.example/x",
        "HTTPS://user:CANARY@host.example/x?y=1",
        r"https:\/\/user:CANARY@host.example\/x",
        "https%3A%2F%2Fuser%3ACANARY%40host.example%2Fx",
        "s3://user:CANARY@bucket/x",
        "data:image/png;charset=utf-8;base64,CANARY",
        "DATA:;base64,CANARY",
        "data:text/plain;name=a.txt;charset=x;base64,CANARY%2F",
    ],
)
@pytest.mark.parametrize("frame", ["%s", "see (%s) for", '{"url": "%s"}', "a\x1b%s", "url=%s"])
def test_no_way_to_write_a_url_leaves_its_secret_in_a_text(url: str, frame: str) -> None:
    """Fault 7: only a lower-case ``https://`` with a query was shortened."""
    assert "CANARY" not in redact(frame % url)


@pytest.mark.parametrize(
    "text",
    [
        "s3://my_conn@bucket/a/b.png could not be written",
        "the file a//b is missing, and so is file:///tmp/x",
        "width: Input should be 5 # or more?",
        "https://api.bfl.ai/v1/flux-2-pro did not answer",
        "first line\nsecond line\twith a tab",
        "clé: 日本語 नमस्ते 👨‍👩‍👧",
        "The journal /opt/airflow/data/images/_flux/ledger/my_dag/"
        "manual__2026-11-29T00_00_00_00_00/catalogue-0123456789abcdef.rows/ is incomplete",
    ],
)
def test_a_text_without_secrets_stays_as_it_is(text: str) -> None:
    """Fault 7: the wider patterns remove nothing else."""
    assert redact(text) == text


def test_a_named_secret_is_removed_in_each_of_its_written_forms() -> None:
    """Fault 7: a secret that the service quoted escaped was not recognised."""
    secret = 'p/w"1é'
    quoted = [secret, r"p/w\"1\u00e9", r"p\/w\"1\u00e9", "p%2Fw%221%C3%A9"]
    assert [redact(f"<{text}>", secret) for text in quoted] == ["<***>"] * 4


def test_control_characters_of_the_service_reach_no_log() -> None:
    """Fault 7: escape sequences and line feeds went to terminals and logs."""
    hostile = "\x1b[2Jred\r\x07 \x9b31m \u202eabc\nINFO - all is well"
    clean = redact_line(hostile)
    assert clean == r"\x1b[2Jred\r\x07 \x9b31m \u202eabc INFO - all is well"
    body = {"id": hostile, "status": hostile, "details": {"error": hostile}}
    result = GenerationResult.from_body(body)
    assert (result.request_id, result.status_text) == (clean, clean[:80])
    assert result.error == clean
    moderated = {"status": "Content Moderated", "details": {"Moderation Reasons": [hostile]}}
    assert GenerationResult.from_body(moderated).moderation_reasons == (clean,)


def test_the_status_text_holds_no_secret() -> None:
    """Fault 7: the status was logged as the service wrote it."""
    body = {"status": "see https://host.example/x?sig=CANARY s3cret bfl_CANARY"}
    text = GenerationResult.from_body(body, secrets=("s3cret",)).status_text
    assert "CANARY" not in text
    assert "s3cret" not in text


def test_a_password_with_an_at_sign_is_hidden_as_a_whole() -> None:
    """Fault 7: the end of such a password stayed."""
    assert hide_userinfo("s3://key:se@cret@bucket/x@y") == "s3://***@bucket/x@y"


@pytest.mark.parametrize(
    "piece", ["a//", "https://", "data:", "a.", "\\", "%2f", "https%3a%2f%2fa", "sig"]
)
def test_a_megabyte_is_redacted_in_a_few_seconds(piece: str) -> None:
    """Fault 7: a hostile text must not occupy a worker."""
    started = time.process_time()  # other processes do not count
    redact(piece * (1_000_000 // len(piece)))
    assert time.process_time() - started < 5
