"""What a codec leaves of a picture: mush when it is starved; smears, grey and green when its stream is broken and
the decoder did not say so."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.frames import Image
from engines.health.past import NOTHING, Past
from engines.health.scene import Link
from engines.health.sight import PATCH
from engines.health.view import Floats, View, mean_of, ranked, share_of
from engines.planes import subsampling

SMOOTH_S, SEAM_WEIGHT = 0.8, 5.0
DARK = 16.0
"""Grey levels of black."""
SMEARED, TEXTURE = 0.12, 1.0
"""Share of its texture across that a patch has along: less is a smear. Grey levels that make a texture."""
GREY, GREEN, MAGENTA, NO_LIGHT = 128, 104, 150, 24.0
"""Values of chroma: of grey; below which both are green; above which both are magenta. And the level under which the
other primaries, of RGB, are wanting: of no scene, but of lost chroma."""
SAMPLES, BLANK_EVERY = 60, 2
"""Rows of pixels that are looked at for grey and green, in every so manyth frame."""
_ON, _BESIDE = [7, 15], [5, 9, 13, 17]
"""Steps between pixels of a patch that lie on the seams of 8 × 8 blocks, and beside them."""


class Codec:
    """mush: by how much (log) fine detail fell below the stream's past while seams between blocks grew. decay:
    share of the picture that is smeared from top to bottom (a block predicted from the one above it), of the
    codec's own grey, or of the green and magenta of lost chroma, above the past."""

    def __init__(self) -> None:
        self.past, self.state = Past(), NOTHING
        self.every, self.lasting = 2, False
        self._smooth: Floats | None = None
        self._blank, self._turn, self._last_s = 0.0, 0, 0.0

    def measure(self, view: View, link: Link) -> dict[str, float]:
        if not view.whole_patches:
            self.state = NOTHING
            return {"mush": np.nan, "decay": np.nan}
        profile, across, along = _steps(view.patches)
        seams = _seams(profile)
        if self._turn % BLANK_EVERY == 0:
            self._blank = _blank(view)
        self._turn += 1
        decay = _smeared(across, along) + self._blank
        fine = math.log(ranked(view.grain, 0.5) + 0.03)
        light = math.log(ranked(view.mean, 0.5) + DARK)
        now = np.array([decay, fine, seams, fine - light], np.float32)
        self.state = now
        step_s, self._last_s = view.time_s - self._last_s, view.time_s
        gain = np.float32(1.0 - math.exp(-step_s / SMOOTH_S))
        self._smooth = now if self._smooth is None else self._smooth + gain * (now - self._smooth)
        known = self.past.known
        if known is None:
            return {"mush": np.nan, "decay": np.nan}
        # The dark has less detail too, but as much of what light there is.
        more, fine, grown, of_light = self._smooth - known
        return {"mush": float(min(-fine, -of_light, SEAM_WEIGHT * grown)), "decay": float(more)}

    def restart(self) -> None:
        self._smooth = None


def _steps(patches: Image) -> tuple[Floats, Floats, Floats]:
    """Mean absolute steps between neighbouring pixels: by place in the patch (23, both directions together), and
    across and along each patch."""
    count = len(patches)
    flat = patches.reshape(-1, PATCH)
    across, along = cv2.absdiff(flat[:, 1:], flat[:, :-1]), cv2.absdiff(flat[1:], flat[:-1])
    by_row = cv2.reduce(across, 1, cv2.REDUCE_AVG, dtype=cv2.CV_32F).reshape(count, PATCH)
    down = np.append(cv2.reduce(along, 1, cv2.REDUCE_AVG, dtype=cv2.CV_32F), np.float32(0.0))
    down = down.reshape(count, PATCH)[:, :-1]  # the last step leads into the next patch
    profile = cv2.reduce(across, 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel() + down.mean(0)
    return np.asarray(profile, np.float32), np.asarray(by_row.mean(1), np.float32), down.mean(1)


def _seams(steps: Floats) -> float:
    """Log ratio of the steps on the seams of blocks to those beside them."""
    return math.log((mean_of(steps[_ON]) + 0.3) / (mean_of(steps[_BESIDE]) + 0.3))


def _smeared(across: Floats, along: Floats) -> float:
    return share_of((along < SMEARED * across) & (across > TEXTURE))


def _blank(view: View) -> float:
    """Share of pixels without colour that are of middle grey, or of a colour that comes of lost chroma."""
    chroma = view.frame.chroma
    if chroma is None:
        return 0.0
    luma = view.frame.luma
    stride = max(1, chroma[0].shape[0] // SAMPLES)
    down, across = subsampling(luma, chroma[0])
    light = luma[:: stride * down, :: stride * across]
    blue, red = (plane[::stride, ::stride] for plane in chroma)
    high, wide = min(light.shape[0], blue.shape[0]), min(light.shape[1], blue.shape[1])
    light, blue, red = (np.ascontiguousarray(p[:high, :wide]) for p in (light, blue, red))
    colour = cv2.max(cv2.absdiff(blue, _like(blue)), cv2.absdiff(red, _like(red)))
    grey = (colour <= 1) & (cv2.absdiff(light, _like(light)) <= 2)
    blank = grey | _lost(light, blue, red)
    if view.sight.hidden is not None:
        blank &= ~view.sight.hidden[:: stride * down, :: stride * across][:high, :wide]
    return float(np.count_nonzero(blank)) / blank.size


def _lost(light: Image, blue: Image, red: Image) -> NDArray[np.bool_]:
    """Where nothing but green, or nothing of it, is left (BT.601)."""
    bright = 1.164 * (light.astype(np.float32) - 16.0)
    more_blue, more_red = blue - np.float32(GREY), red - np.float32(GREY)
    others = np.maximum(bright + 1.596 * more_red, bright + 2.018 * more_blue)
    green = (cv2.max(blue, red) < GREEN) & (others < NO_LIGHT)
    magenta = (cv2.min(blue, red) > MAGENTA) & (bright - 0.391 * more_blue - 0.813 * more_red < NO_LIGHT)
    return np.asarray(green | magenta, np.bool_)


def _like(plane: Image) -> Image:
    return np.full_like(plane, GREY)
