"""What stands beside and over a road: guard rails, posts, lamps, signs, gantries, bridges."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.frames import Image
from engines.rendered.look import Look
from engines.rendered.nature import noise
from engines.rendered.paint import Colour, Texture, polygon, quad, shade, shadow, sprite, texture
from engines.rendered.view import NEAR_M, View

_BANDS = ((130.0, 400.0), (55.0, 130.0), (22.0, 55.0), (9.0, 22.0), (NEAR_M, 9.0))
_POINTS = 7


@cache
def _ribbon_depths() -> NDArray[Any]:
    return np.concatenate([np.geomspace(near, far * 1.01, _POINTS) for near, far in _BANDS])


def places(distance_m: float, every_m: float, near_m: float, far_m: float) -> list[tuple[int, float]]:
    """Return (number, depth) of things set every so many metres along the road, the farthest first."""
    first = int(np.ceil((distance_m + near_m) / every_m))
    last = int((distance_m + far_m) // every_m)
    return [(number, number * every_m - distance_m) for number in range(last, first - 1, -1)]


def ribbon(
    canvas: Image,
    view: View,
    look: Look,
    x: float,
    low_m: float,
    high_m: float,
    colour: Colour,
    gain: float = 1.0,
) -> None:
    """Draw an endless upright band along the road, paler with distance."""
    depths = _ribbon_depths()
    top, bottom = view.points(x, high_m, depths), view.points(x, low_m, depths)
    for number, (near, far) in enumerate(_BANDS):
        part = slice(number * _POINTS, (number + 1) * _POINTS)
        tone = look.seen(shade(colour, gain), (near * far) ** 0.5)
        polygon(canvas, np.concatenate([top[part], bottom[part][::-1]]), tone)


def guard_rail(canvas: Image, view: View, look: Look, x: float) -> None:
    """Draw a steel rail with its posts: a dark fold between two bright ones."""
    for _, z in places(view.distance_m, 4.0, NEAR_M, 70.0):
        post(canvas, view, look, x + 0.1 * np.sign(x), z, 0.62, 0.12, (112, 114, 116))
    for low, high, tone in ((0.44, 0.76, 150), (0.52, 0.59, 108), (0.65, 0.73, 186)):
        ribbon(canvas, view, look, x, low, high, (tone, tone + 2.0, tone + 5.0))


def wall(canvas: Image, view: View, look: Look, x: float, height_m: float, colour: Colour) -> None:
    """Draw a low concrete wall with a seam every few metres."""
    ribbon(canvas, view, look, x, 0.0, height_m, colour, 0.86)
    ribbon(canvas, view, look, x, height_m * 0.9, height_m, colour, 1.12)
    for _, z in places(view.distance_m, 6.0, NEAR_M, 60.0):
        post(canvas, view, look, x, z, height_m * 0.9, 0.03, shade(colour, 0.62))


def post(
    canvas: Image, view: View, look: Look, x: float, z: float, height_m: float, width_m: float, colour: Colour
) -> None:
    """Draw an upright post."""
    left, bottom = view.point(x - width_m / 2, 0, z)
    right, top = view.point(x + width_m / 2, height_m, z)
    right = max(right, left + 0.6)
    polygon(canvas, [(left, top), (right, top), (right, bottom), (left, bottom)], look.seen(colour, z))


def marker(canvas: Image, view: View, look: Look, x: float, z: float) -> None:
    """Draw a white post with a black band and a reflector."""
    post(canvas, view, look, x, z, 1.0, 0.14, (226, 226, 222))
    left, high = view.point(x - 0.08, 0.88, z)
    right, low = view.point(x + 0.08, 0.66, z)
    polygon(canvas, [(left, high), (right, high), (right, low), (left, low)], look.seen((28, 28, 30), z))


def lamp_post(
    canvas: Image, view: View, look: Look, x: float, z: float, reach_m: float = 2.2
) -> tuple[float, float]:
    """Draw a street lamp that reaches over the road; return where its lantern is."""
    post(canvas, view, look, x, z, 8.6, 0.17, (104, 108, 110))
    inner = x - reach_m * float(np.sign(x))
    start, end = view.point(x, 8.55, z), view.point(inner, 9.0, z)
    thick = max(0.6, 0.12 * view.camera.focal / z)
    arm = [start, end, (end[0], end[1] + thick), (start[0], start[1] + thick)]
    polygon(canvas, arm, look.seen((104, 108, 110), z))
    left, right = sorted((view.point(inner - 0.4, 9.0, z)[0], view.point(inner + 0.4, 9.0, z)[0]))
    polygon(
        canvas,
        [(left, end[1]), (right, end[1]), (right, end[1] + 1.5 * thick), (left, end[1] + 1.5 * thick)],
        look.seen((196, 198, 196), z),
    )
    return end


def upright(
    canvas: Image,
    view: View,
    look: Look,
    art: Texture,
    x: float,
    z: float,
    width_m: float,
    low_m: float = 0.0,
    high_m: float | None = None,
    bright: float = 1.0,
    opacity: float = 1.0,
) -> None:
    """Set a flat picture upright facing the camera; its height follows from its shape unless given.

    bright: 1 for things that the haze or the dark swallows, less for those that shine back.
    """
    wide, tall = art.size
    high_m = low_m + width_m * tall / wide if high_m is None else high_m
    left, bottom = view.point(x - width_m / 2, low_m, z)
    right, top = view.point(x + width_m / 2, high_m, z)
    sprite(canvas, art, (left, top, right - left, bottom - top), look.haze, look.hazed(z) * bright, opacity)


_NAMES = (
    "Aldermere",
    "Brackwater",
    "Colne",
    "Dunmoor",
    "Eastvale",
    "Farrowby",
    "Harling",
    "Kestrel",
    "Norrby",
    "Osten",
)


def make_signs(rng: np.random.Generator, count: int = 4) -> list[Texture]:
    """Draw direction signs with invented names."""
    field: Colour = ((28, 74, 150), (20, 96, 66))[int(rng.integers(2))]
    names = rng.permutation(len(_NAMES))
    return [_sign(field, _NAMES[names[2 * n]], _NAMES[names[2 * n + 1]], n % 2 == 0) for n in range(count)]


def _sign(field: Colour, first: str, second: str, ahead: bool) -> Texture:
    board = np.full((176, 256, 3), field, np.uint8)
    cv2.rectangle(board, (5, 5), (250, 170), (236, 238, 240), 3, cv2.LINE_AA)
    for text, line in ((first, 52), (second, 98)):
        cv2.putText(board, text, (18, line), cv2.FONT_HERSHEY_DUPLEX, 1.05, (240, 242, 244), 2, cv2.LINE_AA)
    end = (128, 116) if ahead else (168, 118)
    cv2.arrowedLine(board, (128, 162), end, (240, 242, 244), 6, cv2.LINE_AA, 0, 0.4)
    return texture(board)


def make_limit(number: int) -> Texture:
    """Draw a round speed limit."""
    colour = np.zeros((96, 96, 3), np.uint8)
    opacity = np.zeros((96, 96), np.uint8)
    cv2.circle(opacity, (48, 48), 46, 255, -1, cv2.LINE_AA)
    cv2.circle(colour, (48, 48), 46, (198, 30, 36), -1, cv2.LINE_AA)
    cv2.circle(colour, (48, 48), 34, (240, 240, 238), -1, cv2.LINE_AA)
    across = 12 if number >= 100 else 22
    cv2.putText(colour, str(number), (across, 60), cv2.FONT_HERSHEY_DUPLEX, 1.1, (24, 24, 26), 3, cv2.LINE_AA)
    return texture(colour, opacity)


def make_concrete(rng: np.random.Generator, tone: float = 168.0) -> Texture:
    """Draw weathered concrete: blotches, streaks that run down, joints."""
    field = noise(rng, 128, 512, (3, 12), 4) - 0.5
    streaks = noise(rng, 1, 512, (1, 60), 3)[0] - 0.5
    level = tone + 46 * field + 30 * streaks[None, :] * np.linspace(1.2, 0.3, 128)[:, None]
    level[:, ::64] *= 0.8
    level[:9] *= 0.84
    return texture(np.stack([level, level * 0.99, level * 0.955], axis=2))


def gantry(
    canvas: Image,
    view: View,
    look: Look,
    z: float,
    span: tuple[float, float],
    signs: list[tuple[float, Texture]],
) -> None:
    """Draw a frame over the road with direction signs on it."""
    steel: Colour = (124, 128, 132)
    for x in span:
        post(canvas, view, look, x, z, 7.1, 0.4, steel)
    for low, high in ((6.0, 6.18), (6.85, 7.05)):
        beam(canvas, view, look, z, span, low, high, steel)
    for x in np.arange(span[0], span[1] - 0.6, 1.2):
        (left, bottom), (right, top) = view.point(x, 6.1, z), view.point(x + 1.2, 6.95, z)
        thick = max(0.5, 0.08 * view.camera.focal / z)
        brace = [(left, bottom), (left + thick, bottom), (right + thick, top), (right, top)]
        polygon(canvas, brace, look.seen(steel, z))
    for x, art in signs:
        upright(canvas, view, look, art, x, z, 3.3, 5.5, bright=0.35 if look.dark else 1.0)


def beam(
    canvas: Image,
    view: View,
    look: Look,
    z: float,
    span: tuple[float, float],
    low: float,
    high: float,
    tone: Colour,
) -> None:
    """Draw a level bar across the road."""
    (left, bottom), (right, top) = view.point(span[0], low, z), view.point(span[1], high, z)
    top = min(top, bottom - 0.6)
    polygon(canvas, [(left, top), (right, top), (right, bottom), (left, bottom)], look.seen(tone, z))


def bridge(
    canvas: Image,
    view: View,
    look: Look,
    concrete: Texture,
    z: float,
    columns: tuple[float, ...],
    deep_m: float = 11.0,
) -> None:
    """Draw a bridge over the road from ``z`` on: its shadow on the road, underside, columns, edge beam and
    railing."""
    far = z + deep_m
    near = max(z, NEAR_M)
    if far <= NEAR_M:
        return
    wide = np.array([-70.0, 70.0, 70.0, -70.0])
    shadow(canvas, view.points(wide, 0.0, np.array([near, near, far, far])), 0.5 * max(look.sun, 0.35))
    for x in columns:
        for depth in (far - 1.5, z + 1.5):
            if depth > NEAR_M:
                post(canvas, view, look, x, depth, 5.4, 0.9, (138, 136, 130))
    under = view.points(wide, 5.3, np.array([near, near, far, far]))
    polygon(canvas, under, look.seen((58, 58, 58), near))
    if z > NEAR_M:
        edge = view.points(
            np.array([-70.0, 70.0, 70.0, -70.0]), np.array([6.7, 6.7, 5.25, 5.25]), np.full(4, z)
        )
        quad(canvas, concrete, edge, look.haze, look.hazed(z))
        beam(canvas, view, look, z, (-70.0, 70.0), 7.5, 7.6, (150, 154, 158))
        if z < 120:
            for x in np.arange(-40, 40, 2.0):
                rail(canvas, view, look, float(x), z)


def rail(canvas: Image, view: View, look: Look, x: float, z: float) -> None:
    """Draw one upright of a bridge's railing."""
    (left, bottom), (right, top) = view.point(x, 6.7, z), view.point(x + 0.08, 7.6, z)
    right = max(right, left + 0.5)
    polygon(
        canvas, [(left, top), (right, top), (right, bottom), (left, bottom)], look.seen((150, 154, 158), z)
    )


def opening(
    view: View, z: float, left_m: float, right_m: float, high_m: float
) -> tuple[float, float, float, float]:
    """Return (left, top, right, bottom) in pixels of a rectangular way through at a depth, standing on the
    road."""
    left, bottom = view.point(left_m, 0.0, z)
    right, top = view.point(right_m, high_m, z)
    return left, top, right, bottom
