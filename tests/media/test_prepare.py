"""Tests of preparing a request: its inputs, and the files that they leave."""

from __future__ import annotations

import io
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.bfl.errors import FluxInputError, FluxRequestError
from airflow_provider_flux.bfl.inputs import InlineMedia, MediaFile
from airflow_provider_flux.bfl.request import GenerationRequest, build_request
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.media.prepare import prepare_inputs
from tests.support.sample_media import MIB, encode_base64, make_image, make_large_image, make_video
from tests.support.scripted_host import ScriptedHost, status

PUBLIC = "https://images.example/a.png?sig=abc"


@pytest.fixture
def host() -> Iterator[ScriptedHost]:
    with ScriptedHost() as host:
        yield host


@pytest.fixture(autouse=True)
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide the folder for temporary files, which each test must leave empty."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def put(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


def request(model: str, parameters: dict[str, Any], **options: Any) -> GenerationRequest:
    return build_request(model, {"prompt": "x", **parameters}, **options)


def ready(wanted: GenerationRequest, *private: str) -> dict[str, Any]:
    """Return the parameters of a prepared request, with bytes in place of the files."""
    with prepare_inputs(wanted, FluxSettings("bfl_x", private_input_hosts=private)) as one:
        assert one.is_prepared
        return {name: content(value) for name, value in one.parameters.items() if name != "prompt"}


def content(value: Any) -> Any:
    if isinstance(value, list):
        return [content(item) for item in value]
    if isinstance(value, MediaFile):
        with value.open() as file:
            return file.read()
    return value


def test_an_input_is_read_and_described(tmp_path: Path) -> None:
    data = make_image("jpeg", (640, 480))
    wanted = request("flux-2-pro", {"input_image": put(tmp_path, "a.jpg", data)})
    with prepare_inputs(wanted, FluxSettings("bfl_x")) as one:
        file = one.parameters["input_image"]
        assert (file.media_type, file.width, file.height, file.size) == (
            "image/jpeg",
            640,
            480,
            len(data),
        )
        assert (file.source, file.seconds) == (f"{tmp_path}/a.jpg", None)
        assert [content(file), content(file)] == [data, data]


def test_a_video_is_described_with_its_length(tmp_path: Path) -> None:
    wanted = request("flux-tools/video-edit-v1", {"video": put(tmp_path, "a.mp4", make_video(2.5))})
    with prepare_inputs(wanted, FluxSettings("bfl_x")) as one:
        file = one.parameters["video"]
        assert (file.media_type, file.width, file.height, file.seconds) == (
            "video/mp4",
            320,
            192,
            2.5,
        )


def test_a_url_is_passed_through_if_the_service_fetches_it() -> None:
    assert ready(request("flux-2-pro", {"input_image": PUBLIC})) == {"input_image": PUBLIC}
    assert ready(request("flux-3-image", {"images": [PUBLIC, PUBLIC]})) == {
        "images": [PUBLIC, PUBLIC]
    }
    assert ready(request("flux-2-pro", {"input_image": PUBLIC}), "intranet.test") == {
        "input_image": PUBLIC
    }


@pytest.mark.parametrize("model", ["flux-pro-1.1-ultra", "flux-dev", "flux-pro-1.0-fill"])
def test_a_url_is_fetched_if_the_service_takes_base64_only(host: ScriptedHost, model: str) -> None:
    field = "image" if "fill" in model else "image_prompt"
    url = host.put("/a.png", make_image())
    assert ready(request(model, {field: url}), "127.0.0.1") == {field: make_image()}
    with pytest.raises(FluxRequestError, match="is on a private address"):
        ready(request(model, {field: url}))


def test_a_url_on_a_private_host_is_fetched_since_the_service_cannot(host: ScriptedHost) -> None:
    url = host.put("/a.png", make_image())
    assert ready(request("flux-2-pro", {"input_image": url}), "127.0.0.1") == {
        "input_image": make_image()
    }
    assert ready(request("flux-2-pro", {"input_image": url})) == {"input_image": url}
    assert len(host.received) == 1


def test_a_host_in_trouble_is_an_input_error(host: ScriptedHost) -> None:
    host.answers["*"] = status(503)
    with pytest.raises(FluxInputError, match="HTTP 503"):
        ready(request("flux-2-pro", {"input_image": f"{host.url}/a.png"}), "127.0.0.1")


def test_inputs_in_lists_and_pairs_keep_their_structure(tmp_path: Path) -> None:
    paths = [put(tmp_path, f"{n}.png", make_image(shade=n)) for n in range(3)]
    data = [make_image(shade=n) for n in range(3)]
    images = request("flux-3-image", {"images": (paths[0], PUBLIC, paths[1])})
    assert ready(images) == {"images": [data[0], PUBLIC, data[1]]}
    for frames, expected in [
        (paths[0], data[0]),
        ([1.5, paths[0]], [1.5, data[0]]),
        (paths[:2], data[:2]),
        (
            [[0, paths[0]], (2.5, PUBLIC), [4, paths[2]]],
            [[0, data[0]], [2.5, PUBLIC], [4, data[2]]],
        ),
    ]:
        wanted = request("flux-3-video", {"mode": "i2v", "duration": 5, "keyframes": frames})
        assert ready(wanted)["keyframes"] == expected


def test_eight_references_keep_their_order(tmp_path: Path) -> None:
    names = ["input_image", *(f"input_image_{n}" for n in range(2, 9))]
    given = {
        name: put(tmp_path, f"{9 - n}.png", make_image(shade=n)) for n, name in enumerate(names)
    }
    expected = {name: make_image(shade=n) for n, name in enumerate(names)}
    assert ready(request("flux-2-pro", given)) == expected
    assert ready(request("flux-2-pro", dict(reversed(given.items())))) == expected


def test_two_fields_may_name_the_same_input(tmp_path: Path) -> None:
    path = put(tmp_path, "a.png", make_image())
    both = ready(request("flux-tools/vto-v2", {"person": path, "garment": path}))
    assert both == {"person": make_image(), "garment": make_image()}


def test_no_file_is_left_after_the_block(tmp_path: Path, temporary: Path) -> None:
    wanted = request("flux-2-pro", {"input_image": put(tmp_path, "a.png", make_image())})
    with prepare_inputs(wanted, FluxSettings("bfl_x")) as one:
        file = one.parameters["input_image"]
        [folder] = temporary.iterdir()
        assert folder.stat().st_mode & 0o077 == 0
    assert list(temporary.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        file.open()


def test_no_file_is_left_after_an_exception(tmp_path: Path, temporary: Path) -> None:
    wanted = request("flux-2-pro", {"input_image": put(tmp_path, "a.png", make_image())})
    with pytest.raises(KeyboardInterrupt), prepare_inputs(wanted, FluxSettings("bfl_x")):
        raise KeyboardInterrupt
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("second", ["/no/such.png", "text", "large"])
def test_no_file_is_left_if_an_input_is_refused(
    tmp_path: Path, temporary: Path, second: str
) -> None:
    contents = {"text": b"no image", "large": make_large_image(20 * MIB + 1)}
    path = put(tmp_path, "b.png", contents[second]) if second in contents else second
    wanted = request(
        "flux-2-pro", {"input_image": put(tmp_path, "a.png", make_image()), "input_image_2": path}
    )
    with pytest.raises((FluxRequestError, FluxInputError)):
        ready(wanted)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "field", "data", "message"),
    [
        ("flux-2-pro", "input_image", make_video(), "is not an image"),
        ("flux-2-pro", "input_image", b"hidden text", "is not an image"),
        ("flux-2-pro", "input_image", b"", "is empty"),
        ("flux-2-pro", "input_image", make_image()[:20], "is not an image"),
        ("flux-tools/video-edit-v1", "video", make_image(), "it is not an mp4 video"),
        ("flux-tools/video-edit-v1", "video", make_video()[:-9], "it is cut short or damaged"),
        ("flux-tools/video-edit-v1", "video", b"hidden text", "it is not an mp4 video"),
    ],
)
@pytest.mark.parametrize("given_as", ["file", "base64"])
def test_an_input_of_the_wrong_kind_is_refused_by_an_error_without_its_bytes(
    tmp_path: Path, model: str, field: str, data: bytes, message: str, given_as: str
) -> None:
    value = put(tmp_path, "a.bin", data) if given_as == "file" else InlineMedia(encode_base64(data))
    with pytest.raises(FluxRequestError) as caught:
        ready(request(model, {field: value}))
    assert str(caught.value).startswith(f"{field} ({value if given_as == 'file' else 'base64'}) ")
    assert message in str(caught.value)
    assert "hidden" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_an_image_whose_header_claims_huge_dimensions_is_not_decoded(tmp_path: Path) -> None:
    data = bytearray(make_image())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    with pytest.raises(FluxRequestError, match="has too many pixels"):
        ready(request("flux-2-pro", {"input_image": put(tmp_path, "a.png", bytes(data))}))


def test_a_file_that_was_read_already_is_passed_through() -> None:
    file = MediaFile("a.png", "image/png", 3, "0" * 64, lambda: io.BytesIO(b"abc"), 64, 64)
    assert ready(request("flux-2-pro", {"input_image": file})) == {"input_image": b"abc"}


def test_a_draft_cache_is_not_inspected(tmp_path: Path) -> None:
    path = put(tmp_path, "a.draft.bin", b"whatever it is")
    wanted = build_request("flux-3-video", {"mode": "draft_enhance", "draft_cache": path})
    assert ready(wanted)["draft_cache"] == b"whatever it is"


def test_the_limits_of_a_field_are_checked_after_its_input_was_read(tmp_path: Path) -> None:
    path = put(tmp_path, "a.png", make_image(size=(64, 64)))
    with pytest.raises(
        FluxRequestError, match=r"Image_prompt dimensions.*Given: image_prompt=<image/png 64x64, "
    ):
        ready(request("flux-pro-1.1", {"image_prompt": path}))


def test_the_fingerprint_depends_on_the_bytes_and_not_on_the_name(tmp_path: Path) -> None:
    def fingerprint(value: Any) -> str:
        with prepare_inputs(
            request("flux-2-pro", {"input_image": value}), FluxSettings("bfl_x")
        ) as one:
            return one.fingerprint

    path = put(tmp_path, "a.png", make_image())
    same = [
        path,
        put(tmp_path, "b.png", make_image()),
        InlineMedia(encode_base64(make_image())),
        Path(path),
    ]
    assert len({fingerprint(value) for value in same}) == 1
    others = [put(tmp_path, "c.png", make_image(shade=1)), PUBLIC, PUBLIC.replace("a.png", "b.png")]
    assert len({fingerprint(value) for value in [path, *others]}) == 4


def test_different_inputs_that_are_not_read_yet_have_different_fingerprints() -> None:
    one, other = (InlineMedia(encode_base64(make_image(shade=shade))) for shade in (1, 2))
    assert len(one.text) == len(other.text)
    fingerprints = {
        request("flux-2-pro", {"input_image": value}).fingerprint for value in (one, other)
    }
    assert len(fingerprints) == 2


def test_a_request_without_inputs_or_with_prepared_ones_is_yielded_unchanged(
    tmp_path: Path, temporary: Path
) -> None:
    plain = request("flux-2-pro", {})
    with prepare_inputs(plain, FluxSettings("bfl_x")) as one:
        assert one is plain
    wanted = request("flux-2-pro", {"input_image": put(tmp_path, "a.png", make_image())})
    with (
        prepare_inputs(wanted, FluxSettings("bfl_x")) as one,
        prepare_inputs(one, FluxSettings("bfl_x")) as again,
    ):
        assert again is one
        assert len(list(temporary.iterdir())) == 1
