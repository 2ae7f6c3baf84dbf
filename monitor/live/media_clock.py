"""Media time of live streams: one time line over many connections, and pacing of what comes too early."""

from __future__ import annotations

import threading
import time

PTS_JUMP_S = 10.0
PACE_LATE_S = 1.0
PACE_AHEAD_S = 10.0


class MediaClock:
    """Turns the presentation times of one connection after another into one strictly increasing time line.

    Within a connection the camera's own time stamps count: they tell when pictures were taken, not when
    they got through. Across a gap the monotonic clock counts: the stamps of a new connection start
    anywhere, and an outage must last as long in media time as it really did, or all that is averaged and
    held in media time would see its two ends side by side. The same goes for stamps that run backwards,
    leap, or are absent.

    late_s: how long the last picture was held up on its way, judged by the step from the picture before it.
    mistimed: whether the last picture's stamp ran backwards, stood still or leapt, within one connection.
    """

    def __init__(self) -> None:
        self.late_s = 0.0
        self.mistimed = False
        self._time_s = 0.0
        self._arrival_s: float | None = None
        self._pts_s: float | None = None

    def interrupt(self) -> None:
        """Forget the last presentation time: the next one belongs to a new connection."""
        self._pts_s = None

    def at(self, pts_s: float | None, arrival_s: float) -> float:
        """Return the media time, in seconds since the very first picture, of the picture just arrived."""
        if self._arrival_s is not None:
            elapsed = max(arrival_s - self._arrival_s, 1e-6)
            step = None if pts_s is None or self._pts_s is None else pts_s - self._pts_s
            usable = step is not None and 0.0 < step < elapsed + PTS_JUMP_S
            self.mistimed = step is not None and not usable
            if step is None or not usable:
                # From when the last picture was taken: an outage must not lose the time it was held up.
                step = elapsed + self.late_s
            self.late_s = max(0.0, elapsed - step)
            self._time_s += step
        self._pts_s, self._arrival_s = pts_s, arrival_s
        return self._time_s


class Pacer:
    """Holds pictures of a source that delivers too early back to real time."""

    def __init__(self) -> None:
        self._origin_s: float | None = None

    def wait(self, pts_s: float, stop: threading.Event) -> None:
        """Wait until the picture is due, or ``stop`` is set. Lateness of over a second is not caught up."""
        now = time.monotonic()
        ahead = 0.0 if self._origin_s is None else self._origin_s + pts_s - now
        if self._origin_s is None or not -PACE_LATE_S < ahead < PACE_AHEAD_S:
            self._origin_s, ahead = now - pts_s, 0.0
        stop.wait(max(0.0, ahead))
