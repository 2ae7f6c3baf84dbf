"""``sightline run`` as a process of its own, with real cameras, real signals and a real subscriber."""

from __future__ import annotations

import resource
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import cv2
import msgspec
import pytest

from engines.backends.scripted import ScriptedEngine
from engines.bundle import open_bundle
from engines.frames import Frame
from engines.health import Health, HealthChecks
from engines.health.fault import Fault
from engines.rendered import Segment, render, write_video
from monitor.alerts import Alert, decode
from monitor.camera_watch import Loaded, Watch
from monitor.config import CameraConfig
from monitor.drift import Drift
from monitor.events import Event, Phase
from monitor.mute import parse_mute
from monitor.outbox import Message, Outbox
from monitor.run import EXCUSE_EVERY_S, Alertness, Queue
from monitor.run import Daemon as DaemonLoop
from monitor.run_screen import Row, Screen, aligned
from monitor.settings import CameraFault
from monitor.subscriber import Subscriber

BLACK_FROM_S, BLACK_S = 2.5, 1.5


def until(condition: Callable[[], Any], within_s: float = 20.0) -> Any:
    """Return the first true value of ``condition``; fail if there is none in time."""
    deadline, pause = time.monotonic() + within_s, threading.Event()
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {within_s:g} s"
        pause.wait(0.02)
    return value


class Running:
    """A daemon, its alerts as a subscriber receives them, and what it says on standard error."""

    def __init__(self, folder: Path, bundle: Path, cameras: str, top: str = "") -> None:
        config = folder / "cameras.toml"
        config.write_text(
            f'bundle = "{bundle}"\njournal = "alerts.journal"\npublish = "tcp://127.0.0.1:*"\n{top}\n{cameras}'
        )
        self.errors = folder / "errors.txt"
        command = [sys.executable, "-m", "sightline", "run", str(config)]
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert self.process.stdout is not None
        ready = select.select([self.process.stdout], [], [], 20.0)[0]
        self.first_line = self.process.stdout.readline() if ready else ""
        assert "publishing on " in self.first_line, self.errors.read_text()
        self.endpoint = self.first_line.split()[-1]
        self.journal = folder / "alerts.journal"
        self.alerts: list[Alert] = []
        self._subscriber = Subscriber(self.endpoint, since=0)

    def told(self, camera: str, mode: str, phase: str, within_s: float = 20.0) -> Alert:
        """Wait for an alert, keeping all that come before it."""
        deadline = time.monotonic() + within_s
        while True:
            for alert in self.alerts:
                if (alert.data.camera, alert.data.mode, alert.data.phase) == (camera, mode, phase):
                    return alert
            assert time.monotonic() < deadline, f"no {mode} {phase} of {camera} among {self.alerts}"
            alert = self._subscriber.receive(0.2)
            self.alerts += [alert] if alert is not None else []

    def end(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Send a signal; return the exit code and how long it took, in seconds."""
        begun = time.monotonic()
        self.process.send_signal(number)
        self.process.communicate(timeout=10)
        return self.process.returncode, time.monotonic() - begun

    def journalled(self) -> list[Alert]:
        with closing(sqlite3.connect(self.journal)) as opened:
            return [decode(row) for (row,) in opened.execute("SELECT payload FROM entries ORDER BY sequence")]

    def close(self) -> None:
        self._subscriber.close()
        self.process.kill()
        self.process.communicate(timeout=10)


Daemon = Callable[..., Running]


class Shown:
    """Takes all that a daemon in this process shows and delivers."""

    every_s = 1e9

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.said: list[str] = []
        self.messages: list[Message] = []

    def put(self, message: Message) -> None:
        self.messages.append(message)

    def event(self, event: Event, *, muted: bool = False) -> None:
        self.events.append(event)

    def log(self, text: str) -> None:
        self.said.append(text)

    def status(self, rows: Sequence[Row]) -> None:
        self.said += [str(row) for row in rows]


@pytest.fixture
def daemon(tmp_path: Path, rendered_bundle: Path) -> Iterator[Daemon]:
    """Starts daemons: ``daemon(cameras, top="")``. Ends what it started."""
    started: list[Running] = []

    def start(cameras: str, top: str = "") -> Running:
        started.append(Running(tmp_path, rendered_bundle, cameras, top))
        return started[-1]

    yield start
    for running in started:
        running.close()


@pytest.fixture(scope="module")
def blackout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered drive that goes black for a while."""
    path = tmp_path_factory.mktemp("blackout") / "black.mp4"
    script = (
        Segment("highway", BLACK_FROM_S),
        Segment("highway", BLACK_S, "black", 5),
        Segment("highway", 3.0),
    )
    write_video(path, (image for _, _, image in render(script, 2, (320, 180), 10.0)), 10.0)
    return path


@pytest.fixture
def silent_listener() -> Iterator[str]:
    """The URL of a host that accepts connections and never says a word."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield f"rtsp://127.0.0.1:{listener.getsockname()[1]}/camera"


def closed_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


def camera(name: str, url: object, more: str = "") -> str:
    return f'[[camera]]\nname = "{name}"\nurl = "{url}"\n{more}\n'


def test_a_blackout_is_told_once_with_its_picture_while_dead_cameras_disturb_nobody(
    daemon: Daemon, blackout: Path, silent_listener: str, tmp_path: Path
) -> None:
    cameras = camera(
        "dead", f"rtsp://127.0.0.1:{closed_port()}/", "startup_grace_s = 1\nno_frames_after_s = 1"
    )
    cameras += camera("good", f"loop:{blackout}") + camera("hung", silent_listener, "startup_grace_s = 4")
    running = daemon(cameras, 'snapshots = "shots"')
    start = running.told("good", "black", "start")
    end = running.told("good", "black", "end")
    data = start.data
    assert (data.kind, data.level, end.data.event_id) == ("camera_fault", "ERROR", data.event_id)
    assert data.t_detect - data.t_onset == pytest.approx(0.5, abs=0.25)
    assert end.data.t_end is not None
    assert end.data.t_end - data.t_onset == pytest.approx(BLACK_S, abs=0.3)
    assert data.capture_time.basis == "wallclock"
    assert data.capture_time.value == pytest.approx(time.time(), abs=15.0)
    assert data.evidence is not None
    assert data.evidence.snapshot is not None
    shot = cv2.imread(data.evidence.snapshot)
    assert shot is not None
    assert Path(data.evidence.snapshot).parent == tmp_path / "shots"
    assert shot.mean() < 40
    dead = running.told("dead", "no_frames", "start").data
    assert (dead.level, dead.t_onset, dead.evidence) == ("STALE", 0.0, None)
    assert dead.t_detect == pytest.approx(1.0, abs=0.6)
    hung = running.told("hung", "no_frames", "start").data
    assert hung.t_detect == pytest.approx(4.0, abs=0.6)
    assert (dead.kind, hung.kind) == ("no_signal", "no_signal")
    faults = [
        (a.data.camera, a.data.mode, a.data.phase)
        for a in running.alerts
        if a.data.kind in ("camera_fault", "no_signal")
    ]
    assert len(faults) == len(set(faults)) == 4
    assert "suspect this host" not in running.errors.read_text()


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered drive through a city."""
    path = tmp_path_factory.mktemp("city") / "city.mp4"
    write_video(path, (image for _, _, image in render((Segment("city", 8.0),), 4, (320, 180), 10.0)), 10.0)
    return path


def test_each_camera_has_its_own_rules_for_faults(daemon: Daemon, blackout: Path) -> None:
    url = f"loop:{blackout}"
    cameras = camera("plain", url) + camera("night", url, 'mute = ["00:00-24:00"]')
    cameras += camera("held", url, "[camera.camera_fault]\nhold_s = 1.2")
    cameras += camera("deaf", url, '[camera.camera_fault]\nignore_modes = ["black"]')
    running = daemon(cameras, 'timezone = "Europe/Berlin"\n[camera_fault]\nignore_modes = ["freeze"]')
    plain, held = (running.told(name, "black", "start").data for name in ("plain", "held"))
    assert plain.t_detect - plain.t_onset == pytest.approx(0.5, abs=0.25)
    assert held.t_detect - held.t_onset == pytest.approx(1.2, abs=0.25)
    assert not plain.muted
    assert running.told("night", "black", "start").data.muted
    assert running.told("night", "black", "end").data.muted
    running.told("plain", "black", "end")
    assert running.end()[0] == 0
    modes = {(a.data.camera, a.data.mode) for a in running.journalled() if a.data.kind == "camera_fault"}
    assert modes.isdisjoint({("deaf", "black"), ("deaf", "freeze"), ("plain", "freeze")})
    assert {a.data.muted for a in running.journalled() if a.data.camera == "night"} == {True}


def test_each_camera_has_its_own_rules_for_its_domain(
    daemon: Daemon, city: Path, rendered_bundle: Path
) -> None:
    url, learnt = f"loop:{city}", open_bundle(rendered_bundle).calibration
    cameras = camera("plain", url) + camera("held", url, "[camera.left_domain]\nhold_s = 4")
    cameras += camera("loose", url, f"false_alarms_per_hour = {3 * learnt.false_alarms_per_hour:g}")
    cameras += camera("deaf", url, "[camera.left_domain]\nenabled = false")
    cameras += camera("part", url, "ignore = [[0.55, 0.03, 0.97, 0.17], [0, 0.9, 0.5, 1, 0, 1]]")
    running = daemon(cameras)
    told = {name: running.told(name, "", "start").data for name in ("plain", "held", "loose", "part")}
    assert {data.kind for data in told.values()} == {"left_domain"}
    assert told["plain"].t_detect == pytest.approx(2.0, abs=0.7)
    assert told["held"].t_detect == pytest.approx(4.0, abs=0.7)
    thresholds = {name: (data.channel, data.threshold) for name, data in told.items()}
    assert thresholds["plain"] == ("domain", learnt.channel("domain").threshold)
    assert thresholds["loose"][0] == "domain"
    assert thresholds["loose"][1] is not None
    assert thresholds["loose"][1] < learnt.channel("domain").threshold
    assert told["part"].score != told["plain"].score
    assert running.end()[0] == 0
    assert "deaf" not in {a.data.camera for a in running.journalled() if a.data.kind == "left_domain"}
    note = "part: ignores 9 % of the picture, highway.bundle was taught with 0 % ignored"
    assert note in running.errors.read_text()


def test_what_goes_on_is_told_when_its_mute_window_is_over(rendered_bundle: Path) -> None:
    """The wall clock stands at five to six until the event is journalled, and then at six."""
    bundle = open_bundle(rendered_bundle)
    engine = ScriptedEngine((96, 144), len(bundle.density.within), lambda frame: 1e6)
    config = CameraConfig(name="front", url="lavfi:testsrc2=size=320x180:rate=10", startup_grace_s=5.0)
    night = parse_mute("mute", ["22:00-06:00"], ZoneInfo("UTC"))
    arrived, stop, shown = threading.Event(), threading.Event(), Shown()
    watch = Watch(config, Loaded(bundle, engine), arrived, mute=night)
    clock_s = [datetime(2026, 11, 3, 5, 55, tzinfo=UTC).timestamp()]
    daemon = DaemonLoop([watch], arrived, shown, shown, unix_s=lambda: clock_s[0])
    thread = threading.Thread(target=daemon.run, args=(stop,))
    thread.start()
    try:
        (start,) = until(lambda: shown.messages[:1])
        assert start.muted
        clock_s[0] += 300.0
        until(lambda: len(shown.messages) >= 2)
    finally:
        stop.set()
        thread.join(10.0)
    start, told, *_, end = shown.messages
    assert (told.event.number, told.event.phase, told.muted) == (start.event.number, Phase.UPDATE, False)
    assert told.event.time_s > start.event.time_s
    assert told.captured_unix_s == clock_s[0]
    assert (end.event.phase, end.muted) == (Phase.END, False)
    assert [m.muted for m in shown.messages].count(True) == 1


def test_a_drift_is_journalled_as_an_alert_of_its_own_and_said(
    rendered_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With seconds for an hour, and an engine whose scores stand at three quarters of the way to an alarm."""
    monkeypatch.setattr("monitor.pipeline.Drift", partial(Drift, window_s=6.0, least_s=3.0, block_s=1.0))
    bundle = open_bundle(rendered_bundle)
    domain = bundle.calibration.channel("domain")
    level = domain.typical + 0.75 * (domain.threshold - domain.typical)
    engine = ScriptedEngine((96, 144), bundle.manifest.dimensions, lambda frame: level)
    config = CameraConfig(name="front", url="lavfi:testsrc2=size=320x180:rate=10")
    known = [fault.value for fault in Fault if fault != Fault.NO_FRAMES]
    config = msgspec.structs.replace(config, camera_fault=CameraFault(ignore_modes=tuple(known)))
    arrived, stop, shown = threading.Event(), threading.Event(), Shown()
    outbox = Outbox(tmp_path / "alerts.journal", "run", shown.said.append)
    daemon = DaemonLoop([Watch(config, Loaded(bundle, engine), arrived)], arrived, outbox, shown)
    thread = threading.Thread(target=daemon.run, args=(stop,))
    thread.start()
    try:
        line = until(lambda: next((said for said in shown.said if "drift:" in said), None))
    finally:
        stop.set()
        thread.join(10.0)
        outbox.close()
    assert line.startswith("front: drift: domain has stood at")
    assert "sightline calibrate highway.bundle --normal" in line
    with closing(sqlite3.connect(tmp_path / "alerts.journal")) as opened:
        told = [decode(row).data for (row,) in opened.execute("SELECT payload FROM entries")]
    (drift,) = [data for data in told if data.kind == "drift"]
    assert (drift.channel, drift.level, drift.phase, drift.muted) == ("domain", "INFO", "notice", False)
    assert drift.score == pytest.approx(level, rel=1e-3)
    assert drift.advice in line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_it_at_once_though_cameras_hang(
    daemon: Daemon, silent_listener: str, number: int
) -> None:
    quick = "startup_grace_s = 1\nno_frames_after_s = 1\nopen_timeout_s = 60"
    running = daemon("".join(camera(name, silent_listener, quick) for name in ("left", "right")))
    running.told("left", "no_frames", "start")
    running.told("right", "no_frames", "start")
    code, took_s = running.end(number)
    assert code == 0
    assert took_s < 2.0
    journalled = [(a.data.camera, a.data.mode, a.data.phase) for a in running.journalled()]
    assert sorted(journalled) == [
        (name, "no_frames", phase) for name in ("left", "right") for phase in ("end", "start")
    ]
    ends = [a.data for a in running.journalled() if a.data.phase == "end"]
    assert all(end.t_end is not None and end.t_end > end.t_detect > 0.9 for end in ends)
    assert running.errors.read_text().count("suspect this host or its network") == 1


def test_a_process_that_was_stopped_blames_no_camera(daemon: Daemon, blackout: Path) -> None:
    """After a suspend every newest picture is old, and without an excuse all cameras were called silent."""
    running = daemon(camera("good", f"loop:{blackout}", "no_frames_after_s = 1"))
    running.told("good", "black", "start")
    running.process.send_signal(signal.SIGSTOP)
    stopped_s = time.monotonic()
    until(lambda: time.monotonic() - stopped_s > 3.0)
    running.process.send_signal(signal.SIGCONT)
    running.told("good", "black", "end")
    assert running.end()[0] == 0
    assert {a.data.mode for a in running.journalled() if a.data.kind == "camera_fault"} == {"black"}


def test_a_full_disk_holds_up_alerts_but_loses_none(daemon: Daemon, blackout: Path) -> None:
    running = daemon(camera("good", f"loop:{blackout}"), 'snapshots = "shots"')
    hard = resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (0, hard))
    until(lambda: running.process.stdout is not None and " ended " in running.process.stdout.readline())
    assert running.journalled() == []
    resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    start, end = running.told("good", "black", "start"), running.told("good", "black", "end")
    assert (start.number, end.number) == (1, 2)
    assert start.data.evidence is None
    assert running.process.poll() is None


@pytest.mark.rtsp
def test_a_hung_camera_is_silent_within_the_limit_until_it_comes_back(
    daemon: Daemon, rtsp_server: Callable[..., Any]
) -> None:
    server = rtsp_server("--fps", "10", "--size", "320x180")
    running = daemon(
        camera("front", server.url, "no_frames_after_s = 1.5\nread_timeout_s = 1\nopen_timeout_s = 1")
    )
    until(lambda: "front: first picture after" in running.errors.read_text())
    server.hang()
    start = running.told("front", "no_frames", "start", 10.0).data
    server.resume()
    end = running.told("front", "no_frames", "end").data
    assert start.kind in ("stale", "no_signal")
    assert start.t_detect - start.t_onset == pytest.approx(1.5, abs=0.4)
    assert end.t_end is not None
    assert end.t_end >= start.t_detect


@pytest.mark.rtsp
def test_a_camera_that_comes_late_ends_the_silence_that_began_at_the_start(
    daemon: Daemon, rtsp_server: Callable[..., Any]
) -> None:
    """Media time began at the first picture, so that the silence before it ended before it was told."""
    port = closed_port()
    running = daemon(
        camera("front", f"rtsp://127.0.0.1:{port}/camera", "startup_grace_s = 1\nno_frames_after_s = 1")
    )
    start = running.told("front", "no_frames", "start").data
    rtsp_server("--fps", "10", "--size", "320x180", port=port)
    end = running.told("front", "no_frames", "end", 30.0).data
    assert end.t_end is not None
    assert 0.9 < start.t_detect < end.t_end < end.t


def test_a_frame_that_is_gone_when_its_batch_is_due_ends_nothing(rendered_bundle: Path) -> None:
    """A camera that was closed between the two looks left an empty batch, and stacking nothing ended the daemon."""
    bundle = open_bundle(rendered_bundle)
    engine = ScriptedEngine((96, 144), len(bundle.density.within))
    config = CameraConfig(name="front", url="lavfi:testsrc2=size=64x48:rate=10")
    watch, shown = Watch(config, Loaded(bundle, engine), threading.Event()), Shown()
    queue = Queue([watch], 0.0, 16)
    daemon = DaemonLoop([watch], threading.Event(), shown, shown)
    until(lambda: watch.live.waiting_since_s is not None)
    watch.live.close()
    daemon._look(queue)
    assert engine.batches == []
    assert shown.said == []


def test_an_error_with_one_camera_ends_what_it_had_open_and_disturbs_no_other(
    rendered_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of ours in the checks of one camera, for a while: it is watched anew, and its events are numbered on."""
    bundle, arrived, stop, shown = open_bundle(rendered_bundle), threading.Event(), threading.Event(), Shown()
    engine = ScriptedEngine((96, 144), len(bundle.density.within), lambda frame: 1e6)
    front, rear = (
        Watch(
            CameraConfig(name=name, url="lavfi:testsrc2=size=320x180:rate=10"),
            Loaded(bundle, engine),
            arrived,
        )
        for name in ("front", "rear")
    )
    daemon = DaemonLoop([front, rear], arrived, shown, shown)
    thread = threading.Thread(target=daemon.run, args=(stop,))
    check, broken = HealthChecks.check, threading.Event()

    def checked(self: HealthChecks, frame: Frame) -> Health:
        if broken.is_set() and frame.stream == "front":
            raise IndexError("index 306 is out of bounds")
        return check(self, frame)

    monkeypatch.setattr(HealthChecks, "check", checked)
    thread.start()

    def told(camera: str, phase: Phase) -> list[int]:
        return [e.number for e in shown.events if (e.stream, e.phase) == (camera, phase)]

    try:
        until(lambda: told("front", Phase.START) == told("rear", Phase.START) == [1])
        broken.set()
        until(lambda: told("front", Phase.END) == [1])
        until(lambda: front.unjudged > 5)
        seen = rear.scored
        until(lambda: rear.scored > seen + 5)
        broken.clear()
        until(lambda: told("front", Phase.START) == [1, 2])
        assert thread.is_alive()
    finally:
        stop.set()
        thread.join(10.0)
    (said,) = [text for text in shown.said if "cannot be judged" in text]
    assert said.startswith("front: the picture at ")
    assert "IndexError at test_run.py:" in said


@pytest.mark.parametrize(
    ("ticks_s", "awake_s"),
    [
        pytest.param([0.1, 0.2, 1.1], 0.0, id="in-time"),
        pytest.param([0.1, 60.0, 60.1], 60.0, id="late"),
        pytest.param([2.0, 4.0, 6.0, 8.0], 2.0, id="always-late-is-no-excuse"),
        pytest.param([2.0, 2.1 + EXCUSE_EVERY_S], 2.1 + EXCUSE_EVERY_S, id="late-again-much-later"),
    ],
)
def test_alertness(ticks_s: list[float], awake_s: float) -> None:
    alertness = Alertness(0.0)
    for now_s in ticks_s:
        alertness.tick(now_s)
    assert alertness.awake_s == awake_s


def test_status_lines_hold_what_an_operator_asks(capsys: pytest.CaptureFixture[str]) -> None:
    lost = "camera rear: rtsp://***@192.0.2.1/ must be readable, got: Connection refused"
    rows = [
        Row("front", "streaming", 29.97, 12.5, 1024, 0, "all right"),
        Row("rear", "lost", 0, 0, 0, 7, "no verdict", lost),
    ]
    screen = Screen()
    screen.status(rows)
    screen.close()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "front: streaming, 30.0 fps, 12.5 scored/s, 1024 dropped, 0 reconnects, all right",
        f"rear: lost, 0.0 fps, 0.0 scored/s, 0 dropped, 7 reconnects, no verdict; {lost}",
    ]


def test_columns_are_aligned() -> None:
    assert aligned([("camera", "url"), ("a", "b")]) == "camera  url\na       b"
