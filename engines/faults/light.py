"""Too much light, too little, a changing one, and colours that went wrong."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.faults.layers import clipped
from engines.frames import Image

_RAMP = np.arange(256) / 255


def black(image: Image, severity: int, seed: int) -> Image:
    """Less and less light, under a dark sensor's read noise, down to exactly nothing at severity 5."""
    kept, level = ((0.35, 3.0), (0.12, 3.0), (0.03, 2.0), (0.01, 1.0), (0.0, 0.0))[severity - 1]
    if not kept:
        return np.zeros_like(image)
    noise = np.abs(np.random.default_rng(seed).standard_normal((*image.shape[:2], 1), np.float32))
    return clipped(np.float32(kept) * image + np.float32(level) * noise)


def white(image: Image, severity: int, seed: int) -> Image:
    """Blown out: a gain of 1.5, of 2.5, and then a veil through which less and less can be seen."""
    gain, veil = ((1.5, 0.0), (2.5, 0.0), (1.6, 150.0), (0.08, 238.0), (0.0, 255.0))[severity - 1]
    return cv2.convertScaleAbs(image, alpha=gain, beta=veil)  # type: ignore[return-value]


def under_exposed(image: Image, severity: int, seed: int) -> Image:
    """Too dark, by a gamma of up to 5 and a gain down to a third."""
    gamma, gain = ((1.5, 1.0), (2.0, 0.9), (2.7, 0.75), (3.7, 0.55), (5.0, 0.35))[severity - 1]
    return cv2.LUT(image, clipped(255 * gain * _RAMP**gamma))  # type: ignore[return-value]


def exposure_oscillation(image: Image, severity: int, seed: int, time_s: float) -> Image:
    """A control loop that hunts: gain, and for every other seed white balance, swing at 0.5 to 5 Hz."""
    rng = np.random.default_rng(seed)
    swing = (0.1, 0.2, 0.35, 0.6, 1.0)[severity - 1]
    hertz = 0.5 * 10 ** float(rng.random())
    lag = rng.uniform(0, 2 * math.pi) + (rng.uniform(-1.2, 1.2, 3) if seed % 2 else np.zeros(3))
    return _gained(image, np.exp(swing * np.sin(2 * math.pi * hertz * time_s + lag)))


def colour_cast(image: Image, severity: int, seed: int) -> Image:
    """White balance gone: one channel up, another down, by up to ±60 %."""
    strength = (0.08, 0.16, 0.27, 0.42, 0.6)[severity - 1]
    up, down, same = np.random.default_rng(seed).permutation(3)
    gain = np.empty(3)
    gain[up], gain[down], gain[same] = 1 + strength, 1 - strength, 1.0
    return _gained(image, gain)


def _gained(image: Image, gain: NDArray[np.float64]) -> Image:
    table = clipped(np.arange(256)[:, None] * gain)
    return cv2.LUT(image, table[None])  # type: ignore[return-value]


def monochrome(image: Image, severity: int, seed: int) -> Image:
    """Colour fades, at severity 5 to grey."""
    lost = (0.4, 0.65, 0.85, 0.95, 1.0)[severity - 1]
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, 1 - lost, grey, lost, 0)  # type: ignore[return-value]


def channel_swap(image: Image, severity: int, seed: int) -> Image:
    """Red and blue change places, whatever the severity: somebody read RGB as BGR."""
    return np.ascontiguousarray(image[:, :, ::-1])
