"""Vehicles on the road: one set in perspective with its shadow and lamps, and the flow of a whole lane."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.frames import Image
from engines.rendered.look import Look
from engines.rendered.paint import Colour, glow, polygon, quad, shade, shadow, sprite
from engines.rendered.scene import Item
from engines.rendered.vehicles import BELT, End, Vehicle
from engines.rendered.view import NEAR_M, View

BESIDE_M, AWAY_M = 12.0, 80.0
"""How near a vehicle's near end must be to fill much of the picture, and how far one is that is missed by nobody."""


def draw_vehicle(
    canvas: Image,
    view: View,
    look: Look,
    vehicle: Vehicle,
    x: float,
    z: float,
    braking: bool = False,
    oncoming: bool = False,
    opacity: float = 1.0,
    halo: Image | None = None,
) -> None:
    """Set a vehicle on the road, its near end ``z`` ahead and its middle ``x`` to the right; with lamps
    given a halo."""
    half = vehicle.width / 2
    ahead, far = max(z, NEAR_M), z + vehicle.length
    if far <= NEAR_M + 0.2:
        return
    if ahead < 90:
        ring = np.array([(-1.08, ahead), (1.08, ahead), (1.02, far), (-1.02, far)])
        shadow(canvas, view.points(x + ring[:, 0] * half, 0.0, ring[:, 1]), 0.55 if not look.dark else 0.3)
    beside = x + view.bend(ahead)
    if abs(beside) > half and ahead < 120:
        _draw_side(canvas, view, look, vehicle, x, z, oncoming)
    if z > NEAR_M:
        end = vehicle.front if oncoming else vehicle.braking if braking else vehicle.rear
        _draw_end(canvas, view, look, vehicle, end, x, z, opacity)
        if halo is not None:
            _draw_lamps(canvas, view, vehicle, x, z, braking, oncoming, halo)


def _draw_end(
    canvas: Image, view: View, look: Look, vehicle: Vehicle, end: End, x: float, z: float, opacity: float
) -> None:
    half, lost = vehicle.width / 2, look.hazed(z)
    left, bottom = view.point(x - half, 0, z)
    right, top = view.point(x + half, vehicle.height, z)
    if end.upper is not None:
        back, peak = z + end.back_m, z + end.top_m
        belt = vehicle.height * BELT
        depths = np.array([peak, peak, back, back])
        heights = np.array([vehicle.height, vehicle.height, belt, belt])
        pane = view.points(x + half * np.array([-1, 1, 1, -1]), heights, depths)
        edge = bottom + (top - bottom) * BELT
        if opacity >= 1 and edge > pane[2, 1]:
            inset = (right - left) * 0.03
            lid = [
                *pane[:1:-1] + np.array([[inset, -1], [-inset, -1]]),
                (right - inset, edge + 1),
                (left + inset, edge + 1),
            ]
            polygon(canvas, lid, look.seen(shade(vehicle.paint, 1.06), z))
        quad(canvas, end.upper, pane, look.haze, lost, opacity=opacity)
    sprite(canvas, end.lower, (left, top, right - left, bottom - top), look.haze, lost, opacity)


def _draw_side(
    canvas: Image, view: View, look: Look, vehicle: Vehicle, x: float, z: float, oncoming: bool
) -> None:
    near, far = max(z, NEAR_M), z + vehicle.length
    hand = -1 if x + view.bend(near) > 0 else 1
    seen = (far - near) / vehicle.length
    part, order = ((1 - seen, 1.0), [1, 0, 3, 2]) if oncoming else ((0.0, seen), [0, 1, 2, 3])
    depths = np.array([far, near, near, far])
    lit = 0.82 if hand < 0 else 0.95
    wide, belt, top = vehicle.width / 2, vehicle.height * BELT, vehicle.height
    if vehicle.cabin is not None:
        across = x + hand * wide * np.array([vehicle.slope, vehicle.slope, 0.95, 0.95])
        corners = view.points(across, np.array([top, top, belt, belt]), depths)[order]
        quad(canvas, vehicle.cabin, corners, look.haze, look.hazed(near), part, lit)
    corners = view.points(x + hand * wide, np.array([top, top, 0.0, 0.0]), depths)[order]
    quad(canvas, vehicle.side, corners, look.haze, look.hazed(near), part, lit)


def _draw_lamps(
    canvas: Image,
    view: View,
    vehicle: Vehicle,
    x: float,
    z: float,
    braking: bool,
    oncoming: bool,
    halo: NDArray[Any],
) -> None:
    """Lamps at night, with the light they throw on the lens; they shine farther than the body is seen."""
    fade = float(np.exp(-z / 260))
    size = view.camera.focal / z
    tone: Colour = (255, 240, 205) if oncoming else (255, 40, 26)
    reach = size * (1.5 if oncoming else 0.95 if braking else 0.6) + view.camera.width * 0.006
    for side in (-0.38, 0.38):
        across, down = view.point(x + side * vehicle.width, vehicle.lamp_height, z)
        glow(canvas, halo, across, down, reach, shade(tone, fade))
        glow(
            canvas,
            halo,
            across,
            down,
            max(size * 0.22, 1.2),
            shade((255, 250, 235) if oncoming else (255, 120, 96), fade),
        )


def _driven(
    view: View,
    look: Look,
    halo: Image | None,
    vehicle: Vehicle,
    x: float,
    z: float,
    braking: bool,
    oncoming: bool,
    opacity: float,
    canvas: Image,
) -> None:
    draw_vehicle(canvas, view, look, vehicle, x, z, braking, oncoming, opacity, halo)


class Traffic:
    """The vehicles of one lane. They keep their distances, so they never run into each other.

    lane_x: middle of the lane. speed: of the lane relative to the camera's usual speed, in m/s.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        fleet: list[Vehicle],
        lane_x: float,
        speed_m_s: float,
        density: float,
        lorries: float,
        oncoming: bool = False,
        reach_m: float = 320.0,
        from_m: float = -18.0,
        sway_m: float = 7.0,
    ) -> None:
        self.lane_x, self._speed, self._oncoming, self._reach = lane_x, speed_m_s, oncoming, reach_m
        self._from, self._sway = from_m, sway_m
        heavy = [vehicle for vehicle in fleet if vehicle.height > 3]
        light = [vehicle for vehicle in fleet if vehicle.height <= 3]
        places, chosen = [], []
        place = float(rng.uniform(0, 40))
        while place < reach_m - 26:
            pool = heavy if heavy and rng.random() < lorries else light
            vehicle = pool[int(rng.integers(len(pool)))]
            places.append(place)
            chosen.append((vehicle, float(rng.normal(0, 0.16)), float(rng.uniform(0, 6.28))))
            place += vehicle.length + 14 + float(rng.exponential(38 / density))
        self._places, self._chosen = np.array(places), chosen
        self._phase = float(rng.uniform(0, 6.28))

    def items(self, view: View, look: Look, halo: Image | None = None) -> list[Item]:
        """Return (depth, brush) of each vehicle in sight; with lamps, given a halo."""
        hidden = frozenset(n for moment_s in view.hidden_s for n in self._beside(moment_s))
        kept = None if view.kept_s is None else self._beside(view.kept_s)
        if kept is not None and self._oncoming:
            return []  # gone in a moment, and there may be a wall between
        return [
            (z, partial(_driven, view, look, halo, vehicle, x, z, braking, oncoming, opacity))
            for n, (z, x, vehicle, braking, oncoming, opacity) in enumerate(self.at(view.time_s))
            if z + vehicle.length > NEAR_M
            and n not in hidden
            and (kept is None or (n in kept and z < AWAY_M))
        ]

    def _beside(self, time_s: float) -> frozenset[int]:
        """Which vehicles filled much of the picture at a time."""
        return frozenset(
            n
            for n, (z, _, vehicle, *_) in enumerate(self.at(time_s))
            if z < BESIDE_M and z + vehicle.length > NEAR_M
        )

    def at(self, time_s: float) -> list[tuple[float, float, Vehicle, bool, bool, float]]:
        """Return (z, x, vehicle, braking, oncoming, opacity) of each vehicle at a time."""
        sway = self._sway * np.sin(time_s * 0.11 + self._phase)
        slows = not self._oncoming and float(np.cos(time_s * 0.11 + self._phase)) < -0.80
        shift = self._speed * time_s + sway
        found = []
        for place, (vehicle, aside, phase) in zip(self._places, self._chosen, strict=True):
            z = float(place + shift if self._speed == 0 else (place + shift) % self._reach) + self._from
            x = self.lane_x + aside + 0.12 * float(np.sin(0.4 * time_s + phase))
            opacity = min(1.0, (self._reach + self._from - z) / 50)
            found.append((z, x, vehicle, slows, self._oncoming, opacity))
        return found
