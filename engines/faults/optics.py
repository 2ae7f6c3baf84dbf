"""What a lens does wrong: focus, motion, colour, straight lines, and light that bounces about inside."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.faults.layers import clipped, shorter
from engines.frames import Image


def blur(image: Image, severity: int, seed: int) -> Image:
    """Defocus: a point of light becomes a disc, whose radius is a share of the shorter side."""
    radius = shorter(image) * (0.006, 0.011, 0.018, 0.028, 0.045)[severity - 1]
    step = max(1, int(radius / 8))
    return _spread(image, _disc(radius / step), step)


def _spread(image: Image, kernel: NDArray[np.float32], step: int) -> Image:
    """Return ``image`` under a kernel whose pixels are ``step`` wide, which is finer than what it leaves."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (-(-width // step), -(-height // step)), interpolation=cv2.INTER_AREA)
    small = cv2.filter2D(small, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


@lru_cache(maxsize=16)
def _disc(radius: float) -> NDArray[np.float32]:
    reach = math.ceil(radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    return disc / disc.sum()  # type: ignore[no-any-return]


def motion_blur(image: Image, severity: int, seed: int) -> Image:
    """A point of light becomes a line, one way all over the picture: a stabiliser that shakes instead."""
    length = shorter(image) * (0.02, 0.04, 0.07, 0.12, 0.2)[severity - 1]
    angle = float(np.random.default_rng(seed).uniform(0, math.pi))
    step = max(1, int(length / 35))
    return _spread(image, _line(length / step, angle), step)


@lru_cache(maxsize=16)
def _line(length: float, angle: float) -> NDArray[np.float32]:
    reach = math.ceil(length / 2) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    along = np.abs(x * math.cos(angle) + y * math.sin(angle))
    across = np.abs(x * math.sin(angle) - y * math.cos(angle))
    line = np.clip(length / 2 + 0.5 - along, 0, 1) * np.clip(1 - across, 0, 1)
    return (line / line.sum()).astype(np.float32)  # type: ignore[no-any-return]


def chromatic_aberration(image: Image, severity: int, seed: int) -> Image:
    """Red is magnified more than green, blue less, by .5 to 3 %: coloured rims towards the corners."""
    share = (0.005, 0.009, 0.014, 0.021, 0.032)[severity - 1]
    height, width = image.shape[:2]
    middle = ((width - 1) / 2, (height - 1) / 2)
    red, green, blue = cv2.split(image)
    apart = [
        cv2.warpAffine(
            channel,
            cv2.getRotationMatrix2D(middle, 0, scale),
            (width, height),
            borderMode=cv2.BORDER_REPLICATE,
        )
        for channel, scale in ((red, 1 + share), (blue, 1 / (1 + share)))
    ]
    return cv2.merge([apart[0], green, apart[1]])  # type: ignore[return-value]


def distortion(image: Image, severity: int, seed: int) -> Image:
    """Barrel distortion, k1 up to 1.4 at the half diagonal; the left and right edges stay where they are, at half
    their height, and the corners go dark."""
    height, width = image.shape[:2]
    return cv2.remap(  # type: ignore[return-value]
        image, *_barrel(height, width, (0.07, 0.17, 0.36, 0.7, 1.4)[severity - 1]), cv2.INTER_LINEAR
    )


@lru_cache(maxsize=2)
def _barrel(height: int, width: int, k1: float) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    x = np.arange(width, dtype=np.float32) - (width - 1) / 2
    y = np.arange(height, dtype=np.float32)[:, None] - (height - 1) / 2
    diagonal = float(x[0] ** 2 + y[0, 0] ** 2)
    pull = (1 + k1 * (x * x + y * y) / diagonal) / (1 + k1 * float(x[0] ** 2) / diagonal)
    across = (x * pull + (width - 1) / 2).astype(np.float32)
    down = (y * pull + (height - 1) / 2).astype(np.float32)
    return cv2.convertMaps(across, down, cv2.CV_16SC2)  # type: ignore[return-value]


def flare(image: Image, severity: int, seed: int) -> Image:
    """Light from a source in the upper half, with its glow and its ghosts on the axis through the middle."""
    return cv2.add(image, _ghosts(image.shape[0], image.shape[1], severity, seed))  # type: ignore[return-value]


@lru_cache(maxsize=4)
def _ghosts(height: int, width: int, severity: int, seed: int) -> Image:
    step = min(height, width) // 360
    if step > 1:  # light is smooth
        small = _ghosts(-(-height // step), -(-width // step), severity, seed)
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]
    rng = np.random.default_rng(seed)
    strength = (0.3, 0.5, 0.85, 1.5, 3.0)[severity - 1]
    size = min(height, width)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    source = np.array([rng.uniform(0.15, 0.85) * width, rng.uniform(0.05, 0.4) * height])
    middle = np.array([width / 2, height / 2])
    away = np.hypot(x - source[0], y - source[1]) / size
    rays = 1 + 0.25 * np.cos(6 * np.arctan2(y - source[1], x - source[0]) + rng.uniform(0, 6))
    reach = 0.06 + 0.2 * strength
    glow = strength * (1.4 * np.exp(-((away / (0.25 * reach)) ** 2)) + 0.9 * rays * np.exp(-away / reach))
    light = glow[..., None] * np.array([255, 236, 200], np.float32)
    for place in rng.uniform(0.5, 2.1, 6):
        centre, radius = source + place * (middle - source), size * rng.uniform(0.025, 0.11)
        disc = np.hypot(x - centre[0], y - centre[1]) / radius
        ghost = np.clip((1 - disc) * radius / 2, 0, 1) * (0.45 + 0.55 * np.clip(disc, 0, 1) ** 6)
        light += (strength * 75 * ghost)[..., None] * rng.uniform(0.25, 1.0, 3).astype(np.float32)
    return clipped(light)
