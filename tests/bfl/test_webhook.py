"""Webhooks of BFL: references, proofs of the sender, and payloads of both generations."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.bfl.status import Status
from airflow_provider_flux.bfl.webhook import (
    append_reference,
    has_secret,
    is_genuine,
    is_receiver,
    make_reference,
    read_notice,
    read_reference,
)

SECRET = "a-random-secret-of-the-connection"
TASK = UUID("01920d54-0000-7000-8000-00000000beef")
BODY = b'{"id": "r-1", "status": "Ready"}'


def sign(body: bytes, secret: str = SECRET) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class TestReceiver:
    @pytest.mark.parametrize(
        "url",
        [
            "https://hooks.example.com/flux/webhooks",
            "https://hooks.example.com/flux/webhooks/",
            "https://example.com/airflow/flux/webhooks",
        ],
    )
    def test_a_url_with_the_path_of_the_receiver_is_the_receiver(self, url: str) -> None:
        assert is_receiver(url)
        reference = append_reference(url, TASK, SECRET).removeprefix(url.rstrip("/") + "/")
        assert read_reference(reference, [SECRET]) == (TASK, SECRET)

    @pytest.mark.parametrize(
        "url",
        [
            None,
            "https://hooks.example.com/my/receiver",
            "https://hooks.example.com/?next=/flux/webhooks",
            "https://[hooks/flux/webhooks",
            "https://hooks.example.com/flux/webhooks/reference",
        ],
    )
    def test_any_other_url_is_not_the_receiver(self, url: Any) -> None:
        assert not is_receiver(url)


class TestReference:
    def test_a_reference_fits_into_a_path_and_names_its_task(self) -> None:
        reference = make_reference(TASK, SECRET)
        assert len(reference) == 43
        assert reference.replace("-", "").replace("_", "").isalnum()
        assert read_reference(reference, ["another-secret", SECRET]) == (TASK, SECRET)

    def test_a_reference_of_an_unknown_secret_names_no_task(self) -> None:
        assert read_reference(make_reference(TASK, "another-secret"), [SECRET]) is None

    def test_a_changed_reference_names_no_task(self) -> None:
        reference = make_reference(TASK, SECRET)
        for position, character in enumerate(reference):
            other = "A" if character != "A" else "B"
            changed = reference[:position] + other + reference[position + 1 :]
            found = read_reference(changed, [SECRET])
            # The last character has two bits that no byte uses.
            assert found is None or (position == 42 and found == (TASK, SECRET))

    @given(st.text(max_size=60))
    def test_no_text_of_a_stranger_names_a_task(self, text: str) -> None:
        assert read_reference(text, [SECRET]) is None


class TestProof:
    def test_the_secret_in_the_header_is_a_proof(self) -> None:
        assert is_genuine({"X-Webhook-Secret": SECRET}, BODY, SECRET)

    @pytest.mark.parametrize("sent", ["", "wrong", SECRET + " ", SECRET[:-1], "\xe9" * 32])
    def test_a_wrong_secret_is_no_proof(self, sent: str) -> None:
        assert not has_secret({"X-Webhook-Secret": sent}, SECRET)
        assert not is_genuine({"X-Webhook-Secret": sent}, BODY, SECRET)

    def test_a_request_without_a_proof_is_not_genuine(self) -> None:
        assert not is_genuine({}, BODY, SECRET)

    def test_a_signature_of_the_body_is_a_proof(self) -> None:
        assert is_genuine({"X-BFL-Signature": sign(BODY)}, BODY, SECRET)

    def test_a_signature_of_another_body_is_no_proof(self) -> None:
        assert not is_genuine({"X-BFL-Signature": sign(b"{}")}, BODY, SECRET)

    def test_each_of_two_proofs_must_be_right(self) -> None:
        good = {"X-Webhook-Secret": SECRET, "X-BFL-Signature": sign(BODY)}
        assert is_genuine(good, BODY, SECRET)
        assert not is_genuine({**good, "X-BFL-Signature": sign(BODY, "wrong")}, BODY, SECRET)
        assert not is_genuine({**good, "X-Webhook-Secret": "wrong"}, BODY, SECRET)

    @given(st.text(max_size=80), st.text(max_size=80))
    def test_no_header_of_a_stranger_raises_or_is_a_proof(self, secret: str, mac: str) -> None:
        headers = {"X-Webhook-Secret": secret, "X-BFL-Signature": mac}
        assert not is_genuine(headers, BODY, SECRET)


class TestPayload:
    @pytest.mark.parametrize(
        ("payload", "status"),
        [
            ({"id": "r-1", "status": "Ready", "result": {"sample": "https://x"}}, Status.READY),
            ({"task_id": "r-1", "status": "SUCCESS", "result": {}}, Status.READY),
            ({"id": "r-1", "status": "Content Moderated"}, Status.CONTENT_MODERATED),
            ({"task_id": "r-1", "status": "GENERATED_CONTENT_MODERATED"}, Status.CONTENT_MODERATED),
            ({"id": "r-1", "status": "Error"}, Status.ERROR),
            ({"task_id": "r-1", "status": "FAILED"}, Status.FAILED),
        ],
    )
    def test_both_generations_report_the_end(self, payload: Any, status: Status) -> None:
        notice = read_notice(json.dumps(payload).encode())
        assert notice is not None
        assert (notice.request_id, notice.status, notice.is_final) == ("r-1", status, True)

    @pytest.mark.parametrize("status", ["Pending", "Task not found", "something new", None])
    def test_another_status_is_not_the_end(self, status: Any) -> None:
        notice = read_notice(json.dumps({"id": "r-1", "status": status}).encode())
        assert notice is not None
        assert not notice.is_final

    @pytest.mark.parametrize(
        "body",
        [b"", b"\xff", b"[]", b"{}", b'{"id": null}', b'{"id": {}}', b"[" * 100_000, b"NaN"],
    )
    def test_a_body_that_names_no_generation_is_no_notice(self, body: bytes) -> None:
        assert read_notice(body) is None
