"""What the claims of images cost a batch in quota.

``python -m benchmarks.claims [N]`` makes N images, 240 by default, of 4 s ± 25 % at a limit of 24:
without ``reuse``, and with ``reuse="always"``, by which each image is looked for and claimed before
its submit. They land in a folder and in S3 (moto). It prints the share of the quota that was in use
from the first submit to the last, and exits with 1 if it is below 0.97 with ``reuse``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from benchmarks.emulator import run_emulator
from benchmarks.figures import LIMIT, check_at_least, check_equal
from benchmarks.quota import quota_use, read_spans, submitting_phase
from benchmarks.runs import start_batch
from tests.support.object_stores import S3Store, s3_connection, s3_server

_EMULATOR_OPTIONS = [
    *("--image-bytes", "450000", "--max-active", str(LIMIT)),
    *("--latency", "4", "--latency-spread", "0.25", "--seed", "1"),
]


def main(count: int) -> None:
    """Run all batches.

    :param count: images of each batch.
    """
    are_as_expected = []
    with (
        tempfile.TemporaryDirectory(prefix="flux-bench-") as folder,
        s3_server() as url,
        run_emulator(*_EMULATOR_OPTIONS) as emulator,
    ):
        os.environ["AIRFLOW_CONN_AWS_LAB"] = s3_connection(url)
        store = S3Store(url)
        store.make_bucket()
        roots = {"folder": f"file://{folder}/images", "S3": store.root_by("aws_lab")}
        for where, root in roots.items():
            for reuse in ("never", "always"):
                name = f"{where}-{reuse}"
                emulator.reset()
                output_path = f"{root}/{reuse}/{{key}}.{{ext}}"
                start_batch(
                    emulator, Path(folder), name, count, output_path=output_path, reuse=reuse
                ).wait()
                active = read_spans(emulator.read("timeline")["tasks"])
                use = quota_use(active, submitting_phase(active), LIMIT)
                minimum = 0.97 if reuse == "always" else 0.0
                are_as_expected += [
                    check_equal(f"{name}: submits", len(active), count),
                    check_at_least(f"{name}: quota use", use, minimum),
                ]
    sys.exit(not all(are_as_expected))


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 240)
