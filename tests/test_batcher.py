"""One engine for many cameras: whose turn it is, how long a batch may fill, and the daemon doing so with real
sources and an engine as slow as a test wants it."""

from __future__ import annotations

import math
import socket
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.backends.scripted import Script, ScriptedEngine
from engines.bundle import Bundle, open_bundle
from engines.errors import EngineError
from engines.frames import Frame
from engines.scores import Scores
from monitor.batcher import AWAITED_S, Batcher
from monitor.camera_watch import Loaded, Watch
from monitor.config import CameraConfig
from monitor.events import Event
from monitor.live.mailbox import Mailbox
from monitor.outbox import Message
from monitor.run import Daemon
from monitor.run_screen import Row

SIZE = (64, 64)


def test_a_batch_is_due_when_it_is_full_or_its_first_frame_has_waited_long_enough() -> None:
    batcher = Batcher(3, wait_s=0.005, largest=16)
    assert batcher.due_s([None, None, None], 10.0) == math.inf
    assert batcher.due_s([10.0, 10.001, 10.002], 10.002) == 10.0
    assert batcher.due_s([None, 10.101, 10.1], 10.101) == pytest.approx(10.105)
    assert Batcher(3, wait_s=0.005, largest=2).due_s([None, 10.1, 10.101], 10.101) == 10.1
    assert Batcher(3, wait_s=0.0, largest=16).due_s([None, 10.1, None], 10.1) == 10.1


def test_nobody_waits_for_a_camera_that_has_gone() -> None:
    batcher = Batcher(3, wait_s=0.5, largest=16)
    batcher.due_s([0.0, 0.0, 0.0], 0.0)
    assert batcher.due_s([0.9, 0.9, None], 0.9) == pytest.approx(1.4)
    assert batcher.due_s([AWAITED_S, AWAITED_S, None], AWAITED_S) == AWAITED_S


@pytest.mark.parametrize(("cameras", "largest"), [(1, 1), (5, 2), (7, 3), (8, 16), (40, 16)])
def test_turns_go_round_so_that_all_get_the_same_share(cameras: int, largest: int) -> None:
    batcher = Batcher(cameras, 0.0, largest)
    served: Counter[int] = Counter()
    last = [0] * cameras
    for call in range(1, 10 * cameras + 1):
        batch = batcher.take([0.0] * cameras)
        assert len(batch) == len(set(batch)) == min(cameras, largest)
        served.update(batch)
        for camera in batch:
            assert call - last[camera] <= math.ceil(cameras / largest)
            last[camera] = call
    assert max(served.values()) - min(served.values()) <= 1


def test_a_slow_camera_gets_all_its_own_and_the_rest_is_shared() -> None:
    """Ten frames come between two calls, but only two are scored; camera 3 brings one in every fourth."""
    batcher, served = Batcher(10, 0.0, 2), Counter[int]()
    waiting = False
    for call in range(400):
        waiting = waiting or call % 20 == 0
        batch = batcher.take([0.0 if camera != 3 or waiting else None for camera in range(10)])
        waiting = waiting and 3 not in batch
        served.update(batch)
    assert served[3] == 20
    others = [count for camera, count in served.items() if camera != 3]
    assert max(others) - min(others) <= 2


def test_a_mailbox_knows_since_when_something_waits() -> None:
    mailbox: Mailbox[int] = Mailbox()
    assert mailbox.waiting_since_s is None
    before_s = time.monotonic()
    mailbox.put(1)
    since_s = mailbox.waiting_since_s
    mailbox.put(2)
    assert since_s is not None
    assert before_s <= since_s <= time.monotonic()
    assert mailbox.waiting_since_s == since_s
    assert mailbox.take(0.0) == 2
    assert mailbox.waiting_since_s is None


def test_the_scripted_engine_answers_by_the_script_and_refuses_what_an_engine_must() -> None:
    engine = ScriptedEngine(SIZE, 3, lambda frame: math.nan if frame == 2 else 10.0 * frame, delay_s=0.02)
    images = np.zeros((2, *SIZE, 3), np.uint8)
    began_s = time.monotonic()
    first, second = engine.score(images), engine.score(images)
    assert time.monotonic() - began_s >= 0.04
    np.testing.assert_array_equal(first.surprise, [0.0, 10.0])
    np.testing.assert_array_equal(second.surprise, [math.nan, 30.0])
    assert first.latent.shape == (2, 3)
    assert engine.batches == [2, 2]
    with pytest.raises(EngineError, match="must be uint8"):
        engine.score(images[:, 1:])


class Told:
    """Takes what a daemon shows and delivers."""

    every_s = math.inf

    def __init__(self) -> None:
        self.lines: list[str] = []

    def put(self, message: Message) -> None: ...

    def event(self, event: Event) -> None: ...

    def log(self, text: str) -> None:
        self.lines.append(text)

    def status(self, rows: Sequence[Row]) -> None: ...


class Timed(Watch):
    """Keeps how long each frame took from its arrival to its verdict, in seconds, and the frames' numbers."""

    def __init__(self, *arguments: Any) -> None:
        self.took_s: list[float] = []
        self.indices: list[int] = []
        super().__init__(*arguments)

    def judge(self, frame: Frame, scores: Scores, row: int) -> tuple[Event, ...]:
        events = super().judge(frame, scores, row)
        self.took_s.append(time.monotonic() - frame.arrival_s)
        self.indices.append(frame.index)
        return events


class Scene:
    """A daemon at work in a thread, with its cameras and its engine."""

    def __init__(self, bundle: Bundle, urls: Sequence[str], engine: ScriptedEngine, **how: Any) -> None:
        self.engine, self.told, arrived = engine, Told(), threading.Event()
        loaded = Loaded(bundle, engine)
        self.watches = [
            Timed(CameraConfig(name=f"camera{i}", url=url), loaded, arrived) for i, url in enumerate(urls)
        ]
        self._stop = threading.Event()
        daemon = Daemon(self.watches, arrived, self.told, self.told, **how)
        self._thread = threading.Thread(target=daemon.run, args=(self._stop,))
        self._thread.start()

    def until(self, condition: Callable[[], bool], within_s: float = 30.0) -> None:
        deadline, pause = time.monotonic() + within_s, threading.Event()
        while not condition():
            assert self._thread.is_alive()
            assert time.monotonic() < deadline, f"not within {within_s:g} s: {self.counts}"
            pause.wait(0.02)

    @property
    def counts(self) -> list[int]:
        return [len(watch.indices) for watch in self.watches]

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10.0)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def bundle(rendered_bundle: Path) -> Bundle:
    return open_bundle(rendered_bundle)


@contextmanager
def scene(bundle: Bundle, urls: Sequence[str], script: Script = float, **how: Any) -> Iterator[Scene]:
    delay_s = how.pop("delay_s", 0.0)
    running = Scene(
        bundle, urls, ScriptedEngine(SIZE, bundle.manifest.dimensions, script, delay_s=delay_s), **how
    )
    try:
        yield running
    finally:
        running.close()


def synthetic(fps: float) -> str:
    return f"lavfi:testsrc2=size=64x64:rate={fps:g}"


def test_under_overload_every_camera_gets_its_equal_share_in_its_order(bundle: Bundle) -> None:
    """Five cameras offer 110 frames/s to an engine that scores at most 20: four a second each."""
    with scene(bundle, [synthetic(fps) for fps in (10, 15, 20, 25, 40)], delay_s=0.1, batch=2) as running:
        running.until(lambda: min(running.counts) >= 2)
        before = running.counts
        running.until(lambda: sum(running.counts) - sum(before) >= 60)
        shares = [now - then for now, then in zip(running.counts, before, strict=True)]
        assert max(shares) - min(shares) <= 2
        assert max(running.engine.batches) == 2
        for watch in running.watches:
            assert watch.indices == sorted(set(watch.indices))


@pytest.mark.parametrize(("wait_s", "together"), [(0.0, False), (0.15, True)])
def test_a_batch_fills_until_its_deadline_and_a_dead_camera_delays_nobody(
    bundle: Bundle, wait_s: float, together: bool
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        dead = f"rtsp://127.0.0.1:{listener.getsockname()[1]}/"
        urls = [synthetic(5), dead, synthetic(5), synthetic(5)]
        with scene(bundle, urls, batch_wait_s=wait_s) as running:
            running.until(lambda: min(running.counts[0], *running.counts[2:]) >= 10)
            assert running.counts[1] == 0
            batches = running.engine.batches[3:]
            took_s = [took for watch in running.watches for took in watch.took_s[3:]]
    assert max(batches) <= 3
    assert statistics.median(took_s) < wait_s + 0.1
    if together:
        assert statistics.mean(batches) > 1.5


def test_scores_that_are_not_finite_are_told_once_and_counted_and_the_watch_goes_on(bundle: Bundle) -> None:
    """A detector that refused them ended ``sightline run``, and with it the watch of every camera."""
    missing = {5: math.nan, 6: math.inf, 8: -math.inf, 9: math.nan}
    with scene(bundle, [synthetic(10)], lambda frame: missing.get(frame, 0.0)) as running:
        running.until(lambda: running.counts[0] >= 30)
        assert running.watches[0].scored == running.counts[0] - len(missing)
        assert "4 frames got no finite score" in running.watches[0].row(0.0).problem
    said = [line for line in running.told.lines if "finite" in line]
    assert len(said) == 2
    assert said[0].startswith("camera0: no finite score since ")
    assert "surprise nan" in said[0]
    assert said[1].startswith("camera0: finite scores again at ")
    assert said[1].endswith("4 frames had none")
