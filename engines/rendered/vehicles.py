"""Cars, vans and lorries, drawn once from behind, from the front and from the side."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from engines.rendered.paint import Colour, Texture, shade, texture

BELT = 0.60
"""Height of the edge between a car's hull and its windows, as a share of its height."""

_PAINTS: tuple[Colour, ...] = (
    (214, 216, 218), (176, 180, 184), (62, 66, 72), (32, 34, 38), (148, 28, 32), (36, 66, 118),
    (92, 104, 112),
    (196, 188, 170), (58, 92, 84), (228, 228, 226),
)  # fmt: skip
_BOXES: tuple[Colour, ...] = ((226, 226, 222), (206, 208, 206), (40, 84, 140), (188, 70, 40), (70, 116, 84))
_UNIT = 256
_LENGTH_M = 4.4
_SLOPE = {False: 0.70, True: 0.82}
_LEAN = {False: ((0.25, 0.85), (1.0, 1.85)), True: ((0.05, 0.3), (0.75, 1.45))}


@dataclass(frozen=True, slots=True, eq=False)
class End:
    """A vehicle from behind or in front: the hull, and the cabin whose pane leans back from ``back_m`` to
    ``top_m``.

    A box has no cabin: then ``upper`` is None and ``lower`` is everything.
    """

    lower: Texture
    upper: Texture | None = None
    back_m: float = 0.0
    top_m: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Vehicle:
    """A kind of vehicle in one colour. width, height and length in metres."""

    width: float
    height: float
    length: float
    rear: End
    braking: End
    front: End
    side: Texture
    cabin: Texture | None
    slope: float
    paint: Colour

    @property
    def lamp_height(self) -> float:
        """Height of its lamps above the road in metres."""
        return 0.95 if self.height > 3 else self.height * 0.5


def make_vehicles(rng: np.random.Generator, cars: int = 7, lorries: int = 3) -> list[Vehicle]:
    """Draw a fleet: cars and vans first, then lorries."""
    paints = rng.permutation(len(_PAINTS))
    boxes = rng.permutation(len(_BOXES))
    fleet = [_car(rng, _PAINTS[paints[n % len(_PAINTS)]]) for n in range(cars)]
    return fleet + [_lorry(_BOXES[boxes[n % len(_BOXES)]]) for n in range(lorries)]


class _Sketch:
    """A drawing in units of its width: x from -1 to 1, y from 0 (the road) to ``height`` (both in half
    widths)."""

    def __init__(self, wide: int, tall: int, unit: float) -> None:
        self.colour = np.zeros((tall, wide, 3), np.uint8)
        self.opacity = np.zeros((tall, wide), np.uint8)
        self._unit = unit

    def fill(self, points: list[tuple[float, float]], tone: Colour, mirror: bool = False) -> None:
        tall, wide = self.opacity.shape
        places = np.array(points) * (1, -1) * self._unit + (wide / 2, tall - 1)
        fixed = np.rint(places * 16).astype(np.int32)
        cv2.fillPoly(self.colour, [fixed], tone, cv2.LINE_AA, 4)
        cv2.fillPoly(self.opacity, [fixed], 255, cv2.LINE_AA, 4)
        if mirror:
            self.fill([(-x, y) for x, y in points], tone)

    def bar(
        self, left: float, low: float, right: float, high: float, tone: Colour, mirror: bool = False
    ) -> None:
        self.fill([(left, low), (right, low), (right, high), (left, high)], tone, mirror)

    def wheel(self, x: float, radius: float) -> None:
        tall, wide = self.opacity.shape
        place = (round((x * self._unit + wide / 2) * 16), round((tall - 1 - radius * self._unit) * 16))
        for share, tone in (
            (1.0, (22, 22, 24)),
            (0.62, (128, 130, 134)),
            (0.5, (74, 76, 80)),
            (0.16, (150, 150, 152)),
        ):
            size = round(radius * share * self._unit * 16)
            cv2.circle(self.colour, place, size, tone, -1, cv2.LINE_AA, 4)
            if share == 1.0:
                cv2.circle(self.opacity, place, size, 255, -1, cv2.LINE_AA, 4)

    def texture(self, top: float = 1.14, bottom: float = 0.72, keep: float = 1.0) -> Texture:
        """Return the drawing lit from above; of its height only the upper share ``keep``."""
        tall = self.opacity.shape[0]
        rows = round(tall * keep)
        light = np.linspace(top, bottom, tall, dtype=np.float32)[:, None, None]
        return texture(np.clip(self.colour * light, 0, 255)[:rows], self.opacity[:rows])


def _car(rng: np.random.Generator, paint: Colour) -> Vehicle:
    tall = bool(rng.random() < 0.4)
    height = float(rng.uniform(1.68, 1.95) if tall else rng.uniform(1.42, 1.52))
    width = float(rng.uniform(1.78, 1.92))
    ratio = 2 * height / width
    return Vehicle(
        width,
        height,
        float(rng.uniform(4.1, 4.8)),
        _car_end(paint, ratio, tall, "rear"),
        _car_end(paint, ratio, tall, "braking"),
        _car_end(paint, ratio, tall, "front"),
        *_car_side(paint, tall),
        _SLOPE[tall],
        paint,
    )


def _car_end(paint: Colour, ratio: float, tall: bool, end: str) -> End:
    """A car from behind or from the front; ratio: of its height to half its width."""
    shape = (_UNIT, int(_UNIT / 2 * ratio) + 1, _UNIT / 2 - 1)
    h = ratio
    belt, slope = BELT * h, _SLOPE[tall]
    upper = _Sketch(*shape)
    upper.fill([(-0.93, belt), (0.93, belt), (slope, h), (-slope, h)], shade(paint, 0.94))
    glass = [(-0.81, belt), (0.81, belt), (slope - 0.07, 0.92 * h), (-slope + 0.07, 0.92 * h)]
    upper.fill(glass, (36, 42, 50))
    sky = [(-0.72, belt + 0.14 * h), (0.2, belt + 0.14 * h), (slope - 0.2, 0.9 * h), (-slope + 0.12, 0.9 * h)]
    upper.fill(sky, (68, 80, 94))
    upper.bar(-0.46, belt, -0.16, belt + 0.13 * h, (28, 30, 34), mirror=True)
    lower = _Sketch(*shape)
    lower.bar(0.60, 0, 0.92, 0.30 * h, (18, 18, 20), mirror=True)
    lower.bar(-0.9, 0.10 * h, 0.9, 0.2 * h, (24, 24, 26))
    hull = [(-0.97, 0.17 * h), (0.97, 0.17 * h), (1.0, 0.45 * h), (0.94, belt + 0.01 * h)]
    lower.fill(hull + [(-x, y) for x, y in hull[:1:-1]], paint)
    lower.bar(-0.95, 0.16 * h, 0.95, 0.25 * h, shade(paint, 0.5))
    lower.bar(-0.95, 0.435 * h, 0.95, 0.445 * h, shade(paint, 0.7))
    if end == "front":
        lower.bar(-0.52, 0.32 * h, 0.52, 0.43 * h, (22, 23, 26))
        lamp = [(0.58, 0.42 * h), (0.95, 0.45 * h), (0.92, 0.54 * h), (0.60, 0.49 * h)]
        lower.fill(lamp, (242, 244, 246), mirror=True)
        lower.bar(-0.26, 0.22 * h, 0.26, 0.29 * h, (232, 232, 226))
    else:
        _tail(lower, h, end == "braking")
        if end == "braking":
            upper.bar(-0.24, 0.93 * h, 0.24, 0.955 * h, (255, 70, 56))
    back, top = _LEAN[tall][end == "front"]
    return End(lower.texture(), upper.texture(keep=1 - BELT), back, top)


def _tail(sketch: _Sketch, h: float, braking: bool) -> None:
    lamp, core = ((255, 44, 34), (255, 176, 150)) if braking else ((150, 22, 24), (188, 56, 50))
    sketch.fill([(0.60, 0.46 * h), (0.97, 0.46 * h), (0.94, 0.58 * h), (0.70, 0.575 * h)], lamp, mirror=True)
    sketch.fill([(0.72, 0.49 * h), (0.93, 0.49 * h), (0.91, 0.545 * h), (0.75, 0.545 * h)], core, mirror=True)
    sketch.bar(-0.27, 0.32 * h, 0.27, 0.40 * h, (232, 232, 226))
    sketch.bar(-0.2, 0.345 * h, 0.2, 0.375 * h, (88, 90, 96))


def _car_side(paint: Colour, tall: bool) -> tuple[Texture, Texture]:
    """A car from its left, driving left: x from -1 (front) to 1 (rear) over its length. Hull and cabin."""
    top = (149 if tall else 131) / 191
    belt = BELT * top
    (rear, rear_top), (front, front_top) = ((1 - 2 * np.array(lean) / _LENGTH_M) for lean in _LEAN[tall])
    hull, cabin = (_Sketch(384, round(top * 191) + 1, 191) for _ in range(2))
    hull.bar(-0.9, 0.10, 0.9, 0.2, (24, 24, 26))
    nose = [(-front, belt), (-0.95, belt * 0.82), (-0.995, 0.3)]
    hull.fill([(-0.985, 0.14), (0.975, 0.14), (0.998, 0.30), (0.99, belt), *nose], paint)
    hull.bar(-0.94, 0.30, 0.96, 0.315, shade(paint, 0.8))
    hull.bar(0.94, 0.36, 0.995, 0.44, (160, 26, 26))
    hull.bar(-0.98, 0.29, -0.90, 0.36, (238, 240, 240))
    for x in (0.10, -front + 0.06):
        hull.bar(x - 0.006, 0.16, x + 0.006, belt, shade(paint, 0.62))
    for x in (-0.62, 0.60):
        hull.wheel(x, 0.155)
    cabin.fill([(-front, belt), (rear, belt), (rear_top, top), (-front_top, top)], shade(paint, 0.93))
    low, high = belt + 0.01, belt + (top - belt) * 0.86
    cabin.fill([(-front + 0.10, low), (0.07, low), (0.07, high), (-front_top + 0.04, high)], (38, 45, 53))
    cabin.fill([(0.12, low), (rear - 0.07, low), (rear_top - 0.05, high), (0.12, high)], (38, 45, 53))
    cabin.fill(
        [
            (-front + 0.25, low + 0.07),
            (0.04, low + 0.07),
            (0.04, high - 0.02),
            (-front_top + 0.08, high - 0.02),
        ],
        (64, 76, 88),
    )
    return hull.texture(1.12, 0.8), cabin.texture(1.12, 0.8, keep=1 - BELT)


def _lorry(box: Colour) -> Vehicle:
    return Vehicle(
        2.5,
        3.85,
        11.0,
        End(_lorry_end(box, "rear")),
        End(_lorry_end(box, "braking")),
        End(_lorry_front(box)),
        _lorry_side(box),
        None,
        1.0,
        box,
    )


def _lorry_end(box: Colour, end: str) -> Texture:
    h = 3.08
    sketch = _Sketch(_UNIT, int(_UNIT / 2 * h) + 1, _UNIT / 2 - 1)
    sketch.bar(0.42, 0, 0.94, 0.62, (20, 20, 22), mirror=True)
    sketch.bar(-0.4, 0.34, 0.4, 0.62, (34, 34, 36))
    sketch.bar(-1, 0.78, 1, h - 0.01, box)
    sketch.bar(-0.95, 0.84, -0.012, h - 0.09, shade(box, 0.93))
    sketch.bar(0.012, 0.84, 0.95, h - 0.09, shade(box, 0.93))
    for x in (-0.56, -0.24, 0.24, 0.56):
        sketch.bar(x - 0.012, 0.86, x + 0.012, h - 0.12, shade(box, 0.6))
        sketch.bar(x - 0.05, 1.28, x + 0.05, 1.38, shade(box, 0.5))
    for y in (1.1, 1.9, 2.7):
        for x in (-0.97, 0.93):
            sketch.bar(x, y, x + 0.04, y + 0.12, shade(box, 0.55))
    sketch.bar(-1, 0.72, 1, 0.80, (70, 72, 76))
    sketch.bar(-0.97, 0.40, 0.97, 0.52, (176, 40, 36))
    for x in (-0.8, -0.4, 0.0, 0.4):
        sketch.fill([(x, 0.40), (x + 0.17, 0.40), (x + 0.27, 0.52), (x + 0.10, 0.52)], (232, 230, 222))
    lamp = (255, 52, 40) if end == "braking" else (150, 24, 26)
    sketch.bar(0.62, 0.56, 0.97, 0.69, lamp, mirror=True)
    sketch.bar(-0.2, 0.55, 0.2, 0.68, (224, 224, 216))
    return sketch.texture(1.08, 0.8)


def _lorry_front(box: Colour) -> Texture:
    h = 3.08
    sketch = _Sketch(_UNIT, int(_UNIT / 2 * h) + 1, _UNIT / 2 - 1)
    sketch.bar(-1, 1.0, 1, h - 0.01, shade(box, 0.92))
    sketch.bar(0.6, 0, 0.95, 0.5, (20, 20, 22), mirror=True)
    sketch.bar(-0.98, 0.3, 0.98, 2.6, box)
    sketch.bar(-0.88, 1.5, 0.88, 2.25, (40, 46, 54))
    sketch.bar(-0.7, 1.85, 0.3, 2.18, (70, 82, 96))
    sketch.bar(-0.6, 0.62, 0.6, 1.3, shade(box, 0.45))
    sketch.bar(0.66, 0.5, 0.93, 0.72, (244, 244, 240), mirror=True)
    return sketch.texture(1.08, 0.8)


def _lorry_side(box: Colour) -> Texture:
    """A lorry from its left, driving left, in half lengths."""
    sketch = _Sketch(512, 180, 255)
    top = 179 / 255
    sketch.bar(-0.95, 0.10, 0.97, 0.17, (34, 34, 36))
    sketch.bar(-0.72, 0.18, 0.997, top, box)
    sketch.bar(-0.995, 0.09, -0.75, 0.52, shade(box, 0.8))
    sketch.bar(-0.985, 0.3, -0.83, 0.46, (42, 48, 56))
    sketch.bar(-0.72, 0.18, 0.997, 0.2, shade(box, 0.6))
    for x in np.linspace(-0.6, 0.9, 9):
        sketch.bar(x, 0.2, x + 0.006, top, shade(box, 0.86))
    sketch.bar(-0.4, 0.38, 0.6, 0.46, shade(box, 0.55) if sum(box) > 500 else (226, 226, 220))
    for x in (-0.84, 0.42, 0.58, 0.74):
        sketch.wheel(x, 0.085)
    return sketch.texture(1.06, 0.82)
