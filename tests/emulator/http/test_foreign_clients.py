"""Requests as clients of other languages and libraries send them, byte by byte."""

from __future__ import annotations

import json
import socket

import pytest

from tests.emulator.conftest import Client

KEY = "bfl_0123456789abcdef"
BODY = json.dumps({"prompt": "a fox", "width": 256, "height": 256}).encode()


def exchange(client: Client, head: str, body: bytes = b"") -> tuple[str, dict[str, object]]:
    """Send a request on a connection of its own; return the status line and the JSON body."""
    host, port = client.server.url.removeprefix("http://").split(":")
    lines = "\r\n".join([*head.strip().splitlines(), "Connection: close", "", ""])
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(lines.encode() + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head_of_answer, _, content = answer.rpartition(b"\r\n\r\n")
    return head_of_answer.decode().splitlines()[0], json.loads(content)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("header", ["x-key", "X-Key", "X-KEY"])
def test_a_submit_works_in_both_versions_of_http_and_any_case_of_the_header(
    client: Client, version: str, header: str
) -> None:
    status, answer = exchange(
        client,
        f"POST /v1/flux-pro-1.1 HTTP/{version}\nHost: bfl.test\n{header}: {KEY}\n"
        f"Content-Type: application/json; charset=UTF-8\nContent-Length: {len(BODY)}",
        BODY,
    )
    assert status == "HTTP/1.1 200 OK"
    assert answer["polling_url"] == f"http://bfl.test/v1/get_result?id={answer['id']}"


def test_a_submit_in_chunks_works(client: Client) -> None:
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"
    status, answer = exchange(
        client,
        f"POST /v1/flux-pro-1.1 HTTP/1.1\nHost: bfl.test\nx-key: {KEY}\n"
        "Content-Type: application/json\nTransfer-Encoding: chunked",
        chunks,
    )
    assert status == "HTTP/1.1 200 OK"
    assert answer["id"]


def test_a_client_that_waits_for_100_continue_gets_it(client: Client) -> None:
    host, port = client.server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(
            f"POST /v1/flux-pro-1.1 HTTP/1.1\r\nHost: h\r\nx-key: {KEY}\r\nExpect: 100-continue\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
        )
        assert connection.recv(1024).startswith(b"HTTP/1.1 100 Continue\r\n")
        connection.sendall(BODY)
        assert connection.recv(1024).startswith(b"HTTP/1.1 200 OK\r\n")


def test_numbers_as_text_and_null_fields_are_read_as_pydantic_reads_them(client: Client) -> None:
    body = {
        **{"prompt": "a fox", "width": "256", "height": 256.0, "seed": "7", "extra": 1},
        **{"image_prompt": None, "webhook_url": None, "output_format": None},
        "prompt_upsampling": "false",
    }
    answer = client.post("flux-pro-1.1", json=body)
    assert answer.status_code == 200
    assert client.wait(answer.json())["result"]["seed"] == 7


@pytest.mark.parametrize(
    "query", ["?id={id}&id={id}", "?id={id}&raw=true", "?id={id}#result", "?x=&id={id}"]
)
def test_a_poll_takes_the_id_once_more_and_other_members(client: Client, query: str) -> None:
    task = client.submit(width=256, height=256)
    client.wait(task)
    url = f"{client.server.url}/v1/get_result{query.format(id=task['id'])}"
    assert client.get(url).json()["status"] == "Ready"


@pytest.mark.parametrize(
    ("head", "status", "detail"),
    [
        ("POST /v1/flux-pro-1.1 HTTP/1.1\nAuthorization: Bearer {key}", 403, "Not authenticated"),
        ("GET /v1/credits HTTP/1.1\nAuthorization: Key {key}", 403, "Not authenticated"),
        ("GET /v1/flux-pro-1.1 HTTP/1.1\nx-key: {key}", 405, "Method Not Allowed"),
        ("GET /v1/get_result/38b4 HTTP/1.1\nx-key: {key}", 404, "Not Found"),
        ("POST /v1/flux-pro HTTP/1.1\nx-key: {key}\nContent-Length: 0", 404, "Not Found"),
        ("POST //v1/flux-pro-1.1 HTTP/1.1\nx-key: {key}\nContent-Length: 0", 404, "Not Found"),
        ("POST /v1/FLUX-PRO-1.1 HTTP/1.1\nx-key: {key}\nContent-Length: 0", 404, "Not Found"),
    ],
)
def test_a_request_that_the_service_does_not_know_gets_the_error_of_fastapi(
    client: Client, head: str, status: int, detail: str
) -> None:
    first, *headers = head.format(key=KEY).splitlines()
    line, answer = exchange(client, "\n".join([first, "Host: h", *headers]))
    assert line.split()[1] == str(status)
    assert answer == {"detail": detail}


@pytest.mark.parametrize(
    ("url", "field"), [("/v1/get_result?ID=38b4", "id"), ("/v1/get_result?request_id=38b4", "id")]
)
def test_a_poll_without_its_id_names_the_member(client: Client, url: str, field: str) -> None:
    answer = client.get(f"{client.server.url}{url}")
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", field]


def test_a_form_is_no_json(client: Client) -> None:
    answer = client.post("flux-pro-1.1", data={"prompt": "a fox"})
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], list)
