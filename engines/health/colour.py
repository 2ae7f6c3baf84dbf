"""Colours that went wrong: none left, red and blue exchanged, rims of colour."""

from __future__ import annotations

import math

import cv2
import numpy as np

from engines.health.past import NOTHING, Past
from engines.health.scene import Link
from engines.health.sight import cut
from engines.health.view import Floats, View, mean_of
from engines.planes import subsampling

LEAST_SWAP, SWAP_TIMES, SWAP_LEFT, SWAP_S = 0.002, 6.0, 0.2, 2.0
"""Mean square change of the balance of the channels (log), absolute and over the usual one, that an exchange must
make; what may be left of it once it is explained; and how long colours must be as before to be so."""
DIM = 100.0
"""Light below which there is less colour for want of it."""
FRINGE_ALIKE = 0.2
"""Correlation of chroma with the radial gradient of luma under which no rims are measured."""


class Colour:
    """fading: minus log colourfulness, of what light there is. swapped: share of a change of colours that is
    explained by red and blue having changed places. fringe: displacement of red against blue, as if magnified
    differently, in thousandths (by regression of chroma on the radial gradient of luma)."""

    def __init__(self) -> None:
        self.past, self.state = Past(), NOTHING
        self.every, self.lasting = 1, False
        self._fringe = Fringe()
        self._swap = Swap()

    def measure(self, view: View, link: Link) -> dict[str, float]:
        logs = np.log(view.tiles.reshape(-1, 3) + 6.0)
        balance = np.concatenate([logs[:, 0] - logs[:, 1], logs[:, 2] - logs[:, 1]])
        red, green, blue = view.tiles.reshape(-1, 3).T
        spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
        return {
            "fading": math.log((min(mean_of(view.tiles), DIM) + 10.0) / (mean_of(spread) + 2.0)),
            "swapped": self._swap.measure(balance, view, link),
            "fringe": self._fringe.measure(view),
        }

    def restart(self) -> None:
        self._swap.restart()


class Swap:
    """Red and blue change places from one frame to the next, and are looked for there until they change back."""

    def __init__(self) -> None:
        self._balance: Floats | None = None
        self._usual = 0.0
        self._value, self._alike = 0.0, 0.0
        self._before: Floats | None = None

    def measure(self, balance: Floats, view: View, link: Link) -> float:
        """``balance``: log red over green of every tile, then log blue over green."""
        last, self._balance = self._balance, balance
        if last is None:
            return 0.0
        plain, left = _apart(balance, last), _apart(balance, _exchanged(last))
        if link.goes_on and plain > LEAST_SWAP + SWAP_TIMES * self._usual and left < SWAP_LEFT * plain:
            self._value = 0.0 if self._value else 1.0 - left / plain
            self._before, self._alike = last, 0.0
        elif not self._value:
            self._usual += (1.0 - math.exp(-view.step_s / SWAP_S)) * (plain - self._usual)
        if self._value and self._before is not None:
            nearer = _apart(balance, self._before) < _apart(balance, _exchanged(self._before))
            self._alike += (1.0 - math.exp(-view.step_s / SWAP_S)) * (float(nearer) - self._alike)
            if self._alike > 0.8:
                self._value = 0.0
        return self._value

    def restart(self) -> None:
        self._value = 0.0


def _exchanged(balance: Floats) -> Floats:
    half = len(balance) // 2
    return np.concatenate([balance[half:], balance[:half]])


def _apart(one: Floats, other: Floats) -> float:
    """Mean square difference."""
    change = one - other
    return float(np.vdot(change, change)) / change.size


class Fringe:
    """Rims of colour: where red is magnified by 1 + s against luma, Cr gains s × radius × radial gradient."""

    EVERY = 6

    def __init__(self) -> None:
        self._turn = 0
        self._value = np.nan

    def measure(self, view: View) -> float:
        self._turn = (self._turn + 1) % self.EVERY
        if self._turn == 1 or np.isnan(self._value):
            self._value = self._measured(view)
        return self._value

    def _measured(self, view: View) -> float:
        chroma, luma = view.frame.chroma, view.frame.luma
        side = view.patches.shape[1]
        if chroma is None or not view.whole_patches:
            return np.nan
        height, width = luma.shape
        down, across = subsampling(luma, chroma[0])
        h, w = side // down, side // across
        tops, lefts = view.sight.corners.T
        light = cv2.resize(view.patches.transpose(1, 2, 0), (w, h), interpolation=cv2.INTER_AREA)
        light = np.asarray(light, np.float32).transpose(2, 0, 1)
        x = (lefts + side / 2 - width / 2).astype(np.float32)
        y = (tops + side / 2 - height / 2).astype(np.float32)
        slope_x = (light[:, 1:-1, 2:] - light[:, 1:-1, :-2]) / (2 * across)
        slope_y = (light[:, 2:, 1:-1] - light[:, :-2, 1:-1]) / (2 * down)
        radial = slope_x * x[:, None, None] + slope_y * y[:, None, None]
        inner = light[:, 1:-1, 1:-1] - light[:, 1:-1, 1:-1].mean((1, 2), keepdims=True)
        # Lamps and signs are coloured where they are light, and no lens is to blame for that.
        radial = _beyond(radial, inner)
        power = float(np.vdot(radial, radial)) + 1.0
        slopes, alike = [], []
        for plane in chroma:
            patch = cut(plane, tops // down, lefts // across, h, w).astype(np.float32)
            patch = _beyond(patch[:, 1:-1, 1:-1], inner)
            product = float(np.vdot(patch, radial))
            slopes.append(product / power)
            alike.append(abs(product) / math.sqrt(power * (float(np.vdot(patch, patch)) + 1.0)))
        if max(alike) < FRINGE_ALIKE:
            return 0.0
        blue, red = slopes
        return abs(1e3 * (red - blue) / 2)


def _beyond(patches: Floats, light: Floats) -> Floats:
    """What of each patch its own light (without its mean) does not explain."""
    patches = patches - patches.mean((1, 2), keepdims=True)
    share = (patches * light).sum((1, 2)) / ((light * light).sum((1, 2)) + 1.0)
    return np.asarray(patches - share[:, None, None] * light, np.float32)
