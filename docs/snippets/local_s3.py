"""A local S3 with the inputs of the how-to pages. docs/how-to/local-s3.md shows it."""

# [START local_s3]
import io
import logging
import tempfile
import threading

import av
import boto3
from moto.server import ThreadedMotoServer
from PIL import Image, ImageDraw

PRODUCTS = """\
sku,name,description,colour,category,stock
LAMP-01,Desk lamp,A desk lamp of brass on a white table,brass,lamps,4
MUG-07,Mug,A mug of speckled stoneware,grey,kitchen,12
BAG-12,Weekend bag,A weekend bag of waxed canvas,olive,bags,3
VASE-03,Vase,A vase of green glass with one tulip,green,decor,7
"""


def draw(text: str, size: tuple[int, int], colour: str, box: tuple[int, ...]) -> Image.Image:
    """Return a picture with a box and a text, so that you recognize it in a result."""
    image = Image.new("RGB", size, colour)
    canvas = ImageDraw.Draw(image)
    canvas.rectangle(box, fill="white")
    canvas.text((20, 20), text, fill="black", font_size=40)
    return image


def encode(image: Image.Image, image_format: str) -> bytes:
    """Return the bytes of an image file."""
    file = io.BytesIO()
    image.save(file, image_format)
    return file.getvalue()


def encode_clip(image: Image.Image) -> bytes:
    """Return an mp4 of five seconds."""
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        with av.open(file.name, "w") as container:
            stream = container.add_stream("libx264", rate=8)
            stream.width, stream.height, stream.pix_fmt = image.width, image.height, "yuv420p"
            for _ in range(40):
                container.mux(stream.encode(av.VideoFrame.from_image(image)))
            container.mux(stream.encode(None))
        return file.read()


def make_inputs() -> dict[str, bytes]:
    """Return the files of the how-to pages by name."""
    room = draw("room", (1024, 768), "tan", (300, 250, 700, 600))
    mask = Image.new("L", (1024, 768), "black")
    mask.paste("white", (300, 250, 700, 600))
    return {
        "room.jpeg": encode(room, "JPEG"),
        "mask.png": encode(mask, "PNG"),
        "product.jpeg": encode(draw("product", (800, 600), "khaki", (300, 200, 500, 500)), "JPEG"),
        "logo.png": encode(draw("logo", (300, 100), "skyblue", (150, 30, 280, 80)), "PNG"),
        "person.jpeg": encode(draw("person", (600, 800), "pink", (200, 150, 400, 750)), "JPEG"),
        "garment.jpeg": encode(draw("garment", (400, 400), "teal", (100, 120, 300, 380)), "JPEG"),
        "clip.mp4": encode_clip(room.resize((320, 240))),
        "products.csv": PRODUCTS.encode(),
    }


def main() -> None:
    """Serve the bucket until Ctrl-C."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 9000, verbose=False)
    server.start()
    url = "http://127.0.0.1:9000"
    s3 = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local-secret",  # noqa: S106 - the server accepts any
    )
    s3.create_bucket(Bucket="media")
    for name, content in make_inputs().items():
        s3.put_object(Bucket="media", Key=f"in/{name}", Body=content)
    print(f"S3 on {url}, with the bucket media and its folder in/", flush=True)  # noqa: T201
    threading.Event().wait()


if __name__ == "__main__":
    main()
# [END local_s3]
