"""Draw videos and look into them, with PyAV: an extra of the package, imported when it is needed."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageOps

from airflow_provider_flux.bfl.inputs import MediaFile
from airflow_provider_flux.emulator.draft_cache import Draft, pack
from airflow_provider_flux.emulator.drawing.backdrop import backdrop, tinted
from airflow_provider_flux.emulator.drawing.caption import write_caption
from airflow_provider_flux.emulator.drawing.clips import Clip
from airflow_provider_flux.emulator.drawing.edits import fitted
from airflow_provider_flux.emulator.drawing.picture import Picture
from airflow_provider_flux.emulator.drawing.sizes import Size

if TYPE_CHECKING:
    import av

FRAMES_PER_SECOND = 8
_TINT_OF_EDIT, _TINT_OF_GOING_ON = 0.18, 0.5
#: One thread: with more, the bytes depend on the number of processors.
_ENCODER = {"preset": "ultrafast", "crf": "26", "threads": "1"}
_CONTAINER = {"movflags": "+faststart", "fflags": "+bitexact"}
_MP4 = "mp4"

#: What is seen from a second on, drawn.
_Stills = list[tuple[float, Image.Image]]


def is_available() -> bool:
    """Whether PyAV is installed."""
    return find_spec("av") is not None


def probe(data: bytes) -> tuple[int, int, float]:
    """Return width, height and seconds of an mp4.

    :raises ValueError: if it is none, or its first frame cannot be decoded.
    """
    import av

    try:
        with av.open(io.BytesIO(data), "r", format=_MP4) as container:
            frame = next(container.decode(video=0))
            return frame.width, frame.height, (container.duration or 0) / av.time_base
    except (av.FFmpegError, LookupError, StopIteration) as error:
        raise ValueError(f"not a video: {error}") from None


def encode(picture: Picture, clip: Clip) -> bytes:
    """Return an mp4 that plays while it is loaded; equal pictures give equal bytes."""
    import av

    stills = _stills(picture, clip)
    for _, still in stills:
        write_caption(still, picture)
    # The index comes to the front in a second pass over the file, which needs a name.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sample.mp4")
        with av.open(str(path), "w", format=_MP4, options=_CONTAINER) as container:
            stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options=_ENCODER)
            stream.width, stream.height, stream.pix_fmt = *stills[0][1].size, "yuv420p"
            shown, frame = None, None
            for number, image in enumerate(_frames(stills, clip.seconds)):
                if frame is None or image is not shown:
                    shown, frame = image, _frame_of(image)
                frame.pts = number
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path.read_bytes()


def _frame_of(image: Image.Image) -> av.VideoFrame:
    import av

    frame: av.VideoFrame = av.VideoFrame.from_image(image)  # type: ignore[no-untyped-call]
    return frame.reformat(format="yuv420p")


def draft_cache(picture: Picture, clip: Clip) -> bytes:
    """Return the cache that a draft can be enhanced from."""
    draft = Draft(picture.prompt, picture.seed, picture.digest, clip)
    return pack(draft, [_shown(file) for _, file in clip.keyframes])


def _stills(picture: Picture, clip: Clip) -> _Stills:
    """Return what is seen; between two of them one fades into the other."""
    size: Size = (picture.width // 2 * 2, picture.height // 2 * 2)
    last = (_count(clip.seconds) - 1) / FRAMES_PER_SECOND
    given = [(min(time, last), ImageOps.fit(_shown(file), size)) for time, file in clip.keyframes]
    if clip.mode == "upscale" and given:
        return given
    if clip.mode == "edit" and given:
        return [(time, tinted(image, picture.digest, _TINT_OF_EDIT)) for time, image in given]
    if clip.mode == "v2v" and given:
        return [*given, (last, tinted(given[0][1], picture.digest, _TINT_OF_GOING_ON))]
    if not given or given[0][0] > 0:
        given.insert(0, (0.0, backdrop(picture.digest, size, grain=False)))
    if not clip.keyframes:
        given.append((last, backdrop(hashlib.sha256(picture.digest).digest(), size, grain=False)))
    return given


def _shown(file: MediaFile) -> Image.Image:
    """Return an image, or the first frame of a video."""
    if not file.media_type.startswith("video/"):
        return fitted(file, (file.width or 1, file.height or 1))
    import av

    with file.open() as stream, av.open(stream, "r", format=_MP4) as container:
        image: Image.Image = next(container.decode(video=0)).to_image()  # type: ignore[no-untyped-call]
        return image


def _frames(stills: _Stills, seconds: float) -> Iterator[Image.Image]:
    """Yield an image for each frame; the same object as long as nothing moves."""
    for number in range(_count(seconds)):
        time = number / FRAMES_PER_SECOND
        seen = [still for still in stills if still[0] <= time] or stills[:1]
        coming = next((still for still in stills if still[0] > time), None)
        (since, image) = seen[-1]
        yield (
            Image.blend(image, coming[1], (time - since) / (coming[0] - since))
            if coming and time > since
            else image
        )


def _count(seconds: float) -> int:
    return max(round(seconds * FRAMES_PER_SECOND), 1)
