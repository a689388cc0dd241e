"""Texts for logs hold no key, no signature and no image bytes."""

from __future__ import annotations

import base64

from airflow_provider_flux.bfl.redaction import redact


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
    for before in ("input_image=", "image: ", "image:", "'", "(", ""):
        clean = redact(f"{before}{blob} end")
        assert clean.endswith("<long value removed> end")
        assert blob[:12] not in clean
