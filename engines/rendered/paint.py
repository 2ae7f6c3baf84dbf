"""Brushes: anti-aliased polygons, and textures with see-through parts, scaled or put in perspective, on a
canvas.

A canvas is an H × W × 3 uint8 RGB image that is painted on in place. Positions are in pixels, sub-pixel ones
count: a thing that moves slowly moves smoothly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.frames import Image

Colour = tuple[float, float, float]

_SHIFT = 4
_LIMIT_PX = 30000.0


@dataclass(frozen=True, slots=True, eq=False)
class Texture:
    """A picture with opacity at several scales, each half the one before: (colour × opacity, opacity), H × W
    × 3 uint8."""

    levels: tuple[tuple[Image, Image], ...]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the finest level in pixels."""
        height, width = self.levels[0][0].shape[:2]
        return width, height

    def level(self, shrink: float) -> tuple[Image, Image]:
        """Return the level to use where ``shrink`` pixels of the finest one fall on one of the canvas."""
        number = int(np.log2(shrink) + 0.4) if shrink > 1 else 0
        return self.levels[min(number, len(self.levels) - 1)]


def texture(colour: NDArray[Any], opacity: NDArray[Any] | None = None) -> Texture:
    """Make a texture of a colour (H × W × 3, 0..255) and an opacity (H × W, 0..255; None: opaque)."""
    if opacity is None:
        opacity = np.full(colour.shape[:2], 255, np.uint8)
    alpha: Any = np.repeat(np.asarray(opacity, np.float32)[..., None], 3, axis=2)
    tone: Any = np.asarray(colour, np.float32) * alpha / 255
    levels = []
    while True:
        levels.append((np.clip(tone, 0, 255).astype(np.uint8), np.clip(alpha, 0, 255).astype(np.uint8)))
        height, width = tone.shape[:2]
        if min(height, width) < 6:
            return Texture(tuple(levels))
        half = (max(1, width // 2), max(1, height // 2))
        tone = cv2.resize(tone, half, interpolation=cv2.INTER_AREA)
        alpha = cv2.resize(alpha, half, interpolation=cv2.INTER_AREA)


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    """Return ``colour`` with ``share`` of ``other`` in it."""
    keep = 1 - share
    return (
        colour[0] * keep + other[0] * share,
        colour[1] * keep + other[1] * share,
        colour[2] * keep + other[2] * share,
    )


def shade(colour: Colour, gain: float) -> Colour:
    """Return ``colour`` brighter or darker by a gain, within range."""
    return (min(255.0, colour[0] * gain), min(255.0, colour[1] * gain), min(255.0, colour[2] * gain))


def polygon(
    canvas: Image, points: NDArray[np.floating] | Sequence[tuple[float, float]], colour: Colour
) -> None:
    """Fill a polygon with smooth edges; parts outside the canvas are cut off."""
    corners = np.clip(np.asarray(points), -_LIMIT_PX, _LIMIT_PX) * (1 << _SHIFT)
    cv2.fillPoly(canvas, [np.rint(corners).astype(np.int32)], colour, cv2.LINE_AA, _SHIFT)


def shadow(
    canvas: Image, points: NDArray[np.floating] | Sequence[tuple[float, float]], strength: float
) -> None:
    """Darken a polygon by ``strength`` (0 none, 1 black)."""
    corners = np.clip(np.asarray(points, np.float64), -_LIMIT_PX, _LIMIT_PX)
    box = _box(canvas, *corners.min(axis=0) - 1, *corners.max(axis=0) + 1)
    if box is None:
        return
    x, y, right, bottom = box
    mask = np.full((bottom - y, right - x, 3), 255, np.uint8)
    level = 255 * (1 - strength)
    polygon(mask, corners - (x, y), (level, level, level))
    part = canvas[y:bottom, x:right]
    cv2.multiply(part, mask, part, scale=1 / 255)


def sprite(
    canvas: Image,
    art: Texture,
    place: tuple[float, float, float, float],
    haze: Colour = (0, 0, 0),
    share: float = 0.0,
    opacity: float = 1.0,
) -> None:
    """Put a texture upright in a rectangle (left, top, width, height), with ``share`` of ``haze`` before
    it."""
    left, top, width, height = place
    box = _box(canvas, left, top, left + width, top + height)
    if box is None or width < 0.3 or height < 0.3 or opacity <= 0:
        return
    x, y, right, bottom = box
    colour, alpha = art.level(art.size[0] / width)
    tall, wide = colour.shape[:2]
    across, down = width / wide, height / tall
    matrix = np.array(
        [[across, 0, left - x + across / 2 - 0.5], [0, down, top - y + down / 2 - 0.5]], np.float64
    )
    shape = (right - x, bottom - y)
    seen = cv2.warpAffine(colour, matrix, shape)
    cover = cv2.warpAffine(alpha, matrix, shape)
    _lay(canvas[y:bottom, x:right], seen, cover, haze, share, opacity)


def quad(
    canvas: Image,
    art: Texture,
    corners: NDArray[np.floating],
    haze: Colour = (0, 0, 0),
    share: float = 0.0,
    part: tuple[float, float] = (0.0, 1.0),
    gain: float = 1.0,
    opacity: float = 1.0,
) -> None:
    """Put a texture in perspective on four corners (top left, top right, bottom right, bottom left).

    part: from where to where of the texture's width to use, where near geometry is cut off. gain: of its
    brightness.
    """
    corners = np.clip(np.asarray(corners, np.float32), -_LIMIT_PX, _LIMIT_PX)
    box = _box(canvas, *corners.min(axis=0) - 1, *corners.max(axis=0) + 1)
    if box is None or abs(cv2.contourArea(corners)) < 1.5:
        return
    x, y, right, bottom = box
    reach = corners.max(axis=0) - corners.min(axis=0)
    shrink = min(
        art.size[0] * (part[1] - part[0]) / max(float(reach[0]), 1.0),
        art.size[1] / max(float(reach[1]), 1.0) * 2,
    )
    colour, alpha = art.level(shrink)
    tall, wide = colour.shape[:2]
    first, last = part[0] * wide - 0.5, part[1] * wide - 0.5
    source = np.array([[first, -0.5], [last, -0.5], [last, tall - 0.5], [first, tall - 0.5]], np.float32)
    matrix = cv2.getPerspectiveTransform(source, corners - np.array([x, y], np.float32))
    shape = (right - x, bottom - y)
    seen = cv2.warpPerspective(colour, matrix, shape)
    cover = cv2.warpPerspective(alpha, matrix, shape)
    if gain != 1.0:
        seen = cv2.convertScaleAbs(seen, alpha=gain)
    _lay(canvas[y:bottom, x:right], seen, cover, haze, share, opacity)


def glow(canvas: Image, halo: Image, x: float, y: float, radius: float, colour: Colour) -> None:
    """Add a soft light of ``radius`` pixels and ``colour`` round a point; ``halo`` is what ``make_halo``
    gives."""
    box = _box(canvas, x - radius, y - radius, x + radius, y + radius)
    if box is None or radius < 0.4:
        return
    left, top, right, bottom = box
    scale = 2 * radius / halo.shape[0]
    matrix = np.array(
        [[scale, 0, x - radius - left + scale / 2 - 0.5], [0, scale, y - radius - top + scale / 2 - 0.5]],
        np.float64,
    )
    light = cv2.warpAffine(halo, matrix, (right - left, bottom - top))
    part = canvas[top:bottom, left:right]
    cv2.add(part, _scaled(light, colour, 1 / 255), part)


def make_halo(pixels: int = 64) -> Image:
    """Return a round light, bright in the middle and fading to nothing at its edge, pixels × pixels × 3."""
    axis = (np.arange(pixels) + 0.5) / pixels * 2 - 1
    distance = np.hypot(axis[:, None], axis[None, :])
    level = np.clip(1 - distance, 0, 1) ** 2.6 * 0.75 + np.clip(1 - distance * 4.5, 0, 1) * 0.6
    return np.repeat((np.clip(level, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


def _scaled(image: Any, colour: Colour, scale: float) -> Any:
    return cv2.multiply(image, (*colour, 0.0), scale=scale)  # type: ignore[call-overload]


def _lay(under: Image, seen: Any, cover: Any, haze: Colour, share: float, opacity: float) -> None:
    if share > 0.01:
        veil = _scaled(cover, haze, share / 255)
        seen = cv2.addWeighted(seen, 1 - share, veil, 1, 0)
    if opacity < 1:
        seen = cv2.convertScaleAbs(seen, alpha=opacity)
        cover = cv2.convertScaleAbs(cover, alpha=opacity)
    kept = cv2.multiply(under, cv2.bitwise_not(cover), scale=1 / 255)
    cv2.add(kept, seen, under)


def _box(
    canvas: Image, left: float, top: float, right: float, bottom: float
) -> tuple[int, int, int, int] | None:
    """Return the whole-pixel box (left, top, right, bottom) within the canvas, or None where nothing is in
    it."""
    height, width = canvas.shape[:2]
    x, y = max(0, int(np.floor(left))), max(0, int(np.floor(top)))
    x_end, y_end = min(width, int(np.ceil(right)) + 1), min(height, int(np.ceil(bottom)) + 1)
    return (x, y, x_end, y_end) if x_end > x and y_end > y else None
