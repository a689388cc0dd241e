"""Inputs for the emulator, measures of its results, and a server for inputs that are URLs."""

from __future__ import annotations

import base64
import io
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
from PIL import Image, ImageStat

Colour = tuple[float, ...]
Box = tuple[int, int, int, int]

RED, GREEN, BLUE, YELLOW = (200, 30, 30), (30, 170, 30), (30, 30, 200), (210, 200, 30)


def plain_image(colour: Colour = RED, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Return an image of one colour."""
    return Image.new("RGB", size, tuple(int(channel) for channel in colour))


def quarters_image(size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Return an image of four colours, so that a part of it can be located."""
    small = Image.frombytes("RGB", (2, 2), bytes((*RED, *GREEN, *BLUE, *YELLOW)))
    return small.resize(size, Image.Resampling.NEAREST)


def encode_image(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    """Encode an image, and return the bytes of the file."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def encode_base64(content: bytes | Image.Image) -> str:
    """Return the base64 of a file; an image is encoded as PNG first."""
    return base64.b64encode(
        encode_image(content) if isinstance(content, Image.Image) else content
    ).decode()


def decode_image(content: bytes) -> Image.Image:
    """Decode the image of a file completely."""
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def mean_colour(image: Image.Image, box: Box | None = None) -> Colour:
    """Return the mean colour of an area."""
    return tuple(ImageStat.Stat(image.convert("RGB").crop(box or (0, 0, *image.size))).mean)


def colour_distance(one: Colour, other: Colour) -> float:
    """Return the distance of two colours, in the channel in which they differ most."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


#: The box of each quarter, above the caption, as shares of the size; and its colour.
QUARTERS: tuple[tuple[tuple[float, ...], Colour], ...] = (
    ((0.05, 0.1, 0.45, 0.4), RED),
    ((0.55, 0.1, 0.95, 0.4), GREEN),
    ((0.05, 0.55, 0.45, 0.75), BLUE),
    ((0.55, 0.55, 0.95, 0.75), YELLOW),
)


def colours_of_quarters(image: Image.Image) -> list[Colour]:
    """Return the mean colour of each quarter."""
    sides = (*image.size, *image.size)
    boxes = [
        tuple(int(share * side) for share, side in zip(part, sides, strict=True))
        for part, _ in QUARTERS
    ]
    return [mean_colour(image, box) for box in boxes]  # type: ignore[arg-type]


def shows_quarters(image: Image.Image, tolerance: float) -> bool:
    """Whether an image looks like :func:`quarters_image`."""
    pairs = zip(colours_of_quarters(image), QUARTERS, strict=True)
    return all(colour_distance(shown, colour) < tolerance for shown, (_, colour) in pairs)


def encode_video(image: Image.Image, seconds: float = 1.0, rate: int = 24) -> bytes:
    """Return an mp4 that shows one image."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "input.mp4")
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
            stream.width, stream.height, stream.pix_fmt = image.width, image.height, "yuv420p"
            for _ in range(round(seconds * rate)):
                container.mux(stream.encode(av.VideoFrame.from_image(image)))
            container.mux(stream.encode(None))
        return path.read_bytes()


class DecodedVideo:
    """An mp4 with all its frames decoded."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        with av.open(io.BytesIO(content), "r") as container:
            stream = container.streams.video[0]
            self.codec, self.pixels = stream.codec_context.name, stream.codec_context.pix_fmt
            decoded = list(container.decode(stream))
            self.seconds = (container.duration or 0) / av.time_base
        self.times = [float(frame.time or 0) for frame in decoded]
        self.frames: list[Image.Image] = [frame.to_image() for frame in decoded]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.frames[0].size

    def at(self, seconds: float) -> Image.Image:
        """Return the frame that is shown at a time."""
        return [
            frame
            for time, frame in zip(self.times, self.frames, strict=True)
            if time <= seconds + 1e-6
        ][-1]


class InputServer:
    """A server for inputs that are URLs, which also receives webhooks.

    The path ``redirect/NAME`` redirects to the file ``NAME``. While ``gate`` is not set, no request
    is answered. ``received`` has the paths of all requests.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.received: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        shelf = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                shelf.received.append(name)
                shelf.gate.wait(10)
                if name.startswith("redirect/"):
                    self.send_response(302)
                    self.send_header("Location", name.removeprefix("redirect"))
                    self.end_headers()
                    return
                content = shelf.files.get(name)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Length", str(len(content or b"")))
                self.end_headers()
                self.wfile.write(content or b"")

            def do_POST(self) -> None:
                shelf.received.append(f"POST {self.path.lstrip('/')}")
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 64

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def put(self, content: bytes | Image.Image, name: str = "input") -> str:
        """Serve a file, and return its URL."""
        self.files[name] = encode_image(content) if isinstance(content, Image.Image) else content
        return f"{self.url}/{name}"

    @contextmanager
    def open(self) -> Iterator[InputServer]:
        """Serve in the ``with`` block."""
        thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        thread.start()
        yield self
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()


def wait_until(is_true: object, seconds: float = 5.0) -> None:
    """Wait until a function returns a true value."""
    deadline = time.monotonic() + seconds
    while not is_true():  # type: ignore[operator]
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.01)
