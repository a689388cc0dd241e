"""A few processes that check images beside an event loop, each with a time limit."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from airflow_provider_flux.checks.check import Check
from airflow_provider_flux.checks.frames import HEADER_BYTES, MAX_ANSWER_BYTES, encode_frame
from airflow_provider_flux.checks.process import (
    START_SECONDS,
    command,
    environment,
    kill_group,
    start_message,
)
from airflow_provider_flux.checks.run_check import CheckAnswer

log = logging.getLogger(__name__)

#: Most processes of one batch: its event loop needs a core, too.
_MAX_PROCESSES = 2
#: Weight of the latest image in the mean of the seconds that an image takes.
_WEIGHT = 0.2


class CheckPool:
    """Processes that check one image each at a time. They start when they are needed.

    A process whose check hangs is killed, and the next image gets a new one.

    :param checks: the checks, in the order in which they are carried out.
    :param timeout: seconds that each check of an image has.
    """

    def __init__(self, checks: tuple[Check, ...], timeout: float) -> None:
        self._checks = checks
        self._timeout = timeout
        self._processes = min(_MAX_PROCESSES, os.cpu_count() or 1)
        self._slots = asyncio.Semaphore(self._processes)
        self._mean_seconds = 0.0
        self._idle: list[asyncio.subprocess.Process] = []
        self._started: set[asyncio.subprocess.Process] = set()

    async def check(self, data: bytes, row: Mapping[str, Any]) -> list[CheckAnswer]:
        """Check an image. A check that fails is told by its answer, never raised.

        :param data: the image.
        :param row: values of the row by the columns of the input.
        :return: the answers of the checks, up to the first that does not pass.
        """
        async with self._slots:
            began = time.monotonic()
            process: asyncio.subprocess.Process | None = None
            answers: list[CheckAnswer] = []
            try:
                process = self._idle.pop() if self._idle else await self._start()
                await self._ask(process, data, row, answers)
            except TimeoutError:
                answers.append(CheckAnswer(fault=f"did not answer in {self._timeout:g} s"))
            except (OSError, EOFError, ValueError) as error:
                answers.append(CheckAnswer(fault=await _describe_end(process, error)))
            else:
                self._idle.append(process)
                process = None
            finally:
                seconds = time.monotonic() - began
                self._mean_seconds += _WEIGHT * (seconds - self._mean_seconds)
                if process is not None:
                    kill_group(process.pid)
                    self._idle = [other for other in self._idle if other is not process]
            return answers

    def seconds_for(self, images: int) -> float:
        """Return about how long a number of images takes, by those that were checked.

        :param images: the number.
        """
        return images * self._mean_seconds / self._processes

    async def close(self) -> None:
        """End all processes."""
        for process in self._started:
            kill_group(process.pid)
        for process in self._started:
            if process.stdin is not None:
                process.stdin.close()
            await process.wait()
        self._started.clear()
        self._idle.clear()

    async def _start(self) -> asyncio.subprocess.Process:
        for ended in [process for process in self._started if process.returncode is not None]:
            self._started.discard(ended)
        process = await asyncio.create_subprocess_exec(
            *command(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment(),
            start_new_session=True,
        )
        self._started.add(process)
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        process.stdin.write(start_message(self._checks, self._timeout))
        try:
            answer = await asyncio.wait_for(_read_answer(process), START_SECONDS)
            if answer["problem"]:
                raise OSError(answer["problem"])
        except BaseException as error:
            kill_group(process.pid)
            if isinstance(error, TimeoutError):
                raise OSError("its process did not start") from None
            raise
        return process

    async def _ask(
        self,
        process: asyncio.subprocess.Process,
        data: bytes,
        row: Mapping[str, Any],
        answers: list[CheckAnswer],
    ) -> None:
        """Send an image, and append the answers as they come."""
        stdin = process.stdin
        assert stdin is not None  # noqa: S101 - it is a pipe
        stdin.write(encode_frame({"row": dict(row), "bytes": len(data)}))
        stdin.write(data)
        await asyncio.wait_for(stdin.drain(), self._timeout)
        for _ in self._checks:
            message = await asyncio.wait_for(_read_answer(process), self._timeout)
            answers.append(CheckAnswer(**message))
            if answers[-1].reason is not None or answers[-1].fault is not None:
                return


async def _read_answer(process: asyncio.subprocess.Process) -> dict[str, Any]:
    stdout = process.stdout
    assert stdout is not None  # noqa: S101 - it is a pipe
    size = int.from_bytes(await stdout.readexactly(HEADER_BYTES))
    if size > MAX_ANSWER_BYTES:
        raise ValueError(f"answered with {size} bytes")
    message = json.loads(await stdout.readexactly(size))
    if not isinstance(message, dict):
        raise ValueError("answered with something else than an object")
    return message


async def _describe_end(process: asyncio.subprocess.Process | None, error: Exception) -> str:
    """Return what became of a process, as the rest of a sentence about its check."""
    if process is None:
        return f"could not be carried out: {error}"
    code = None
    with suppress(TimeoutError):
        code = await asyncio.wait_for(process.wait(), 1.0)
    if code is None:
        return f"gave no answer that can be read ({type(error).__name__})"
    how = f"by signal {-code}" if code < 0 else f"with code {code}"
    return f"ended its process {how}"
