"""Processes of checks: what they answer, and what becomes of those that do not."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.bfl.errors import FluxConfigurationError
from airflow_provider_flux.checks.check import parse_checks
from airflow_provider_flux.checks.pool import CheckPool
from airflow_provider_flux.checks.process import prove_checks
from airflow_provider_flux.checks.run_check import CheckAnswer
from airflow_provider_flux.checks.signature import ImageSignature
from tests.support.check_pictures import cloudy, encode

DATA = encode(cloudy(1))
FUNCTIONS = "tests.support.check_functions"


@asynccontextmanager
async def pool(*checks: Any, seconds: float = 20.0) -> AsyncIterator[CheckPool]:
    """Return a pool, which is closed at the end."""
    opened = CheckPool(parse_checks(list(checks)), seconds)
    try:
        yield opened
    finally:
        await opened.close()


def function(name: str) -> str:
    """Return the import path of a function of a user."""
    return f"{FUNCTIONS}.{name}"


def is_running(pid: int) -> bool:
    """Return whether a process runs: one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def wait_until(is_true: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


class TestAnswers:
    async def test_checks_are_carried_out_up_to_the_first_that_rejects(self) -> None:
        checks = ["not_blank", "not_duplicate", {"min_size": [512, 384]}, function("accept")]
        async with pool(*checks, function("reject"), function("hang")) as opened:
            answers = await opened.check(DATA, {"prompt": "a fox"})
        assert [answer.fault for answer in answers] == [None] * 5
        assert [answer.reason for answer in answers[:4]] == [None] * 4
        # A control character would reach the log, and the terminal of whoever reads it.
        assert answers[4].reason == "no brand colour  [31m for a fox"
        assert ImageSignature.decode(answers[1].signature)

    async def test_a_blank_picture_is_rejected(self) -> None:
        from PIL import Image

        async with pool("not_blank") as opened:
            blank = encode(Image.new("RGB", (64, 64), "white"))
            assert (await opened.check(blank, {}))[
                0
            ].reason == "The image is flat: it has one colour."

    async def test_a_bool_is_an_answer(self) -> None:
        async with pool(function("reject_by_bool")) as opened:
            assert await opened.check(DATA, {}) == [CheckAnswer("The check returned False.")]
        async with pool(function("accept_by_bool")) as opened:
            [answer] = await opened.check(encode(cloudy(1).resize((64, 64))), {})
            assert answer == CheckAnswer()

    async def test_many_images_at_once_get_their_own_answers(self) -> None:
        async with pool(function("reject")) as opened:
            rows = [{"prompt": f"fox {number}"} for number in range(30)]
            answers = await asyncio.gather(*(opened.check(DATA, row) for row in rows))
        reasons = [answer.reason for [answer] in answers]
        assert reasons == [f"no brand colour  [31m for fox {number}" for number in range(30)]

    async def test_the_process_has_no_connection_and_no_key(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_FLUX_DEFAULT", "flux://:secret@")
        monkeypatch.setenv("BFL_API_KEY", "bfl_secret")
        async with pool(function("tell_environment")) as opened:
            assert await opened.check(DATA, {}) == [CheckAnswer()]


class TestFaults:
    @pytest.mark.parametrize(
        ("name", "fault"),
        [
            ("fail", "raised RuntimeError: no such colour"),
            ("answer_number", "returned int, which is neither None, nor text, nor a bool"),
            ("need_memory", "needs more memory than a check may have"),
            ("kill", "ended its process by signal 9"),
            ("leave", "ended its process with code 7"),
        ],
    )
    async def test_a_check_that_fails_says_how_and_the_next_image_is_checked(
        self, name: str, fault: str
    ) -> None:
        async with pool(function(name)) as opened:
            for _ in range(2):
                assert await opened.check(DATA, {}) == [CheckAnswer(fault=fault)]

    async def test_a_check_that_hangs_is_killed_with_the_processes_that_it_started(
        self, tmp_path: Path
    ) -> None:
        async with pool("not_blank", function("hang"), seconds=2) as opened:
            began = time.monotonic()
            answers = await opened.check(DATA, {"folder": str(tmp_path)})
            assert answers == [CheckAnswer(), CheckAnswer(fault="did not answer in 2 s")]
            # Slow checks hold submits back, so that BFL keeps the results until they are checked.
            assert opened.seconds_for(0) == 0
            assert opened.seconds_for(1000) >= 200
            assert time.monotonic() - began < 30
            pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
            await wait_until(lambda: not any(map(is_running, pids)))

    async def test_a_cancelled_image_leaves_no_process(self, tmp_path: Path) -> None:
        async with pool(function("hang")) as opened:
            task = asyncio.create_task(opened.check(DATA, {"folder": str(tmp_path)}))
            await wait_until((tmp_path / "pids").exists)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        await wait_until(lambda: not any(map(is_running, pids)))

    async def test_a_batch_that_is_killed_leaves_no_process(self, tmp_path: Path) -> None:
        from airflow_provider_flux.checks.frames import encode_frame
        from airflow_provider_flux.checks.process import command, environment, start_message

        process = await asyncio.create_subprocess_exec(
            *command(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment(),
            start_new_session=True,
        )
        assert process.stdin
        process.stdin.write(start_message(parse_checks([function("hang")]), 60))
        row = {"row": {"folder": str(tmp_path)}, "bytes": len(DATA)}
        process.stdin.write(encode_frame(row) + DATA)
        await wait_until((tmp_path / "pids").exists)
        process.stdin.close()  # as the kernel does at the end of a killed process
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
        await wait_until(lambda: not any(map(is_running, pids)))
        await process.wait()

    async def test_an_image_that_cannot_be_decoded_is_a_fault(self) -> None:
        async with pool("not_blank") as opened:
            [answer] = await opened.check(b"no image", {})
        assert (
            answer.fault
            == "raised PictureError: The image cannot be decoded (UnidentifiedImageError)."
        )


class TestProof:
    def test_checks_that_can_be_imported_are_accepted(self) -> None:
        prove_checks(parse_checks(["not_blank", function("accept")]))

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("no_such_package.check", "no_such_package.check cannot be imported. ModuleNotFound"),
            (function("no_such"), "no_such cannot be imported. AttributeError"),
            (function("not_callable"), "not_callable is no function"),
        ],
    )
    def test_a_check_that_cannot_be_imported_is_named(self, path: str, message: str) -> None:
        with pytest.raises(FluxConfigurationError, match=message) as caught:
            prove_checks(parse_checks(["not_blank", path]))
        assert str(caught.value).endswith("Nothing was submitted.")

    def test_a_module_in_a_folder_of_dags_is_found(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "checks_of_a_dag.py").write_text("def colour(image, row):\n    return None\n")
        monkeypatch.syspath_prepend(tmp_path)
        prove_checks(parse_checks(["checks_of_a_dag.colour"]))

    def test_a_module_in_the_working_folder_is_not_found(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "checks_of_a_stranger.py").write_text("def colour(image, row): ...\n")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(FluxConfigurationError, match="checks_of_a_stranger"):
            prove_checks(parse_checks(["checks_of_a_stranger.colour"]))

    def test_a_daemon_process_of_a_worker_can_start_checks(self) -> None:
        import multiprocessing

        context = multiprocessing.get_context("fork")
        process = context.Process(target=_prove_and_exit, daemon=True)
        process.start()
        process.join(60)
        assert process.exitcode == 0


def _prove_and_exit() -> None:
    prove_checks(parse_checks(["not_blank"]))
    os._exit(0)
