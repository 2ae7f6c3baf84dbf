"""An engine that answers what it is told to, as slowly as it is told to: for tests and for measuring all around
the real ones."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from engines.engine import Precision, checked
from engines.errors import EngineError
from engines.frames import Image
from engines.scores import Features, Scores

Script = Callable[[int], float]


class ScriptedEngine:
    """Stands in wherever an Engine is wanted.

    script: from the number of a frame, counted over all calls from 0, to its surprise in nats; any float, NaN
    and infinity included. delay_s, delay_per_frame_s: what a call and each of its frames take; the thread
    sleeps, as it does while a GPU works. dimensions: of the latent, which is zero.

    ``batches`` holds the number of frames of every call so far.
    """

    name = "scripted"
    precision = Precision.FP32

    def __init__(
        self,
        input_size: tuple[int, int],
        dimensions: int,
        script: Script = lambda frame: 0.0,
        *,
        delay_s: float = 0.0,
        delay_per_frame_s: float = 0.0,
    ) -> None:
        self.input_size, self._dimensions, self._script = input_size, dimensions, script
        self._delay_s, self._delay_per_frame_s = delay_s, delay_per_frame_s
        self.batches: list[int] = []

    def score(self, images: Image) -> Scores:
        """Return the next surprises of the script; frames that a real engine would refuse raise EngineError."""
        images = checked(images, self.input_size)
        count = len(images)
        self.bare(images)()
        first = sum(self.batches)
        self.batches.append(count)
        surprise = np.array([self._script(n) for n in range(first, first + count)], np.float32)
        zeros = np.zeros(count, np.float32)
        latent = np.zeros((count, self._dimensions), np.float32)
        return Scores(surprise, zeros, zeros, zeros, zeros, latent, np.zeros((count, 1, 1), np.float32))

    def features(self, images: Image) -> Features:
        """There is no encoder to ask: EngineError."""
        raise EngineError("scripted engine", "has no features, it only scores", "open a bundle's engine")

    def bare(self, images: Image) -> Callable[[], None]:
        """The delay alone."""
        return lambda: time.sleep(self._delay_s + len(images) * self._delay_per_frame_s)

    def close(self) -> None:
        """Nothing is held."""
