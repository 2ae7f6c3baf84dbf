"""Where things on a road fall in the picture: a pinhole camera on a road that bends.

Road coordinates in metres: x to the right of the camera's own lane, y above the road, z ahead of the camera
along the road. Angles of bends are small, so a bend only shifts what is ahead sideways.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NEAR_M = 1.0
FAR_M = 420.0
_STEP_M = 4.0


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera looking along the road. width and height of the canvas and the rest in pixels, height_m above
    it."""

    width: int
    height: int
    focal: float
    centre_x: float
    horizon: float
    height_m: float

    def row_depths(self) -> NDArray[np.float32]:
        """Return the depth in metres of the road at each row below the horizon, from ``first_row`` on."""
        rows = np.arange(self.first_row, self.height)
        return (self.focal * self.height_m / (rows + 0.5 - self.horizon)).astype(np.float32)

    @property
    def first_row(self) -> int:
        """The first row that is wholly below the horizon."""
        return int(np.ceil(self.horizon))


class Path:
    """The course of a road: curvature is a sum of slow waves along it, so course and heading are known in
    closed form."""

    def __init__(self, rng: np.random.Generator, curvature: float) -> None:
        """``curvature``: of the tightest bend, in 1/m."""
        lengths = np.array([1900.0, 1130.0, 610.0]) * rng.uniform(0.85, 1.2, 3)
        self._number = 2 * np.pi / lengths
        self._amplitude = curvature * np.array([0.4, 0.4, 0.2])
        self._phase = rng.uniform(0, 2 * np.pi, 3)

    def heading(self, distance_m: float) -> float:
        """Return the direction of the road in radians at a distance along it, positive to the right."""
        return float(self._heading(distance_m))

    def _heading(self, distance_m: float) -> np.float64:
        angle = self._number * distance_m + self._phase
        return np.float64(-(self._amplitude / self._number * np.cos(angle)).sum())

    def bend(self, distance_m: float, ahead_m: Floats) -> Floats:
        """Return how far right of straight ahead the road is, ``ahead_m`` further on, in metres."""
        scale = self._amplitude / self._number**2
        angle = self._number * (distance_m + ahead_m[:, None]) + self._phase
        here = (scale * np.sin(self._number * distance_m + self._phase)).sum()
        there = (scale * np.sin(angle)).sum(axis=1)
        return here - there - self._heading(distance_m) * ahead_m  # type: ignore[no-any-return]


class View:
    """One moment of a drive: projects road coordinates to the canvas. time_s and distance_m since the
    drive's start. hidden_s, kept_s: of the traffic, vehicles that were beside the car at any of those moments are not
    seen, or those alone that were at that one: see ``without`` and ``only``."""

    __slots__ = (
        "_bend",
        "_depths",
        "camera",
        "distance_m",
        "heading",
        "hidden_s",
        "kept_s",
        "lateral_m",
        "time_s",
    )

    def __init__(
        self, camera: Camera, path: Path, time_s: float, distance_m: float, lateral_m: float
    ) -> None:
        """``lateral_m``: how far right of the middle of its lane the camera is."""
        self.camera, self.time_s, self.distance_m, self.lateral_m = camera, time_s, distance_m, lateral_m
        self.hidden_s: tuple[float, ...] = ()
        self.kept_s: float | None = None
        self.heading = path.heading(distance_m)
        self._depths = np.arange(0, FAR_M * 2.5, _STEP_M)
        self._bend = path.bend(distance_m, self._depths)

    def without(self, *moments_s: float) -> View:
        """The same without the vehicles that were beside the car at those moments: they are of another scene."""
        other = copy(self)
        other.hidden_s = (*self.hidden_s, *moments_s)
        return other

    def only(self, moment_s: float) -> View:
        """The same with no vehicle but those that were beside the car at that moment, when it left the scene: they are
        seen still."""
        other = copy(self)
        other.kept_s = moment_s
        return other

    def bends(self, z: NDArray[np.floating]) -> Floats:
        """Return the road's sideways shift at depths ``z``, the camera's own place in its lane taken off."""
        shift: Floats = np.interp(z, self._depths, self._bend) - self.lateral_m
        return shift

    def bend(self, z: float) -> float:
        """Return ``bends`` for a single depth."""
        place = min(z, FAR_M * 2) / _STEP_M
        index = int(place)
        part = place - index
        return float(self._bend[index] * (1 - part) + self._bend[index + 1] * part) - self.lateral_m

    def point(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Return the canvas position of one point; ``z`` must be at least NEAR_M."""
        camera = self.camera
        scale = camera.focal / z
        return camera.centre_x + scale * (x + self.bend(z)), camera.horizon + scale * (camera.height_m - y)

    def points(self, x: Floats | float, y: Floats | float, z: Floats) -> Floats:
        """Return N × 2 canvas positions."""
        camera = self.camera
        scale = camera.focal / z
        across = camera.centre_x + scale * (x + self.bends(z))
        return np.stack([across, camera.horizon + scale * (camera.height_m - y)], axis=1)
