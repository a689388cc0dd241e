"""The command ``gallery``: one HTML file of the images below a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_flux.cli.commands import main
from airflow_provider_flux.emulator import EmulatorServer
from tests.support.batch_tries import batch, prompts


def gallery(*options: object) -> None:
    main(["gallery", *map(str, options)])


def test_the_sheet_of_a_batch_has_its_images_prompts_and_reasons(
    emulator: EmulatorServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = batch(tmp_path, [*prompts(3), "bad [[fault:moderated]]"], max_moderated=1)
    task.retry()
    sheet = tmp_path / "sheet.html"
    gallery(task.folder, "-o", sheet, "--title", "Doors <3")
    html = sheet.read_text()
    assert "4 rows, 3 images, 3 thumbnails" in capsys.readouterr().err
    assert html.count('class="tile"') == 4
    assert html.count("data:image/") == 3
    assert "<h1>Doors &lt;3</h1>" in html
    assert "Moderated" in html
    assert f'href="./{task.folder.name}/' in html


def test_a_manifest_alone_gives_its_own_rows(emulator: EmulatorServer, tmp_path: Path) -> None:
    task = batch(tmp_path, prompts(2))
    task.retry()
    (task.folder / "other.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    gallery(task.folder / "manifest-hero.jsonl", "-o", tmp_path / "sheet.html")
    assert (tmp_path / "sheet.html").read_text().count('class="tile"') == 2


def test_a_sheet_larger_than_its_limit_says_which_images_have_no_thumbnail(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    task = batch(tmp_path, prompts(2))
    task.retry()
    gallery(task.folder, "-o", tmp_path / "sheet.html", "--max-size", "0")
    html = (tmp_path / "sheet.html").read_text()
    assert "data:image/" not in html
    assert "2 images have no thumbnail here" in html


def test_a_folder_of_strangers_shows_text_and_nothing_outside_of_it(tmp_path: Path) -> None:
    """Sidecars and manifests are data: their URIs count below the folder only."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"\x89PNG\r\n\x1a\n" + b"s" * 100)
    folder = tmp_path / "lake"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no image")
    media = {"uri": "javascript:alert(1)", "renditions": {"thumb": {"uri": str(secret)}}}
    request = {"prompt": "<script>alert(1)</script>\u202e\x1b[2J"}
    (folder / "a.png.json").write_text(json.dumps({"media": media, "request": request}))
    row = {"key": "x", "outcome": "landed", "uri": "../secret.png", "thumb": str(secret)}
    (folder / "manifest-x.jsonl").write_text(json.dumps(row) + "\nnot json\n[1]\n")
    gallery(folder, "-o", tmp_path / "sheet.html")
    html = (tmp_path / "sheet.html").read_text()
    assert html.count('class="tile"') == 4
    assert "<script>alert(1)" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\u202e\\x1b[2J" in html
    assert "data:image/" not in html
    assert "secret.png" not in html
    assert "javascript:" not in html


@pytest.mark.parametrize(
    ("options", "code"), [(["/nowhere/at/all"], 4), (["/tmp", "--max-size", "-1"], 2)]
)
def test_a_wrong_option_ends_with_its_code(options: list[str], code: int, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        gallery(*options, "-o", tmp_path / "sheet.html")
    assert caught.value.code == code
    assert not (tmp_path / "sheet.html").exists()


def test_one_image_is_counted_in_the_singular(
    emulator: EmulatorServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = batch(tmp_path, prompts(1))
    task.retry()
    gallery(task.folder, "-o", tmp_path / "sheet.html")
    assert "1 row, 1 image, 1 thumbnail" in capsys.readouterr().err
