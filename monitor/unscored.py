"""Frames to which an engine had no finite answer: counted, and told of once for each run of them.

A bundle's own graph gives finite scores; a wrapped model, or half precision, may overflow. Such a frame never
counts as a normal one: the detector's channels hold still until numbers come again.
"""

from __future__ import annotations

from monitor.pipeline import Watched

OVER_S = 1.0
"""A run of unscored frames is over once scores have been finite for so long, so that flicker is one run."""


class Unscored:
    """Of one stream. frames: how many there were in all. Times are media time."""

    def __init__(self) -> None:
        self.frames = 0
        self._first_s = self._last_s = 0.0
        self._before = 0
        self._open = False

    def note(self, watched: Watched) -> str | None:
        """Take each frame in order; return what to say where a run of unscored ones begins or is over."""
        now_s = watched.frame.time_s
        if not watched.scored:
            self.frames += 1
            self._last_s = now_s
            if self._open:
                return None
            self._first_s = now_s if self.frames == 1 else self._first_s
            self._open, self._before = True, self.frames - 1
            return (
                f"no finite score since {now_s:.1f} s (surprise {watched.surprise:g}, "
                f"background {watched.background:g}): only the camera's health is judged until there is one"
            )
        if not self._open or now_s - self._last_s < OVER_S:
            return None
        self._open = False
        return f"finite scores again at {now_s:.1f} s, {_frames(self.frames - self._before)} had none"

    @property
    def summary(self) -> str | None:
        """All of it in one sentence; None if every frame was scored."""
        if not self.frames:
            return None
        return (
            f"{_frames(self.frames)} got no finite score, the first at {self._first_s:.1f} s and the last at "
            f"{self._last_s:.1f} s; only the camera's health was judged there"
        )


def _frames(count: int) -> str:
    return f"{count} frame{'s' * (count != 1)}"
