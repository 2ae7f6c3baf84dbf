"""What a sensor does wrong: noise, stripes, dead and hot pixels, an unfinished picture."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

from engines.faults.layers import Layer, clipped, layer
from engines.frames import Image

_SHOT = np.sqrt(0.35 + 0.65 * np.arange(256, dtype=np.float32) / 255)


def noise(image: Image, severity: int, seed: int) -> Image:
    """Poisson-Gauss: read noise everywhere, and shot noise that grows with the root of the light.

    Half of it is grey and sharp, half in colours and twice as coarse, as a demosaicing at high gain leaves it.
    """
    strength = (6, 12, 24, 48, 95)[severity - 1]
    rng = np.random.default_rng(seed)
    height, width = image.shape[:2]
    coarse = rng.standard_normal((-(-height // 2), -(-width // 2), 3), np.float32)
    grain = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    sharp = rng.standard_normal((height, width, 1), np.float32)
    return clipped(image + _SHOT[image] * np.float32(strength) * (grain + np.float32(0.7) * sharp))


def banding(image: Image, severity: int, seed: int, time_s: float = 0.0) -> Image:
    """A sinusoid over the rows that rolls through the picture: mains on the lamps or on the supply."""
    rng = np.random.default_rng(seed)
    depth = (0.05, 0.1, 0.2, 0.4, 0.8)[severity - 1]
    waves, speed, phase = rng.uniform(4, 14), rng.uniform(0.3, 1.5) * rng.choice([-1, 1]), rng.random()
    row = np.arange(image.shape[0]) / image.shape[0]
    wave = depth * np.sin(2 * math.pi * (waves * row + speed * time_s + phase)).astype(np.float32)
    # Lamps change the light that comes in, the supply adds its own, which darkness doesn't hide.
    return clipped(image * (1 + 0.8 * wave[:, None, None]) + 45 * wave[:, None, None])


def dead_pixels(image: Image, severity: int, seed: int) -> Image:
    """Pixels, and at worse severities rows and columns, that are dead or hot, always the same ones."""
    return _defects(image.shape[0], image.shape[1], severity, seed).over(image)


@lru_cache(maxsize=4)
def _defects(height: int, width: int, severity: int, seed: int) -> Layer:
    """Where the sensor is damaged. Worse damage contains milder damage: the list of defects only gets longer."""
    rng = np.random.default_rng(seed)
    dots, lines = ((60, 0), (200, 2), (600, 5), (1800, 14), (5000, 50))[severity - 1]
    side = max(1, round(min(height, width) / 200))
    alpha = np.zeros((height, width), np.float32)
    colour = np.zeros((height, width, 3), np.float32)
    for x, y, red, green, blue in rng.random((5000, 5))[:dots]:
        top, left = int(y * height), int(x * width)
        spot = (slice(top, top + side), slice(left, left + side))
        alpha[spot] = 1
        colour[spot] = 255 * np.rint((red, green, blue)) if red > 0.4 else 0
    for place, level, upright in rng.random((50, 3))[:lines]:
        first = int(place * (width if upright < 0.5 else height))
        spot = (
            (slice(None), slice(first, first + side))
            if upright < 0.5
            else (slice(first, first + side), slice(None))
        )
        alpha[spot] = 1
        colour[spot] = 255.0 if level > 0.4 else 0.0
    return layer(alpha, colour)


def no_demosaic(image: Image, severity: int, seed: int) -> Image:
    """The sensor's colour filter shows: each pixel with one of its three colours only, in a Bayer pattern."""
    shown = (0.2, 0.4, 0.6, 0.8, 1.0)[severity - 1]
    raw = np.empty(image.shape[:2], np.uint8)
    for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        raw[row::2, column::2] = image[row::2, column::2, channel]
    return cv2.addWeighted(image, 1 - shown, cv2.cvtColor(raw, cv2.COLOR_GRAY2RGB), shown, 0)  # type: ignore[return-value]


def bright_lines(image: Image, severity: int, seed: int) -> Image:
    """Lines of light, nearly all upright, that stay in place: columns of the sensor that a laser or the sun burnt."""
    return _burnt(image.shape[0], image.shape[1], severity, seed).over(image)


@lru_cache(maxsize=4)
def _burnt(height: int, width: int, severity: int, seed: int) -> Layer:
    rng = np.random.default_rng(seed)
    count = (1, 3, 8, 20, 60)[severity - 1]
    alpha, colour = np.zeros((height, width), np.float32), np.zeros((height, width, 3), np.float32)
    thick = max(0.8, min(height, width) / 200)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    for place, wide, upright, red, blue in rng.random((60, 5))[:count]:
        at, along = (place * width, x[None, :]) if upright < 0.93 else (place * height, y[:, None])
        away = np.abs(along - at) / (thick * (0.5 + wide))
        glow = np.maximum(np.exp(-(away**2)), 0.45 * np.exp(-away / 3))
        tint = np.array([185 + 60 * red, 185 + 30 * red, 235 + 20 * blue], np.float32)
        np.copyto(colour, tint, where=(glow > alpha)[..., None])
        np.maximum(alpha, glow, out=alpha)
    return layer(alpha, colour)
