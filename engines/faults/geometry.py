"""The camera looks elsewhere, or its picture is laid out wrongly."""

from __future__ import annotations

import math

import cv2
import numpy as np

from engines.faults.layers import shorter
from engines.frames import Image


def moved(image: Image, severity: int, seed: int) -> Image:
    """The camera was knocked: it rolls and looks aside, by 1 to 20° at 60° of view."""
    rng = np.random.default_rng(seed)
    angle = math.radians((1.5, 4.0, 8.0, 13.0, 20.0)[severity - 1])
    roll, pan, tilt = angle * _direction(rng)
    height, width = image.shape[:2]
    focal = width / 2 / math.tan(math.radians(30))
    lens = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    turn = cv2.Rodrigues(np.array([tilt, pan, 0.0]))[0] @ cv2.Rodrigues(np.array([0.0, 0.0, roll]))[0]
    return cv2.warpPerspective(  # type: ignore[return-value]
        image, lens @ turn @ np.linalg.inv(lens), (width, height), borderMode=cv2.BORDER_REFLECT_101
    )


def _direction(rng: np.random.Generator) -> np.ndarray:
    """Return how much of the angle goes into roll, pan and tilt: signed, the largest of them ±1."""
    parts = rng.uniform(0.25, 1.0, 3) * rng.choice([-1.0, 1.0], 3)
    return parts / np.abs(parts).max()  # type: ignore[no-any-return]


def flipped(image: Image, severity: int, seed: int) -> Image:
    """Upside down, mirrored, or both, by the seed; whatever the severity."""
    return cv2.flip(image, (-1, 1, 0)[seed % 3])  # type: ignore[return-value]


def vibration(image: Image, severity: int, seed: int, time_s: float) -> Image:
    """A loose mount: the picture jumps by up to 5 % of its shorter side, at 6 to 14 Hz, and rolls with it."""
    rng = np.random.default_rng(seed)
    reach = shorter(image) * (0.004, 0.008, 0.015, 0.028, 0.05)[severity - 1]
    hertz, phase = rng.uniform(6, 14, 6), rng.uniform(0, 2 * math.pi, 6)
    wave = np.sin(2 * math.pi * hertz * time_s + phase)
    across, down, roll = (wave[:3] + wave[3:]) / 2 * reach
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), math.degrees(0.6 * roll / shorter(image)), 1.0)
    turn[:, 2] += across, down
    return cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)  # type: ignore[return-value]


def wrong_size(image: Image, severity: int, seed: int) -> Image:
    """Read with the wrong stride (sheared), the wrong aspect (squeezed between bars) or the wrong crop, by the
    seed."""
    return (_sheared, _squeezed, _cropped)[seed % 3](image, severity)


def _sheared(image: Image, severity: int) -> Image:
    """Each row begins a little late, as where the length of a row in memory was got wrong."""
    height, width = image.shape[:2]
    slip = (0.04, 0.12, 0.35, 0.8, 2.6)[severity - 1] * width / height
    sheared = np.empty_like(image)
    for y in range(height):
        late = round(y * slip) % width
        sheared[y, : width - late], sheared[y, width - late :] = image[y, late:], image[y, :late]
    return sheared


def _squeezed(image: Image, severity: int) -> Image:
    height, width = image.shape[:2]
    narrow = max(1, round(width * (0.92, 0.82, 0.68, 0.5, 0.3)[severity - 1]))
    squeezed = cv2.resize(image, (narrow, height), interpolation=cv2.INTER_AREA)
    left = (width - narrow) // 2
    return cv2.copyMakeBorder(squeezed, 0, 0, left, width - narrow - left, cv2.BORDER_CONSTANT)  # type: ignore[return-value]


def _cropped(image: Image, severity: int) -> Image:
    height, width = image.shape[:2]
    kept = (0.88, 0.72, 0.54, 0.36, 0.2)[severity - 1]
    h, w = max(1, round(height * kept)), max(1, round(width * kept))
    part = image[(height - h) // 2 :, (width - w) // 2 :][:h, :w]
    return cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]
