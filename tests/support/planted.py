"""Files of a stranger in the bucket of a ledger, and secrets that must not leave."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.sample_media import make_image
from tests.support.scripted_host import ScriptedHost

#: Secrets of connections that no part of this provider may use for BFL.
SLACK_SECRET = "xoxb-canary-5741-9902"
AWS_ID, AWS_SECRET = "AKIACANARY00000000A", "aws-canary-secret-5741-9902"
ESCAPES = "\x1b[2J\x1b]0;owned\x07\nlanded everything"
#: Code that Python runs if it is called by a name that ends in .py or .pth, or put in a ZIP.
CODE = b"import os; os.environ['OWNED'] = '1'\n"


@dataclass
class Stranger:
    """A host of a stranger, to which connections with secrets point. It must hear nothing.

    :ivar host: the host.
    :ivar shown: everything that the product printed, logged or returned.
    """

    host: ScriptedHost
    shown: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """URL of the host."""
        return self.host.url

    def assert_heard_nothing(self) -> None:
        """Check that no request reached the host, and that no secret or escape was shown."""
        assert [request.path for request in self.host.received] == []
        text = "\n".join(self.shown)
        for secret in (SLACK_SECRET, AWS_SECRET, AWS_ID):
            assert secret not in text
        assert not {"\x1b", "\x07", "\x9b"} & set(text)


@pytest.fixture
def stranger(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Stranger]:
    """A stranger's host, and connections ``slack_default`` and ``aws_prod`` that point to it."""
    with ScriptedHost() as host:
        slack = {"conn_type": "slack", "password": SLACK_SECRET, "host": host.url}
        aws = {
            "conn_type": "aws",
            "login": AWS_ID,
            "password": AWS_SECRET,
            "extra": {"endpoint_url": host.url, "region_name": "eu-central-1"},
        }
        monkeypatch.setenv("AIRFLOW_CONN_SLACK_DEFAULT", json.dumps(slack))
        monkeypatch.setenv("AIRFLOW_CONN_AWS_PROD", json.dumps(aws))
        found = Stranger(host)
        yield found
        captured = capsys.readouterr()
        found.shown += [captured.out, captured.err, caplog.text]
        found.assert_heard_nothing()


def jpeg_with_a_zip() -> bytes:
    """Return a whole JPEG with a ZIP of Python code behind it, which Python can run."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("__main__.py", CODE)
        file.comment = b"\xff\xd9"  # so that the file ends as a JPEG does
    return make_image("jpeg") + archive.getvalue()


def edit_json(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change the JSON document in a file."""
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def edit_lines(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change each line of a file of JSON lines."""
    documents = [json.loads(line) for line in path.read_text().splitlines()]
    for document in documents:
        edit(document)
    path.write_text("".join(f"{json.dumps(document)}\n" for document in documents))


def set_member(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return an edit that sets a member by its dotted path, if the members above exist."""

    def edit(document: dict[str, Any]) -> None:
        *above, name = path.split(".")
        for part in above:
            inner = document.get(part)
            if not isinstance(inner, dict):
                return
            document = inner
        document[name] = value

    return edit


def snapshot(folder: Path) -> dict[Path, bytes]:
    """Return the files below a folder with their content; links as what they point to."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
