"""Live cameras: one reader thread each, which never gives up and never makes anybody wait.

A camera that can't be opened, hangs, sends rubbish or goes away is a state, not an exception. Whether it is
alive is judged by the age of its newest picture, from outside the reader: that a read returned, or blocks,
says nothing.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction

import av
from av.container import InputContainer

from engines.decoding import ON_PROCESSOR, Decoding
from engines.errors import EndpointError
from engines.footage import to_frame
from engines.frames import Frame
from engines.resident import Keeper
from monitor.evidence.packets import Coded, Coding, PacketRing, coded
from monitor.live.mailbox import Mailbox
from monitor.live.media_clock import MediaClock, Pacer
from monitor.live.source import LIVE_FORMATS, UNTIMED_FORMATS, Reading, parse

BACKOFF_FIRST_S = 0.25
BACKOFF_CAP_S = 30.0
STEADY_S = 5.0
STALE_AT_LEAST_S = 1.0
STALE_PERIODS = 10.0
UNTIMED_TICK = Fraction(1, 90_000)


class Status(StrEnum):
    """How a camera is doing.

    CONNECTING: no picture yet, still within the startup grace. STREAMING: the newest picture is fresh.
    STALE: the link is up but pictures have stopped. LOST: there is no link; the reader keeps trying.
    """

    CONNECTING = "connecting"
    STREAMING = "streaming"
    STALE = "stale"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class CameraState:
    """One moment of a camera, safe to keep and to pass to any thread.

    age_s: of the newest picture, on the monotonic clock (before the first: since the reader started). One
    that its time stamp shows to have been held up is as old as it is late: libav keeps the last picture of
    a stalled stream until the read times out. New pictures that look alike are the freeze check's matter.
    decoded: pictures made into frames; dropped: those replaced by a newer one before they were read.
    decode_errors: damaged packets. reconnects: attempts to open the camera after the first.
    fps: measured over the last pictures of this connection, 0 without. last_error: one line, no credentials.
    """

    name: str
    status: Status
    age_s: float
    decoded: int
    dropped: int
    decode_errors: int
    reconnects: int
    fps: float
    last_error: str


def backoff_s(attempt: int, rng: random.Random) -> float:
    """Return how long to wait before reconnection ``attempt`` (from 0): exponential, with full jitter.

    Without jitter all cameras behind a switch that restarts would come back in the same instant, repeatedly.
    """
    return rng.uniform(0.0, min(BACKOFF_CAP_S, BACKOFF_FIRST_S * 2.0 ** min(attempt, 16)))


class LiveCamera:
    """Reads one camera in its own thread and keeps its newest frame.

    url, rtsp_transport, options: see ``monitor.live.source.parse``; its ConfigError, for a URL that can
    never work, is the only error raised here. size: height and width of the model's input.
    read_timeout_s: a stalled link is given up after one or two of these.
    stale_after_s: None means ten frame periods of the camera, at least 1 s.
    startup_grace_s: how long a camera may stay without a first picture before it counts as LOST or STALE.
    picture_timeout_s: a link that carries packets but no picture for so long is built anew.
    arrived: set at each new frame, so that one loop can wait for many cameras.
    decoding: where to decode. rng: draws the reconnection delays. ring: keeps encoded packets, for clips.

    The thread is a daemon because some reads can't be interrupted: ``close`` returns within 2 s whatever
    the read does, and the thread ends when the read returns, by the open or read timeout at the latest. A
    stalled V4L2 device and a name lookup obey no timeout of ours.
    """

    def __init__(
        self,
        name: str,
        url: str,
        size: tuple[int, int],
        *,
        open_timeout_s: float = 5.0,
        read_timeout_s: float = 3.0,
        stale_after_s: float | None = None,
        startup_grace_s: float = 10.0,
        picture_timeout_s: float = 15.0,
        rtsp_transport: str = "tcp",
        options: Mapping[str, str] | None = None,
        decoding: Decoding = ON_PROCESSOR,
        arrived: threading.Event | None = None,
        rng: random.Random | None = None,
        ring: PacketRing | None = None,
    ) -> None:
        self.name, self.url, self.size = name, url, size
        self._source, self._decoding = parse(name, url, rtsp_transport, options or {}), decoding
        self._fallback: str | None = None
        self._keeper: Keeper | None = None
        self.ring = ring
        self._open_timeout_s, self._read_timeout_s = open_timeout_s, read_timeout_s
        self._stale_after_s, self._startup_grace_s = stale_after_s, startup_grace_s
        self._picture_timeout_s = picture_timeout_s
        self._arrived, self._rng = arrived or threading.Event(), rng or random.Random()
        self._mailbox: Mailbox[Frame] = Mailbox()
        self._untimed = False
        self._media_s = 0.0
        self._clock = MediaClock()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._started_s = time.monotonic()
        self._arrivals: deque[float] = deque(maxlen=60)
        self._newest_s: float | None = None
        self._period_s = 0.0
        self._decoded = self._decode_errors = self._reconnects = 0
        self._linked = self._lost = False
        self._last_error = ""
        self._thread = threading.Thread(target=self._run, name=f"camera-{name}", daemon=True)
        self._thread.start()

    def __enter__(self) -> LiveCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, timeout_s: float) -> Frame | None:
        """Return the newest frame not read yet, waiting at most ``timeout_s``; None if none came, or once
        closed."""
        return self._mailbox.take(timeout_s)

    @property
    def fallback(self) -> str | None:
        """Why pictures are decoded or reduced on the processor although the GPU was asked for; None if they are not."""
        keeper = self._keeper
        return self._fallback or (keeper.problem if keeper is not None else None)

    @property
    def waiting_since_s(self) -> float | None:
        """Since when, on the monotonic clock, a frame waits to be read; None if none does."""
        return self._mailbox.waiting_since_s

    def close(self, timeout_s: float = 1.5) -> None:
        """Stop reading and wait for the thread at most ``timeout_s``; no frame is handed out afterwards.

        May be called again: to close many cameras, call ``close(0)`` on each first; they end side by side.
        """
        self._stop.set()
        self._mailbox.close()
        self._thread.join(timeout_s)

    @property
    def state(self) -> CameraState:
        """The camera at this moment; from any thread."""
        dropped = self._mailbox.dropped
        with self._lock:
            age_s = time.monotonic() - (self._started_s if self._newest_s is None else self._newest_s)
            return CameraState(
                name=self.name,
                status=self._status(age_s),
                age_s=age_s,
                decoded=self._decoded,
                dropped=dropped,
                decode_errors=self._decode_errors,
                reconnects=self._reconnects,
                fps=1.0 / self._period_s if len(self._arrivals) > 1 else 0.0,
                last_error=self._last_error,
            )

    def _status(self, age_s: float) -> Status:
        if self._stop.is_set():
            return Status.LOST
        if self._newest_s is None and age_s < self._startup_grace_s:
            return Status.CONNECTING
        if not self._linked:
            return Status.LOST
        limit_s = self._stale_after_s
        if limit_s is None:
            limit_s = max(STALE_AT_LEAST_S, STALE_PERIODS * self._period_s)
        return Status.STREAMING if self._newest_s is not None and age_s <= limit_s else Status.STALE

    def _run(self) -> None:
        attempt = 0
        while not self._stop.is_set():
            begun = time.monotonic()
            self._connect()
            # A link must hold to count as recovered, or a camera that dies at its first picture would be
            # hammered.
            if self._newest_s is not None and self._newest_s - begun > STEADY_S:
                attempt = 0
            if self._stop.wait(backoff_s(attempt, self._rng)):
                return
            attempt += 1
            with self._lock:
                self._reconnects += 1

    def _connect(self) -> None:
        """Open the camera and read it until that fails, however it does."""
        begun = time.monotonic()
        try:
            timeouts = (self._open_timeout_s, self._read_timeout_s)
            with self._source.open(timeouts, self._decoding) as container:
                self._link(container)
                self._receive(container)
                if not self._stop.is_set():
                    self._fail("must keep streaming, but the stream ended")
        except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
            self._fail(self._problem(error, time.monotonic() - begun))
        finally:
            with self._lock:
                self._linked = False
                self._arrivals.clear()
            self._clock.interrupt()

    def _link(self, container: InputContainer) -> None:
        rate = container.streams.video[0].average_rate
        self._fallback = self._decoding.fallback(container)
        self._keeper = self._decoding.keeper() if self._fallback is None else None
        self._untimed = container.format.name in UNTIMED_FORMATS
        if self.ring is not None:
            try:
                tick = UNTIMED_TICK if self._untimed else None
                self.ring.begin(Coding(container.streams.video[0], tick))
            except ValueError as error:
                self.ring.begin(None, str(error))
        with self._lock:
            self._linked = True
            if rate and not self._period_s:
                self._period_s = 1.0 / float(rate)

    def _problem(self, error: Exception, after_s: float) -> str:
        # libav reports a timeout as an "immediate exit", or as whatever the interrupted step makes of it.
        if not self._linked and after_s >= self._open_timeout_s:
            return f"must open within {self._open_timeout_s:g} s, but did not"
        if isinstance(error, av.error.ExitError):
            return f"must send within {self._read_timeout_s:g} s, but nothing came"
        # The whole message of a libav error repeats the address, credentials included.
        return f"must be readable, got: {getattr(error, 'strerror', None) or error}"

    def _fail(self, problem: str) -> None:
        line = str(
            EndpointError(f"camera {self.name}", f"{self.url} {problem}", "check the camera; trying again")
        )
        with self._lock:
            self._last_error = " ".join(line.split())

    def _receive(self, container: InputContainer) -> None:
        pacer = None if container.format.name in LIVE_FORMATS else Pacer()
        last_picture_s = time.monotonic()
        with closing(self._source.readings(container)) as readings:
            for reading in readings:
                if self._stop.is_set():
                    return
                self._deliver(reading, pacer)
                now = time.monotonic()
                if reading.pictures:
                    last_picture_s = now
                elif now - last_picture_s > self._picture_timeout_s:
                    raise ValueError(f"data but no picture for {self._picture_timeout_s:g} s")

    def _deliver(self, reading: Reading, pacer: Pacer | None) -> None:
        if reading.damaged:
            self._lost = True
            with self._lock:
                self._decode_errors += 1
        if not self._untimed:
            self._keep(reading)
        for picture, pts_s in reading.pictures:
            if pacer is not None and pts_s is not None:
                pacer.wait(pts_s, self._stop)
            time_s = self._media_s = self._clock.at(pts_s, time.monotonic())
            if self.ring is not None and picture.key_frame and picture.pts is not None:
                self.ring.date(self._shifted(picture.pts, reading), time_s)
            frame = replace(
                to_frame(picture, self.name, self._decoded, time_s, self.size, self._keeper),
                damaged=bool(self._lost or picture.is_corrupt),
                mistimed=self._clock.mistimed,
                late_s=self._clock.late_s,
            )
            self._lost = False
            with self._lock:
                self._decoded += 1
                self._newest_s = frame.arrival_s - self._clock.late_s
                self._arrivals.append(frame.arrival_s)
                if len(self._arrivals) > 1:
                    span_s = self._arrivals[-1] - self._arrivals[0]
                    self._period_s = max(span_s, 1e-6) / (len(self._arrivals) - 1)
            self._mailbox.put(frame)
            self._arrived.set()
        if self._untimed:
            self._keep(reading)

    def _keep(self, reading: Reading) -> None:
        """Keep the packet for clips."""
        if self.ring is None or self.ring.coding is None:
            return
        if not self._untimed:
            self.ring.put(coded(reading.packet, self._shifted(0, reading)), self._media_s)
        elif reading.pictures:
            # Every packet is a picture; when it came is all that is known of its time.
            stamp = round(self._media_s / UNTIMED_TICK)
            self.ring.put(Coded(bytes(reading.packet), stamp, stamp, 0, True), self._media_s)

    def _shifted(self, stamp: int, reading: Reading) -> int:
        """A time stamp of ``reading``, in the time of a loop that goes on."""
        coding = None if self.ring is None else self.ring.coding
        return stamp if coding is None else stamp + round(reading.start_s / coding.time_base)
