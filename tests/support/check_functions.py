"""Functions of users for ``checks``: good ones, and such as fail in every way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

not_callable = "text"


def accept(image: Image.Image, row: Mapping[str, Any]) -> None:
    """Accept every image, and print into the output of the process."""
    print("printed by a check", image.size, dict(row))  # noqa: T201


def accept_by_bool(image: Image.Image, row: Mapping[str, Any]) -> bool:
    """Accept every image that is square."""
    return image.width == image.height


def reject(image: Image.Image, row: Mapping[str, Any]) -> str:
    """Reject every image, with a reason that has control characters."""
    return f"no brand colour\n\x1b[31m for {row.get('prompt')}"


def reject_by_bool(image: Image.Image, row: Mapping[str, Any]) -> bool:
    """Reject every image without a reason."""
    return False


def answer_number(image: Image.Image, row: Mapping[str, Any]) -> int:
    """Return what is no answer."""
    return 3


def fail(image: Image.Image, row: Mapping[str, Any]) -> None:
    """Raise."""
    raise RuntimeError("no such colour")


def hang(image: Image.Image, row: Mapping[str, Any]) -> None:
    """Answer after a minute, and leave the ids of this process and of one that it starts."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    if folder := row.get("folder"):
        Path(folder, "pids").write_text(f"{os.getpid()} {child.pid}")
    time.sleep(60)


def hang_if_asked(image: Image.Image, row: Mapping[str, Any]) -> None:
    """Hang, raise, or end the process if the prompt says so."""
    prompt = str(row.get("prompt"))
    if "hang" in prompt:
        time.sleep(60)
    if "raise" in prompt:
        raise RuntimeError("asked to")
    if "kill" in prompt:
        kill(image, row)


def kill(image: Image.Image, row: Mapping[str, Any]) -> None:
    """End the process, as a crash of a library does."""
    os.kill(os.getpid(), signal.SIGKILL)


def leave(image: Image.Image, row: Mapping[str, Any]) -> None:
    """Leave the process."""
    os._exit(7)


def need_memory(image: Image.Image, row: Mapping[str, Any]) -> None:
    """Need more memory than a check may have."""
    bytearray(8 * 1024**3)


def tell_environment(image: Image.Image, row: Mapping[str, Any]) -> str:
    """Return the names of variables that hold secrets."""
    prefixes = ("AIRFLOW_CONN", "AIRFLOW__", "BFL_")
    return ",".join(name for name in os.environ if name.startswith(prefixes))
