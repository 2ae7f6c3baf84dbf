"""Is the camera itself all right? Cheap statistics per frame, from the luma plane at its own resolution and
from the small picture.

No model is asked. Some checks are absolute (black, white, freeze, a lens wholly covered); blur and partial
cover are judged against the stream's own recent past, since every camera is sharp and dirty in its own way.
Suspicion is instant, belief needs time: see ``CONFIRM_S``."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.frames import Frame, Image
from monitor.events import Fault

Float32s: TypeAlias = NDArray[np.float32]

CONFIRM_S = {
    Fault.BLACK: 0.5,
    Fault.WHITE: 0.5,
    Fault.FREEZE: 2.5,
    Fault.COVERED: 1.0,
    Fault.BLUR: 1.0,
}
"""How long a suspicion must last to be believed, in seconds: with the frame period, the bound on
detection."""

TILE_ROWS, TILE_COLUMNS, PATCH = 6, 8, 24
BLACK_LUMA, WHITE_LUMA, EXTREME_SHARE = 32, 232, 0.98
STILL_LEVELS = 1.0
"""Grey levels by which a re-encoded frozen picture may differ from its first frame, on average."""
BLUR_DROP = 0.9
SOFT = -2.5
"""Fall of log sharpness that makes blur, and the sharpness above which no picture is called blurred: a
defocused one has no edge steeper than a twelfth of its range."""
COVERED_SHARE = 0.2
WHOLLY_COVERED = 0.75
DARKER_LEVELS, REST_LEVELS = 15.0, 25.0
FEWEST_TEXTURED = 8
"""Patches with texture that a stream must have shown before their loss can mean anything."""
ACTIVITY_S = 0.5
LEAP, LEAP_S = 1.5, 2.0
"""A patch leaps when its mean changes by more than this many times what is usual there; remembered so long."""
PAST_S, WARMUP_S, GUARD_S = 20.0, 2.0, 2.0


@dataclass(frozen=True, slots=True)
class Health:
    """The statistics of one frame.

    suspect: the fault this frame looks like, or None. value and threshold: of the statistic behind it (for a
    frame without suspicion: of sharpness). black, white: share of pixels at the ends of the range. still_s:
    for how long nothing has changed. sharpness: log ratio of the strongest edges to the range; blur: by how
    much it fell below the stream's past. covered: share of the picture's textured patches that went flat and
    still."""

    suspect: Fault | None
    value: float
    threshold: float
    black: float
    white: float
    still_s: float
    sharpness: float
    blur: float
    covered: float


class Past:
    """Exponential mean of what a stream looked like until ``GUARD_S`` ago; a growing mean until ``PAST_S``
    have passed."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._waiting: deque[tuple[float, float, NDArray[np.float32]]] = deque()
        self.value: NDArray[np.float32] | None = None

    @property
    def ready(self) -> bool:
        return self._seconds >= WARMUP_S

    def learn(self, time_s: float, step_s: float, value: NDArray[np.float32]) -> None:
        self._waiting.append((time_s, step_s, value))
        while self._waiting[0][0] < time_s - GUARD_S:
            _, step, old = self._waiting.popleft()
            self._seconds += step
            gain = np.float32(min(1.0, step / min(max(self._seconds, 1e-3), PAST_S)))
            self.value = old if self.value is None else self.value + gain * (old - self.value)

    def forget_waiting(self) -> None:
        self._waiting.clear()


class HealthChecks:
    """The health of one stream; ``check`` must be called in order of media time."""

    def __init__(self) -> None:
        self._last_s: float | None = None
        self._anchor: tuple[float, Image] | None = None
        self._mean: Float32s | None = None
        self._activity: Float32s | None = None
        self._cover: NDArray[np.bool_] | None = None
        self._leap: Float32s = np.zeros(TILE_ROWS * TILE_COLUMNS, np.float32)
        self._sharpness = Past()
        self._tiles = Past()

    def check(self, frame: Frame) -> Health:
        """Return the statistics of ``frame``; a frame under suspicion does not enter the stream's past."""
        step_s = 0.0 if self._last_s is None else frame.time_s - self._last_s
        self._last_s = frame.time_s
        patches = _patches(frame.luma)
        levels = np.cumsum(np.bincount(patches.ravel(), minlength=256)) / patches.size
        black, white = float(levels[BLACK_LUMA]), 1.0 - float(levels[WHITE_LUMA - 1])
        still_s = self._still(frame.time_s, patches)
        sharpness = _sharpness(patches, levels)
        blur = self._blur(sharpness)
        tiles, covered = self._covered(patches, step_s)
        suspect, value, threshold = _suspect(black, white, still_s, blur, covered)
        if suspect is None:
            self._sharpness.learn(frame.time_s, step_s, np.array([sharpness], np.float32))
            self._tiles.learn(frame.time_s, step_s, tiles)
        return Health(suspect, value, threshold, black, white, still_s, sharpness, blur, covered)

    def forget_waiting(self) -> None:
        """Drop frames not yet part of the past: they belong to a fault that has just been believed."""
        self._sharpness.forget_waiting()
        self._tiles.forget_waiting()

    def new_scene(self) -> None:
        """Forget what the picture looked like: elsewhere says nothing of what may hide it here. Sharpness stays,
        it is the lens's own."""
        self._tiles, self._cover = Past(), None

    def _still(self, time_s: float, patches: Image) -> float:
        """Seconds since the picture last differed from the first of a run of equal ones."""
        anchor = self._anchor
        # A camera that changes its resolution is not frozen.
        if (
            anchor is None
            or anchor[1].shape != patches.shape
            or _difference(patches, anchor[1]) > STILL_LEVELS
        ):
            self._anchor = anchor = (time_s, patches)
        return time_s - anchor[0]

    def _blur(self, sharpness: float) -> float:
        """How far sharpness fell below the stream's past; 0 while the picture has edges left, whatever it had
        before."""
        past = self._sharpness.value
        if past is None or not self._sharpness.ready or sharpness > SOFT:
            return 0.0
        return float(past[0]) - sharpness

    def _covered(self, patches: Image, step_s: float) -> tuple[Float32s, float]:
        """Return mean, contrast and activity of each patch (3 × tiles) and the share of once textured ones
        that went flat and still.

        Activity is that of a patch's mean, which blur leaves alone; a car that stops keeps its texture; only
        a cover takes both."""
        mean, contrast = patches.mean((1, 2), dtype=np.float32), _contrast(patches)
        moved = np.abs(mean - self._mean) if self._mean is not None else np.zeros_like(mean)
        if self._tiles.value is not None:
            # A cover comes with one great leap, which must not pass for liveliness in the seconds after it.
            usual = 2.0 * self._tiles.value[2] + 0.5
            faded = self._leap * np.float32(math.exp(-step_s / LEAP_S))
            self._leap = np.asarray(np.maximum(moved / usual, faded), np.float32)
            moved = np.minimum(moved, usual)
        gain = np.float32(1.0 - math.exp(-step_s / ACTIVITY_S))
        self._activity = moved if self._activity is None else self._activity + gain * (moved - self._activity)
        self._mean = mean
        state = np.stack([mean, contrast, self._activity])
        past = self._tiles.value
        if past is None or not self._tiles.ready:
            return state, 0.0
        textured = past[1] > 5.0
        if textured.sum() < FEWEST_TEXTURED:
            return state, 0.0
        flat = textured & (contrast < 0.4 * past[1])
        darker = past[0] - mean > DARKER_LEVELS
        if self._cover is not None:
            # A cover that has been seen stays until half of it is gone, however the scene behind it changes.
            kept = float((flat & darker)[self._cover].mean())
            self._cover = self._cover if kept >= 0.5 else None
            return state, max(COVERED_SHARE, kept * float(textured.mean())) if kept >= 0.5 else 0.0
        hidden = flat & (self._activity < 0.4 * past[2])
        # Sky and road that come into view are flat and still too, but not darker than what they replace; a
        # cover in front of the lens is, unless it hides nearly everything.
        dark = hidden & darker
        share, dark_share = float(hidden.sum() / textured.sum()), float(dark.sum() / textured.sum())
        if share >= WHOLLY_COVERED:
            return state, share
        # What is not behind the cover must look as it did and go on moving: else the scene changed, or the
        # car stands.
        rest = textured & ~dark
        leapt = float(np.quantile(self._leap[~dark], 0.25)) > LEAP  # after a cut, hardly a patch has not
        same = not leapt and float(np.median(np.abs(past[0] - mean)[rest])) < REST_LEVELS
        alive = float(self._activity[rest].mean()) > 0.5 * float(past[2][rest].mean())
        if not (same and alive):
            return state, 0.0
        self._cover = dark if dark_share >= COVERED_SHARE else None
        return state, dark_share


def _suspect(
    black: float, white: float, still_s: float, blur: float, covered: float
) -> tuple[Fault | None, float, float]:
    """The first check that speaks, in the order of certainty; with its value and threshold."""
    checks = (
        (Fault.BLACK, black, EXTREME_SHARE),
        (Fault.WHITE, white, EXTREME_SHARE),
        (Fault.COVERED, covered, COVERED_SHARE),
        (Fault.FREEZE, still_s, 0.5),
        (Fault.BLUR, blur, BLUR_DROP),
    )
    for fault, value, threshold in checks:
        if value >= threshold:
            return fault, value, threshold
    return None, blur, BLUR_DROP


def _patches(luma: Image) -> Image:
    """A grid of square patches at the camera's own resolution: tiles × side × side."""
    height, width = luma.shape
    side = min(PATCH, height // TILE_ROWS, width // TILE_COLUMNS)
    tops = ((np.arange(TILE_ROWS) + 0.5) * height / TILE_ROWS - side / 2).astype(int)
    lefts = ((np.arange(TILE_COLUMNS) + 0.5) * width / TILE_COLUMNS - side / 2).astype(int)
    return np.stack([luma[t : t + side, x : x + side] for t in tops for x in lefts])


def _difference(a: Image, b: Image) -> float:
    """Mean absolute difference in grey levels."""
    return float(cv2.norm(a.reshape(len(a), -1), b.reshape(len(b), -1), cv2.NORM_L1)) / a.size


def _contrast(patches: Image) -> Float32s:
    """Standard deviation of each patch in grey levels."""
    flat = patches.reshape(len(patches), -1).astype(np.float32)
    mean = flat.mean(1)
    power = np.einsum("ij,ij->i", flat, flat) / np.float32(flat.shape[1])
    return np.asarray(np.sqrt(np.maximum(power - mean * mean, 0.0)), np.float32)


def _sharpness(patches: Image, levels: NDArray[np.float64]) -> float:
    """Log of the strongest edges (99th percentile of second differences two pixels apart) over the picture's
    range of grey levels.

    Means would follow the scene, and after compression the codec's noise; the sharpest edges of a scene are
    the lens's own. ``levels`` is the cumulative histogram of the patches (256)."""
    x = patches.astype(np.int16)
    edges = np.abs(x[:, :, 4:] - 2 * x[:, :, 2:-2] + x[:, :, :-4])
    counts = np.cumsum(np.bincount(edges.ravel(), minlength=1))
    strongest = float(np.searchsorted(counts, 0.99 * edges.size))
    darkest, brightest = np.searchsorted(levels, (0.01, 0.99))
    return math.log((strongest + 0.5) / (float(brightest - darkest) + 5.0))
