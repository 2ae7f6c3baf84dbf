"""``sightline watch`` as a process of its own, as a user runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from monitor import alerts
from monitor.alerts import Alert, CaptureTime, Model
from monitor.events import Event, Phase, Verdict
from monitor.journal import Journal
from monitor.publisher import Publisher
from monitor.watch_command import line

Watch = Callable[..., "subprocess.Popen[str]"]


def alert(number: int, camera: str = "cam1", kind: Verdict = Verdict.CAMERA_FAULT) -> Alert:
    mode = "freeze" if kind is Verdict.CAMERA_FAULT else ""
    event = Event(
        stream=camera,
        number=number,
        phase=Phase.START,
        kind=kind,
        mode=mode,
        onset_s=12.0,
        detected_s=12.5,
        time_s=12.5,
        end_s=None,
        channel="freeze",
        value=9.0,
        threshold=3.0,
        peak=6.0,
        peak_s=12.25,
    )
    return alerts.alert(
        event,
        source="/sightline/test",
        session="s",
        model=Model("highway", "0" * 64),
        capture_time=CaptureTime(1_790_000_000.0, alerts.Basis.WALLCLOCK.value),
    )


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    with Journal(tmp_path / "journal") as journal, Publisher("tcp://127.0.0.1:*", journal) as opened:
        yield opened


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Start ``sightline watch`` with the arguments given."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "sightline", "watch", *arguments]
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(running)
        return running

    yield start
    for running in started:
        running.kill()
        running.communicate(timeout=10)


def test_json_lines_up_to_the_count(publisher: Publisher, watch: Watch) -> None:
    for number in range(1, 6):
        publisher.send(alert(number))
    running = watch(publisher.endpoint, "--json", "--since", "1", "--count", "3")
    out, problems = running.communicate(timeout=20)
    assert [alerts.decode(row.encode()).number for row in out.splitlines()] == [2, 3, 4]
    assert (running.returncode, problems) == (0, "")


def test_each_line_is_flushed_as_it_comes(publisher: Publisher, watch: Watch) -> None:
    running = watch(publisher.endpoint, "--json", "--since", "0")
    assert running.stdout is not None
    for number in (1, 2, 3):
        publisher.send(alert(number))
        assert msgspec.json.decode(running.stdout.readline())["sequence"] == f"{number:020d}"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param(["--kind", "left_domain"], [2, 5], id="kind"),
        pytest.param(["--camera", "cam1"], [1, 2], id="camera"),
        pytest.param(["--camera", "cam10", "--kind", "camera_fault"], [3, 4], id="both"),
    ],
)
def test_filters(publisher: Publisher, watch: Watch, options: list[str], expected: list[int]) -> None:
    fault, left = Verdict.CAMERA_FAULT, Verdict.LEFT_DOMAIN
    said = [("cam1", fault), ("cam1", left), ("cam10", fault), ("cam10", fault), ("cam10", left)]
    for number, (camera, kind) in enumerate(said, 1):
        publisher.send(alert(number, camera, kind))
    out, _ = watch(publisher.endpoint, "--json", "--since", "0", "--count", "2", *options).communicate(
        timeout=20
    )
    assert [alerts.decode(row.encode()).number for row in out.splitlines()] == expected


def test_human_output_is_one_plain_line_an_alert(publisher: Publisher, watch: Watch) -> None:
    publisher.send(alert(1, camera="[red]front[/red]"))
    out, _ = watch(publisher.endpoint, "--since", "0", "--count", "1").communicate(timeout=20)
    assert out.split() == [
        "1",
        "2026-09-21T14:13:20.000000Z",
        *("[red]front[/red]", "camera", "fault", "freeze", "start"),
        *("onset", "12.00", "s", "detected", "12.50", "s", "ERROR"),
        *("freeze", "9", "over", "3"),
    ]
    assert out.count("\n") == 1


def test_a_name_from_the_network_cannot_command_the_terminal() -> None:
    assert "\x1b" not in line(alert(1, camera="\x1b[2Jcam\n1")).plain
    assert line(alert(1, camera="\x1b[2Jcam\n1")).plain.count("\n") == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stops_within_a_second_of_a_signal(publisher: Publisher, watch: Watch, number: int) -> None:
    publisher.send(alert(1))
    running = watch(publisher.endpoint, "--since", "0")
    assert running.stdout is not None
    assert "cam1" in running.stdout.readline()
    begin = time.monotonic()
    running.send_signal(number)
    assert running.wait(10) == 0
    assert time.monotonic() - begin < 1.0
    assert running.stderr is not None
    assert running.stderr.read() == ""


def test_a_reader_that_leaves_ends_it_without_a_traceback(publisher: Publisher, watch: Watch) -> None:
    running = watch(publisher.endpoint, "--json", "--since", "0")
    assert running.stdout is not None
    assert running.stderr is not None
    publisher.send(alert(1))
    running.stdout.readline()
    running.stdout.close()
    publisher.send(alert(2))
    assert running.wait(10) == 0
    assert running.stderr.read() == ""


def test_tells_that_the_publisher_is_stale_and_that_it_is_back(tmp_path: Path, watch: Watch) -> None:
    with Journal(tmp_path / "journal") as journal:
        with Publisher("tcp://127.0.0.1:*", journal) as publisher:
            publisher.send(alert(1))
            running = watch(publisher.endpoint, "--json", "--since", "0", "--count", "2")
            assert running.stdout is not None
            assert running.stderr is not None
            first = running.stdout.readline()
        assert "nothing heard for 3.5 s" in running.stderr.readline()
        with Publisher(publisher.endpoint, journal) as again:
            assert "the publisher is back" in running.stderr.readline()
            again.send(alert(2))
            second = running.stdout.readline()
            assert running.wait(10) == 0
    assert [alerts.decode(row.encode()).number for row in (first, second)] == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(["localhost:5556"], 9, "must be tcp://HOST:PORT or ipc://PATH", id="endpoint"),
        pytest.param(
            ["tcp://127.0.0.1:1", "--kind", "mud"], 2, "must be left_domain or camera_fault", id="kind"
        ),
        pytest.param(["tcp://127.0.0.1:1", "--key", "a"], 2, "must be given together", id="half a key"),
        pytest.param(
            ["tcp://127.0.0.1:1", "--key", "absent", "--server-key", "absent"],
            8,
            "must be a CURVE",
            id="no such key",
        ),
        pytest.param(["tcp://127.0.0.1:1", "--count", "0"], 2, "--count", id="count"),
    ],
)
def test_mistakes_end_with_a_documented_code(
    watch: Watch, arguments: list[str], code: int, message: str
) -> None:
    running = watch(*arguments)
    _, problems = running.communicate(timeout=20)
    assert running.returncode == code
    assert message in problems
    assert "Traceback" not in problems
