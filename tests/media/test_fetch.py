"""Tests of inputs over HTTP: the hosts that are allowed, and the limit of their size."""

from __future__ import annotations

import gzip
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from airflow_provider_flux.bfl.errors import FluxInputError, FluxRequestError
from airflow_provider_flux.media.public_hosts import is_public
from tests.support.input_fetching import fetch_bytes, fetch_error
from tests.support.sample_media import MIB, make_image
from tests.support.scripted_host import (
    Answer,
    Exchange,
    ScriptedHost,
    drip,
    redirect,
    status,
)

PICTURE = make_image()


@pytest.fixture
def host() -> Iterator[ScriptedHost]:
    with ScriptedHost() as host:
        yield host


def test_an_input_is_read_from_a_private_host_that_the_connection_names(
    host: ScriptedHost, tmp_path: Path
) -> None:
    url = host.put("/a.png", PICTURE)
    assert fetch_bytes(url, tmp_path) == PICTURE
    assert fetch_bytes(f"{url}?sig=abc", tmp_path) == PICTURE
    [_, signed] = host.received
    assert signed.path == "/a.png?sig=abc"
    assert {"x-key", "authorization", "cookie"}.isdisjoint(signed.headers)


def test_the_debug_log_of_the_first_download_holds_no_signature(
    host: ScriptedHost, tmp_path: Path
) -> None:
    """A task downloads its inputs before it imports the client of BFL, so this needs a process."""
    url = host.put("/a.png", PICTURE)
    program = (
        "import logging, pathlib\n"
        "from tests.support.input_fetching import fetch_bytes\n"
        "log = logging.getLogger('urllib3.connectionpool')\n"
        "log.addHandler(logging.StreamHandler())\n"
        "log.setLevel('DEBUG')\n"
        f"fetch_bytes('{url}?sig=abc', pathlib.Path({str(tmp_path)!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert '"GET /a.png?<query removed> HTTP/1.1" 200' in done.stderr
    assert "sig=" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "name",
    ["127.0.0.1", "localhost", "127.1.2.3", "[::1]", "0.0.0.0", "169.254.169.254"],  # noqa: S104
)
def test_a_private_host_that_the_connection_does_not_name_is_refused(
    host: ScriptedHost, tmp_path: Path, name: str
) -> None:
    host.put("/a.png", PICTURE)
    message = fetch_error(
        FluxRequestError,
        f"http://{name}:{host.port}/a.png?sig=abc",
        tmp_path,
        private=("intranet.test",),
    )
    assert "is on a private address" in message
    assert "private_input_hosts" in message
    assert "sig=" not in message
    assert host.received == []


def test_a_domain_in_private_input_hosts_allows_all_of_its_hosts(
    host: ScriptedHost, tmp_path: Path
) -> None:
    host.put("/a.png", PICTURE)
    assert (
        fetch_bytes(f"http://localhost:{host.port}/a.png", tmp_path, private=("*.localhost",))
        == PICTURE
    )


def test_a_redirect_between_named_hosts_is_followed(host: ScriptedHost, tmp_path: Path) -> None:
    host.put("/a.png", PICTURE)
    host.answers["/relative"] = redirect("a.png")
    host.answers["/absolute"] = redirect(f"{host.url}/relative", 307)
    assert fetch_bytes(f"{host.url}/absolute", tmp_path) == PICTURE


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost:{port}/a.png",
        "//127.0.0.2:{port}/a.png",
    ],
)
def test_a_redirect_to_a_private_host_that_is_not_named_is_refused(
    host: ScriptedHost, tmp_path: Path, target: str
) -> None:
    host.put("/a.png", PICTURE)
    host.answers["/start"] = redirect(target.format(port=host.port))
    assert "is on a private address" in fetch_error(FluxRequestError, f"{host.url}/start", tmp_path)
    assert [asked.path for asked in host.received] == ["/start"]


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/a.png", r"http://127.0.0.1\@a.b/"]
)
def test_a_redirect_to_something_other_than_a_url_is_refused(
    host: ScriptedHost, tmp_path: Path, target: str
) -> None:
    host.answers["/start"] = redirect(target)
    assert "which is not an http(s) URL" in fetch_error(
        FluxRequestError, f"{host.url}/start", tmp_path
    )


def test_an_endless_redirect_is_refused(host: ScriptedHost, tmp_path: Path) -> None:
    host.answers["/loop"] = redirect("/loop")
    assert "redirects more than 5 times" in fetch_error(
        FluxRequestError, f"{host.url}/loop", tmp_path
    )
    assert len(host.received) == 6


@pytest.mark.parametrize("code", [204, 304, 400, 401, 403, 404, 410, 429, 500, 503])
def test_an_error_of_the_host_of_an_input_may_be_retried(
    host: ScriptedHost, tmp_path: Path, code: int
) -> None:
    host.answers["*"] = status(code)
    message = fetch_error(FluxInputError, f"{host.url}/a.png?sig=abc", tmp_path)
    assert message == f"image ({host.url}/a.png) could not be downloaded (HTTP {code})."


def _in_chunks(exchange: Exchange) -> None:
    exchange.send_response(200)
    exchange.send_header("Transfer-Encoding", "chunked")
    exchange.end_headers()
    for _ in range(64):
        exchange.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")


def _without_length(exchange: Exchange) -> None:
    exchange.send_response(200)
    exchange.send_header("Connection", "close")
    exchange.end_headers()
    exchange.wfile.write(bytes(4 * MIB))


@pytest.mark.parametrize(
    "answer", [_in_chunks, _without_length, lambda exchange: exchange.send(bytes(4 * MIB))]
)
def test_a_download_stops_at_the_size_limit_of_its_field(
    host: ScriptedHost, tmp_path: Path, answer: Answer
) -> None:
    host.answers["*"] = answer
    message = fetch_error(FluxRequestError, f"{host.url}/a.png", tmp_path)
    assert message == f"image ({host.url}/a.png) is larger than the 1 MB that the service accepts."
    assert (tmp_path / "0").stat().st_size <= MIB


def test_an_input_of_exactly_the_allowed_size_is_read(host: ScriptedHost, tmp_path: Path) -> None:
    assert len(fetch_bytes(host.put("/a.png", bytes(MIB)), tmp_path)) == MIB
    assert "larger than" in fetch_error(
        FluxRequestError, host.put("/b.png", bytes(MIB + 1)), tmp_path
    )


def _cut(exchange: Exchange) -> None:
    exchange.send(PICTURE[:100], Content_Length=len(PICTURE))
    exchange.close_connection = True


def _reset(exchange: Exchange) -> None:
    exchange.hang_up()


def _silence(exchange: Exchange) -> None:
    exchange.wait(5)
    exchange.close_connection = True


@pytest.mark.parametrize("answer", [_cut, _reset, _silence])
def test_a_download_that_breaks_off_may_be_retried(
    host: ScriptedHost, tmp_path: Path, answer: Answer
) -> None:
    host.answers["*"] = answer
    assert "could not be downloaded" in fetch_error(
        FluxInputError, f"{host.url}/a.png?sig=abc", tmp_path, seconds=0.3
    )


def test_a_host_that_cannot_be_reached_may_be_retried(tmp_path: Path) -> None:
    with ScriptedHost() as gone:
        url = f"{gone.url}/a.png"
    assert "could not be downloaded" in fetch_error(FluxInputError, url, tmp_path)
    assert "could not be downloaded" in fetch_error(
        FluxInputError, "http://no-such-host.invalid/a.png", tmp_path
    )


@pytest.mark.parametrize("path", ["/ü b.png", "/%C3%BC%20b.png", "/a.png?name=ü"])
def test_a_url_with_characters_that_need_quoting_is_read(
    host: ScriptedHost, tmp_path: Path, path: str
) -> None:
    host.put("/%C3%BC%20b.png", PICTURE)
    host.put("/a.png", PICTURE)
    assert fetch_bytes(f"{host.url}{path}", tmp_path) == PICTURE


def test_an_input_on_a_public_host_is_read_through_the_proxy_of_the_connection(
    host: ScriptedHost, tmp_path: Path
) -> None:
    host.answers["*"] = lambda exchange: exchange.send(PICTURE)
    assert fetch_bytes("http://93.184.215.14/a.png", tmp_path, proxy=host.url) == PICTURE
    assert host.received[0].path == "http://93.184.215.14/a.png"
    message = fetch_error(
        FluxRequestError, "http://169.254.169.254/latest/", tmp_path, proxy=host.url
    )
    assert "is on a private address" in message
    assert len(host.received) == 1


def test_an_input_on_a_private_host_is_read_without_the_proxy_of_the_connection(
    host: ScriptedHost, tmp_path: Path
) -> None:
    with ScriptedHost() as proxy:
        assert fetch_bytes(host.put("/a.png", PICTURE), tmp_path, proxy=proxy.url) == PICTURE
        assert proxy.received == []


def test_a_netrc_file_adds_no_credentials(
    host: ScriptedHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login u password p\n")
    monkeypatch.setenv("NETRC", str(netrc))
    fetch_bytes(host.put("/a.png", PICTURE), tmp_path)
    assert "authorization" not in host.received[0].headers


@pytest.mark.parametrize(
    "address",
    [
        "[::127.0.0.1]",
        "[::7f00:1]",
        "[fec0::1]",
        "[fe80::1]",
        "[fd00::1]",
        "[ff02::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[2001:db8::1]",
        "[5f00::1]",
        "0.0.0.0",  # noqa: S104
        "0",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "127.1",
        "100.64.0.1",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
    ],
)
def test_no_way_to_write_a_private_address_is_tried(tmp_path: Path, address: str) -> None:
    """Fault 10: forms of IPv6 that hold an IPv4 address, and networks that are not public."""
    message = fetch_error(FluxRequestError, f"http://{address}:9/a.png", tmp_path, private=())
    assert "is on a private address" in message


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "2a00:1450:4001::1"],
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("name", ["127.0.0.1.", "[fe80::1%25lo]", "127.0.0.1%20", "①②⑦.0.0.1"])
def test_an_ambiguous_name_of_a_host_is_refused(
    host: ScriptedHost, tmp_path: Path, name: str
) -> None:
    """Fault 10: trailing dots, zones and other digits lead to no host."""
    host.put("/a.png", PICTURE)
    with pytest.raises(FluxRequestError):
        fetch_bytes(f"http://{name}:{host.port}/a.png", tmp_path, private=())
    assert host.received == []


def test_an_input_that_drips_ends_at_the_read_timeout(host: ScriptedHost, tmp_path: Path) -> None:
    """Fault 9: a host that sends a byte at a time does not hold the task for ever."""
    host.answers["/a.png"] = partial(drip, head=b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
    begin = time.monotonic()
    message = fetch_error(FluxInputError, f"{host.url}/a.png", tmp_path, seconds=1)
    assert time.monotonic() - begin < 10
    assert "could not be downloaded" in message


def test_a_compressed_input_is_decoded_up_to_a_limit(host: ScriptedHost, tmp_path: Path) -> None:
    """Fault 9: an input cannot expand to gigabytes on its way."""
    host.answers["/a.png"] = lambda exchange: exchange.send(
        gzip.compress(PICTURE), Content_Encoding="gzip"
    )
    assert fetch_bytes(f"{host.url}/a.png", tmp_path) == PICTURE
    host.answers["/a.png"] = lambda exchange: exchange.send(
        gzip.compress(bytes(64 * MIB)), Content_Encoding="gzip"
    )
    message = fetch_error(FluxRequestError, f"{host.url}/a.png", tmp_path, max_bytes=50 * MIB)
    assert "arrives compressed (Content-Encoding 'gzip')" in message
