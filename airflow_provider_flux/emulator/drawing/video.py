"""Videos: their encoding, and the probing of inputs, with PyAV.

PyAV is an extra of the package. It is imported when a video is needed.
"""

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
from airflow_provider_flux.emulator.drawing.clips import Clip
from airflow_provider_flux.emulator.drawing.draft_cache import Draft, pack_draft
from airflow_provider_flux.emulator.drawing.edits import fit_image
from airflow_provider_flux.emulator.drawing.layers import draw_backdrop, draw_caption, tint
from airflow_provider_flux.emulator.drawing.picture import Picture
from airflow_provider_flux.emulator.drawing.sizes import Size

if TYPE_CHECKING:
    import av

FRAMES_PER_SECOND = 8
_EDIT_TINT, _CONTINUATION_TINT = 0.18, 0.5
#: One thread: with more, the bytes depend on the number of processors.
_ENCODER_OPTIONS = {"preset": "ultrafast", "crf": "26", "threads": "1"}
_CONTAINER_OPTIONS = {"movflags": "+faststart", "fflags": "+bitexact"}
_MP4 = "mp4"

#: The drawn image that is seen from a second on.
_Stills = list[tuple[float, Image.Image]]


def is_available() -> bool:
    """Whether PyAV is installed."""
    return find_spec("av") is not None


def probe_video(data: bytes) -> tuple[int, int, float]:
    """Return width, height and seconds of an mp4.

    :param data: the bytes of the file.
    :raises ValueError: if it is no mp4, or its first frame cannot be decoded.
    """
    import av

    try:
        with av.open(io.BytesIO(data), "r", format=_MP4) as container:
            frame = next(container.decode(video=0))
            return frame.width, frame.height, (container.duration or 0) / av.time_base
    except (av.FFmpegError, LookupError, StopIteration) as error:
        raise ValueError(f"not a video: {error}") from None


def encode_video(picture: Picture, clip: Clip) -> bytes:
    """Return an mp4 that plays while it is loaded; equal pictures give equal bytes.

    :param picture: the video to encode.
    :param clip: the clip of the picture.
    """
    import av

    stills = _draw_stills(picture, clip)
    for _, still in stills:
        draw_caption(still, picture)

    # A second pass writes the index at the front of the file. It needs a file with a name.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sample.mp4")
        with av.open(str(path), "w", format=_MP4, options=_CONTAINER_OPTIONS) as container:
            stream = container.add_stream(
                "libx264", rate=FRAMES_PER_SECOND, options=_ENCODER_OPTIONS
            )
            stream.width, stream.height, stream.pix_fmt = *stills[0][1].size, "yuv420p"
            previous, frame = None, None
            for number, image in enumerate(_frames(stills, clip.seconds)):
                if frame is None or image is not previous:
                    previous, frame = image, _convert_frame(image)
                frame.pts = number
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path.read_bytes()


def encode_draft_cache(picture: Picture, clip: Clip) -> bytes:
    """Return the cache from which a draft can be enhanced.

    :param picture: the draft.
    :param clip: the clip of the picture.
    """
    draft = Draft(picture.prompt, picture.seed, picture.digest, clip)
    return pack_draft(draft, [_first_frame(file) for _, file in clip.keyframes])


def _convert_frame(image: Image.Image) -> av.VideoFrame:
    import av

    frame: av.VideoFrame = av.VideoFrame.from_image(image)  # type: ignore[no-untyped-call]
    return frame.reformat(format="yuv420p")


def _draw_stills(picture: Picture, clip: Clip) -> _Stills:
    """Return the images of a video; between two of them, one fades into the next."""
    size: Size = (picture.width // 2 * 2, picture.height // 2 * 2)
    last = (_frame_count(clip.seconds) - 1) / FRAMES_PER_SECOND
    stills = [
        (min(time, last), ImageOps.fit(_first_frame(file), size)) for time, file in clip.keyframes
    ]
    if clip.mode == "upscale" and stills:
        return stills
    if clip.mode == "edit" and stills:
        return [(time, tint(image, picture.digest, _EDIT_TINT)) for time, image in stills]
    if clip.mode == "v2v" and stills:
        return [*stills, (last, tint(stills[0][1], picture.digest, _CONTINUATION_TINT))]
    if not stills or stills[0][0] > 0:
        stills.insert(0, (0.0, draw_backdrop(picture.digest, size, grain=False)))
    if not clip.keyframes:
        other_digest = hashlib.sha256(picture.digest).digest()
        stills.append((last, draw_backdrop(other_digest, size, grain=False)))
    return stills


def _first_frame(file: MediaFile) -> Image.Image:
    """Return an image, or the first frame of a video."""
    if not file.media_type.startswith("video/"):
        return fit_image(file, (file.width or 1, file.height or 1))
    import av

    with file.open() as stream, av.open(stream, "r", format=_MP4) as container:
        frame = next(container.decode(video=0))
        image: Image.Image = frame.to_image()  # type: ignore[no-untyped-call]
        return image


def _frames(stills: _Stills, seconds: float) -> Iterator[Image.Image]:
    """Yield an image for each frame; the same object as long as nothing moves."""
    for number in range(_frame_count(seconds)):
        time = number / FRAMES_PER_SECOND
        earlier = [still for still in stills if still[0] <= time] or stills[:1]
        since, image = earlier[-1]
        later = next((still for still in stills if still[0] > time), None)
        if later and time > since:
            yield Image.blend(image, later[1], (time - since) / (later[0] - since))
        else:
            yield image


def _frame_count(seconds: float) -> int:
    return max(round(seconds * FRAMES_PER_SECOND), 1)
