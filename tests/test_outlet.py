"""Output that nobody reads holds up nothing: a real pipe, and the daemon behind one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from engines.rendered import Segment, render, write_video
from monitor.outlet import MOST, Outlet
from tests.test_evidence import journalled, until


@pytest.fixture
def stuck() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe that is full."""
    reader, writer = os.pipe()
    fill(writer)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def fill(writer: int) -> None:
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while os.write(writer, b"\n" * 4096):
            pass
    with suppress(BlockingIOError):
        while os.write(writer, b"\n"):
            pass
    os.set_blocking(writer, True)


def drained(reader: int) -> str:
    os.set_blocking(reader, False)
    found = b""
    try:
        while part := os.read(reader, 1 << 16):
            found += part
    except BlockingIOError:
        pass
    return found.decode().lstrip("\n")


def test_nobody_waits_for_a_pipe_that_nobody_reads(stuck: tuple[int, int]) -> None:
    reader, writer = stuck
    begun_s = time.monotonic()
    with os.fdopen(os.dup(writer), "w") as stream:
        outlet = Outlet(stream)
        for number in range(MOST + 100):
            outlet.write(f"{number}\n")
        outlet.end(0.2)
        assert time.monotonic() - begun_s < 2.0
        drained(reader)


def test_what_was_left_out_is_counted(stuck: tuple[int, int]) -> None:
    reader, writer = stuck
    with os.fdopen(os.dup(writer), "w") as stream:
        outlet, found = Outlet(stream), ""
        outlet.write("0\n")
        until(lambda: outlet._waiting.empty())  # in the hand of the thread, which is stuck with it
        for number in range(1, MOST + 6):
            outlet.write(f"{number}\n")

        def heard() -> bool:
            nonlocal found
            found += drained(reader)
            return f"\n{MOST}\n" in found

        until(heard)
        assert "(5 lines were left out: nobody read them)" in found
        outlet.end()


def test_a_reader_that_left_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        outlet = Outlet(stream)
        outlet.write("one\n")
        outlet.write("two\n")
        outlet.end()
        assert not outlet._thread.is_alive()


def test_the_daemon_watches_on_and_ends_when_told(rendered_bundle: Path, tmp_path: Path) -> None:
    """It stood still with the first line that nobody read, and did not hear SIGTERM."""
    script = (Segment("highway", 6.0), Segment("highway", 3.0, "black", 5), Segment("highway", 3.0))
    write_video(tmp_path / "black.mp4", (i for _, _, i in render(script, 2, (320, 180), 10.0)), 10.0)
    config = tmp_path / "cameras.toml"
    config.write_text(
        f'bundle = "{rendered_bundle}"\njournal = "alerts.journal"\n[[camera]]\nname = "good"\nurl = "loop:{tmp_path}/black.mp4"\n'
    )
    command = [sys.executable, "-m", "sightline", "run", str(config)]
    reader, writer = os.pipe()
    with subprocess.Popen(command, stdout=writer, stderr=writer) as process:
        try:
            begins = b""
            while b"watching" not in begins:
                begins += os.read(reader, 4096)
            fill(writer)
            until(lambda: len(journalled(tmp_path / "alerts.journal")) >= 3)
            begun_s = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(10.0) == 0
            assert time.monotonic() - begun_s < 3.0
        finally:
            process.kill()
            os.close(reader)
            os.close(writer)
