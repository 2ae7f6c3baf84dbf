"""Whose frames go into an engine's next call, and when: batches fill by deadline, and nobody starves."""

from __future__ import annotations

import math
from collections.abc import Sequence

AWAITED_S = 1.0


class Batcher:
    """Decides for the cameras that share an engine. Pure: it holds no frames and reads no clock.

    cameras: how many there are, known from here on by their numbers from 0. wait_s: how long a frame may wait
    for those of other cameras. largest: frames in one call at most.

    A batch holds at most one frame of a camera, so that a camera's own frames are scored in their order. Turns
    go round: a batch begins behind the last camera of the one before. Where more cameras have a frame than a
    batch can hold, each therefore comes once in ⌈cameras / largest⌉ batches, however many frames the others
    bring, and what is slower than its share loses nothing.

    ``since_s`` below has one entry a camera: since when its frame is waiting, None where it has none.
    """

    def __init__(self, cameras: int, wait_s: float, largest: int) -> None:
        self._wait_s, self._largest = wait_s, largest
        self._seen_s = [-math.inf] * cameras
        self._first = 0

    def due_s(self, since_s: Sequence[float | None], now_s: float) -> float:
        """Return when the next batch must be taken: now or earlier once it is full; inf while nobody waits.

        Full means ``largest`` frames, or one of every camera that had any within ``AWAITED_S``: nobody waits for a
        camera that has gone."""
        waiting = [s for s in since_s if s is not None]
        for camera, since in enumerate(since_s):
            if since is not None:
                self._seen_s[camera] = now_s
        awaited = sum(now_s - seen_s < AWAITED_S for seen_s in self._seen_s)
        full = len(waiting) >= min(self._largest, awaited)
        return min(waiting, default=math.inf) + (0.0 if full else self._wait_s)

    def take(self, since_s: Sequence[float | None]) -> tuple[int, ...]:
        """Return the cameras of the next batch in the order of their turns, whether it is due or not."""
        count = len(since_s)
        turns = ((self._first + turn) % count for turn in range(count))
        batch = tuple(camera for camera in turns if since_s[camera] is not None)[: self._largest]
        if batch:
            self._first = (batch[-1] + 1) % count
        return batch
