"""The recording of ``make demo`` as an animated SVG, which needs no script and no font file."""

from __future__ import annotations

import html
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

ROOT = Path(__file__).resolve().parents[2]
#: What ``make demo`` runs when its environment exists.
_COMMAND = (sys.executable, "-u", "-m", "scripts.demo")
_PROMPT = "$ make demo"
#: A line that says only that a step goes on.
_HEARTBEAT = re.compile(r"\s+\d+ s: ")
#: Seconds that a pause of the recording may last. Longer ones are cut: the steps print how long
#: they took.
_MAX_PAUSE = 1.2
#: Seconds that the last line stays before the recording starts again.
_END_PAUSE = 6.0
_WIDTH, _LINE, _COLUMNS = 940, 19, 114

#: Seconds since the start, and a line of the output.
TimedLine: TypeAlias = tuple[float, str]


def record_demo() -> str:
    """Run the demo, and return its recording.

    :raises RuntimeError: if the demo fails.
    """
    lines: list[TimedLine] = []
    started = time.monotonic()
    with subprocess.Popen(
        _COMMAND, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            text = line.rstrip().replace(f"{ROOT}/", "")
            if text and not _HEARTBEAT.match(text):
                lines.append((time.monotonic() - started, text))
    if process.returncode:
        raise RuntimeError("\n".join(text for _, text in lines))
    return draw(lines)


def draw(lines: Sequence[TimedLine]) -> str:
    """Return an SVG whose lines appear one after the other.

    :param lines: the output of the demo.
    """
    shown = _shorten(lines)
    total = shown[-1][0] + _END_PAUSE
    wrapped = [(at, part) for at, text in shown for part in _wrap(text)]
    height = _LINE * len(wrapped) + 64
    rules, rows = [], []
    for number, (at, text) in enumerate(wrapped):
        share = 100 * at / total
        rules.append(
            f"@keyframes k{number}{{0%,{share:.2f}%{{opacity:0}}"
            f"{share + 0.01:.2f}%,100%{{opacity:1}}}}"
            f"#l{number}{{animation:k{number} {total:.1f}s infinite}}"
        )
        kind = "c" if number == 0 else "o"
        rows.append(
            f'<text id="l{number}" class="{kind}" x="18" y="{56 + number * _LINE}">'
            f"{html.escape(text)}</text>"
        )
    style = (
        "text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;"
        "white-space:pre}.o{fill:#d0d7de}.c{fill:#7ee787}"
        "@media(prefers-reduced-motion:reduce){text{animation:none!important}}"
    )
    dots = "".join(
        f'<circle cx="{22 + 20 * n}" cy="20" r="6" fill="{color}"/>'
        for n, color in enumerate(("#ff5f56", "#ffbd2e", "#27c93f"))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" aria-label="Recording of make demo">'
        f"<style>{style}{''.join(rules)}</style>"
        f'<rect width="100%" height="100%" rx="8" fill="#161b22"/>{dots}{"".join(rows)}</svg>\n'
    )


def _shorten(lines: Sequence[TimedLine]) -> list[TimedLine]:
    """Return the command and its output, with long pauses cut."""
    shown = [(0.0, _PROMPT)]
    before = 0.0
    for at, text in lines:
        pause = min(max(at - before, 0.25), _MAX_PAUSE)
        shown.append((shown[-1][0] + pause, text))
        before = at
    return shown


def _wrap(text: str) -> list[str]:
    """Return a line as lines that fit into the window."""
    return textwrap.wrap(
        text, _COLUMNS, subsequent_indent="        ", drop_whitespace=True, break_on_hyphens=False
    )
