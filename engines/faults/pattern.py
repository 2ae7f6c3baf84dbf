"""What a camera shows in place of the scene: a test pattern, or writing of its own over it."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from engines.faults.layers import Layer, layer
from engines.frames import Image

_BARS = ((191, 191, 191), (191, 191, 0), (0, 191, 191), (0, 191, 0), (191, 0, 191), (191, 0, 0), (0, 0, 191))
_CASTELLATIONS = (
    (0, 0, 191),
    (19, 19, 19),
    (191, 0, 191),
    (19, 19, 19),
    (0, 191, 191),
    (19, 19, 19),
    (191, 191, 191),
)
_FOOT = (
    (0, 33, 76),
    (255, 255, 255),
    (50, 0, 106),
    (19, 19, 19),
    (9, 9, 9),
    (19, 19, 19),
    (29, 29, 29),
    (19, 19, 19),
)
_FOOT_EDGES = (0.0, 5 / 28, 10 / 28, 15 / 28, 5 / 7, 5 / 7 + 1 / 21, 5 / 7 + 2 / 21, 6 / 7, 1.0)


def bars_and_menus(image: Image, severity: int, seed: int) -> Image:
    """Menus of the camera over the scene, at severity 4 a transparent test pattern, at 5 nothing but SMPTE bars
    (ECR 1-1978)."""
    return _overlay(image.shape[0], image.shape[1], severity).over(image)


@lru_cache(maxsize=4)
def _overlay(height: int, width: int, severity: int) -> Layer:
    if severity >= 4:
        return layer(np.full((height, width), (0.7, 1.0)[severity - 4], np.float32), _smpte(height, width))
    lines = (
        ("NO SIGNAL",),
        ("MENU", "EXPOSURE AUTO", "GAIN    12", "NO SIGNAL"),
        ("SETUP", "EXPOSURE AUTO", "WHITE BAL 1", "GAIN    12", "MIRROR OFF", "NO SIGNAL", "EXIT"),
    )[severity - 1]
    scale = height / (150, 130, 130)[severity - 1]
    alpha, light = np.zeros((height, width), np.float32), np.zeros((height, width), np.uint8)
    step = round(15 * scale)
    top = round(height * 0.06)
    box = (slice(top, top + step * len(lines) + step // 2), slice(round(width * 0.05), round(width * 0.62)))
    alpha[box] = 0.8
    for number, text in enumerate(lines, 1):
        origin = (round(width * 0.08), top + step * number)
        cv2.putText(
            light,
            text,
            origin,
            cv2.FONT_HERSHEY_DUPLEX,
            0.4 * scale,
            255,
            max(1, round(0.9 * scale)),
            cv2.LINE_AA,
        )
    return layer(np.maximum(alpha, light / 255), light[..., None].astype(np.float32))


def _smpte(height: int, width: int) -> Image:
    bars = np.zeros((height, width, 3), np.uint8)
    edges = np.rint(np.linspace(0, width, 8)).astype(int)
    split, foot = round(height * 0.67), round(height * 0.75)
    for n in range(7):
        bars[:split, edges[n] : edges[n + 1]] = _BARS[n]
        bars[split:foot, edges[n] : edges[n + 1]] = _CASTELLATIONS[n]
    for n, colour in enumerate(_FOOT):
        bars[foot:, round(_FOOT_EDGES[n] * width) : round(_FOOT_EDGES[n + 1] * width)] = colour
    return bars
