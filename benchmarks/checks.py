"""Checks of images at full quota, side by side with none: what they cost the quota, and the CPU.

``python -m benchmarks.checks [N]`` makes N images by each way, 240 by default, with 24 active and
latencies around 4 s. It checks that ``not_blank`` and ``not_duplicate`` with renditions keep 0.97
of the quota. ``--ocr`` also measures the text check, whose figure is printed and not checked: OCR
takes 0.2 to 0.6 s of CPU for each image.

The emulator draws each picture, so that no two are alike. Its CPU is not in the figures, and its
seed gives all ways the same latencies.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.batch import EMULATOR_OPTIONS
from benchmarks.emulator import Emulator, run_emulator
from benchmarks.figures import check_at_least, check_equal
from benchmarks.runs import start_batch

#: Share of the quota that a batch with checks and renditions keeps.
LIMIT = 0.97
THUMB = {"thumb": {"width": 320}}
SIDES = {"width": 768, "height": 768}
WAYS: dict[str, dict[str, Any]] = {
    "no checks, no renditions": {},
    "no checks, a thumb": {"renditions": THUMB},
    "not_blank, not_duplicate, a thumb": {
        "renditions": THUMB,
        "checks": ["not_blank", "not_duplicate"],
    },
}
OCR: dict[str, Any] = {"checks": [{"text": "prompt"}], "check_timeout": 120}


def run(emulator: Emulator, folder: Path, way: str, images: int, arguments: dict[str, Any]) -> Any:
    """Make images by one way, print its figures, and return its summary.

    :param emulator: emulator to submit to, whose latencies begin anew.
    :param folder: folder for the images.
    :param way: name of the way.
    :param images: number of images.
    :param arguments: arguments of the operator.
    """
    emulator.reset()
    batch_folder = folder / way.replace(" ", "-").replace(",", "")
    batch_folder.mkdir()
    report = start_batch(
        emulator, batch_folder, "bench", images, **{"defaults": SIDES, **arguments}
    ).wait()
    summary = report["summary"]
    print(
        f"{way:36}{summary['quota_share'] or 0:8.4f}{summary['seconds']:9.1f}"
        f"{1000 * report['cpu'] / images:9.1f}{summary['landed']:8}{summary['rejected']:9}"
    )
    return summary


def main(images: int, *, with_ocr: bool) -> bool:
    """Print a row for each way.

    :param images: images of each way.
    :param with_ocr: whether the text check is measured.
    :return: whether the figures are as expected.
    """
    options = [option for option in EMULATOR_OPTIONS if option not in {"--image-bytes", "450000"}]
    with (
        tempfile.TemporaryDirectory() as folder,
        run_emulator(*options, "--latency", "4") as emulator,
    ):
        print(f"{'':36}{'quota':>8}{'seconds':>9}{'CPU ms':>9}{'landed':>8}{'rejected':>9}")
        summaries = [
            run(emulator, Path(folder), way, images, arguments) for way, arguments in WAYS.items()
        ]
        if with_ocr:
            run(emulator, Path(folder), "text", images, OCR)
    checked = summaries[-1]
    return all(
        [
            check_at_least("checks and a thumb: quota use", checked["quota_share"] or 0, LIMIT),
            check_equal("checks and a thumb: landed", checked["landed"], images),
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="?", type=int, default=240)
    parser.add_argument("--ocr", action="store_true")
    parsed = parser.parse_args()
    sys.exit(not main(parsed.images, with_ocr=parsed.ocr))
