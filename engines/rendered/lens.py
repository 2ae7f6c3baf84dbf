"""The camera itself: it shakes with the car, its corners are darker, its sensor is noisy, clouds change the
light."""

from __future__ import annotations

import cv2
import numpy as np

from engines.frames import Image
from engines.rendered.look import Look
from engines.rendered.paint import Colour, mix

_SPARE = 64
_HEADROOM = 1.25


class Lens:
    """Turns a canvas, somewhat larger than the picture, into the picture."""

    def __init__(self, rng: np.random.Generator, look: Look, size: tuple[int, int]) -> None:
        """``size``: (width, height) of the picture."""
        self._size = width, height = size
        self.margin = max(2, round(width * 0.012))
        self.canvas = (width + 2 * self.margin, height + 2 * self.margin)
        self._scale = width / 640
        self._shake = float(rng.uniform(0.7, 1.5))
        self._phases = rng.uniform(0, 2 * np.pi, 6)
        self._sun = look.sun
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        radius = np.hypot((x + 0.5) / width - 0.5, ((y + 0.5) / height - 0.5) * 0.8) / 0.64
        falloff = 1 - float(rng.uniform(0.22, 0.36)) * radius**2.4
        tint = np.array(look.tint, np.float32) / _HEADROOM
        self._falloff = np.clip(falloff[..., None] * tint * 255, 0, 255).astype(np.uint8)
        grain = rng.normal(0, 2.3, (height + _SPARE, width + _SPARE, 3)).astype(np.float32)
        self._lighter = np.clip(np.rint(grain), 0, 255).astype(np.uint8)
        self._darker = np.clip(np.rint(-grain), 0, 255).astype(np.uint8)
        self._bonnet = _bonnet(rng, look, size) if look.bonnet else None

    def expose(self, canvas: Image, seed: int, index: int, time_s: float, distance_m: float) -> Image:
        """Return the picture of a canvas at a moment; the noise depends on seed and index alone."""
        width, height = self._size
        image = cv2.warpAffine(
            canvas, self._shaken(time_s, distance_m), (width, height), borderMode=cv2.BORDER_REPLICATE
        )
        if self._bonnet is not None:
            top, through, covering = self._bonnet
            part = image[top:]
            cv2.add(cv2.multiply(part, through, scale=1 / 255), covering, part)
        cloud = 0.5 + 0.5 * float(np.sin(distance_m / 190 + self._phases[4]))
        gain = 1.0 - 0.17 * self._sun * cloud**4 + 0.03 * float(np.sin(time_s * 0.7 + self._phases[5]))
        image = cv2.multiply(image, self._falloff, scale=gain * _HEADROOM / 255)
        y, x = np.random.default_rng((seed, index)).integers(0, _SPARE, 2)
        area = (slice(y, y + height), slice(x, x + width))
        cv2.add(image, self._lighter[area], image)
        return cv2.subtract(image, self._darker[area])  # type: ignore[return-value]

    def _shaken(self, time_s: float, distance_m: float) -> np.ndarray:
        """Return the affine map of a canvas to the picture: slow pitch and quick shakes, less than the
        margin."""
        a, b, c, d = self._phases[:4]
        slow = 1.7 * np.sin(time_s * 1.9 + a) + 1.1 * np.sin(time_s * 4.7 + b)
        quick = 0.65 * np.sin(distance_m * 0.9 + c) + 0.5 * np.sin(time_s * 37.0 + d)
        down = (slow + quick) * self._shake * 0.75 * self._scale
        across = 0.7 * np.sin(time_s * 2.3 + d) * self._shake * self._scale
        roll = 0.0013 * np.sin(time_s * 1.3 + c) * self._shake
        width, height = self._size
        cos, sin = np.cos(roll), np.sin(roll)
        x, y = width / 2, height / 2
        left = x - cos * (x + self.margin) + sin * (y + self.margin) + across
        top = y - sin * (x + self.margin) - cos * (y + self.margin) + down
        return np.array([[cos, -sin, left], [sin, cos, top]])


def _bonnet(rng: np.random.Generator, look: Look, size: tuple[int, int]) -> tuple[int, Image, Image]:
    """Return (first row, what passes, what covers) of the edge of the car's own bonnet, mirroring the sky."""
    width, height = size
    rows = max(4, round(height * float(rng.uniform(0.07, 0.12))))
    top = height - rows
    x = (np.arange(width, dtype=np.float32) + 0.5) / width * 2 - 1
    y = np.arange(rows, dtype=np.float32)[:, None] / rows
    edge = 0.16 + 0.6 * np.abs(x) ** 2.6 + 0.05 * np.exp(-((x / 0.5) ** 2))
    inside = np.clip((y - edge[None, :]) * rows * 0.6, 0, 1)
    paint: Colour = ((36, 40, 46), (112, 116, 122), (40, 58, 92), (120, 34, 34))[int(rng.integers(4))]
    mirrored = np.array(mix(paint, look.sky_low, 0.42), np.float32)
    depth = np.clip((y - edge[None, :]) / 0.5, 0, 1)[..., None]
    crease = 1 - 0.14 * np.exp(-(((np.abs(x) - 0.45) / 0.03) ** 2))[None, :, None]
    colour = (mirrored * (1 - depth) + np.array(paint, np.float32) * depth) * crease
    through = np.repeat(np.rint((1 - inside) * 255)[..., None], 3, axis=2).astype(np.uint8)
    return top, through, np.clip(colour * inside[..., None], 0, 255).astype(np.uint8)
