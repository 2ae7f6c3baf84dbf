"""A road tunnel: tiled walls, a dark ceiling with rows of lamps, smoke in the distance."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.frames import Image
from engines.rendered.ground import PERIOD_M, Ground, Strip, lay, tarmac
from engines.rendered.look import Look
from engines.rendered.nature import noise
from engines.rendered.scene import Item
from engines.rendered.traffic import Traffic
from engines.rendered.vehicles import Vehicle
from engines.rendered.view import Camera, View

HIGH_M = 5.6
_LAMP_M = 12.0
_LONG_PX = 864
_BANDS_M = (0.0, 12.0, 24.0, 48.0, 100.0, 1e9)
_END_M = 340.0


class Tunnel:
    """The lanes of one direction between two walls."""

    def __init__(self, rng: np.random.Generator, look: Look, camera: Camera, fleet: list[Vehicle]) -> None:
        self._look, self._camera = look, camera
        self._road_left = -(look.lane + 0.5) * look.lane_m
        self._road_right = self._road_left + look.lanes * look.lane_m
        self.left, self.right = self._road_left - 1.3, self._road_right + 1.5
        self._ground = Ground(rng, look, camera, self._paint)
        self._walls = _scales(_wall(rng))
        self._ceilings = _scales(_ceiling(rng, int((self.right - self.left) * 16)))
        self._lanes = []
        for lane in range(look.lanes):
            own = lane == look.lane
            speed = 0.0 if own else 2.2 * (look.lane - lane)
            density, heavy = (0.5, 0.3) if own else (look.traffic, 0.3)
            start = 24.0 if own else -18.0
            x = (lane - look.lane) * look.lane_m
            self._lanes.append(Traffic(rng, fleet, x, speed, density, heavy, reach_m=280.0, from_m=start))
        self._samples = np.geomspace(0.6, _END_M, 160)

    def _paint(self, strip: Strip) -> NDArray[Any]:
        look = self._look
        colour = tarmac(strip, look, self._road_left, self._road_right, look.lane_m)
        kerb = strip.between(-90, self._road_left - 0.5) + strip.between(self._road_right + 0.6, 90)
        colour = lay(colour, kerb, (128.0, 126.0, 120.0))
        for lane in range(1, look.lanes):
            dash = strip.dashes(self._road_left + lane * look.lane_m, 0.15, 6.0, 18.0)
            colour = lay(colour, 0.9 * dash, (226.0, 224.0, 214.0))
        edges = strip.line(self._road_left, 0.2) + strip.line(self._road_right, 0.2)
        colour = lay(colour, 0.9 * edges, (226.0, 224.0, 214.0))
        middle = (self.left + self.right) / 2
        pool = np.cos(2 * np.pi * (strip.z / _LAMP_M - 0.5)) * np.exp(-(((strip.x - middle) / 7) ** 2))
        return colour * (0.66 + 0.12 * pool)[..., None] * np.array((1.06, 0.98, 0.84), np.float32)  # type: ignore[no-any-return]

    def backdrop(self, canvas: Image, view: View) -> None:
        """Paint road, ceiling and walls."""
        first = self._camera.first_row
        canvas[: first + 1] = np.array(self._look.haze, np.uint8)
        self._ground.draw(canvas, view)
        self._draw_ceiling(canvas[:first], view)
        self._draw_walls(canvas, view)

    def rails(self, canvas: Image, view: View) -> None:
        """The walls are all there is, and they are painted."""

    def items(self, view: View) -> list[Item]:
        """Return the traffic: there is nothing else."""
        return self.traffic(view)

    def traffic(self, view: View) -> list[Item]:
        return [item for lane in self._lanes for item in lane.items(view, self._look)]

    def _draw_ceiling(self, above: Image, view: View) -> None:
        camera = self._camera
        rows = np.arange(above.shape[0], dtype=np.float32) + 0.5
        depths = camera.focal * (HIGH_M - camera.height_m) / (camera.horizon - rows)
        columns = np.arange(camera.width, dtype=np.float32) + 0.5 - camera.centre_x
        bend = view.bends(depths).astype(np.float32)
        for low, high, art in zip(_BANDS_M[:-1], _BANDS_M[1:], self._ceilings, strict=True):
            chosen = np.flatnonzero((depths >= low) & (depths < min(high, _END_M)))
            if chosen.size == 0:
                continue
            part = slice(int(chosen[0]), int(chosen[-1]) + 1)
            z = depths[part]
            across = (columns[None, :] * (z / camera.focal)[:, None] - bend[part, None] - self.left) / (
                self.right - self.left
            )
            along = ((view.distance_m + z) % PERIOD_M / PERIOD_M * art.shape[0] - 0.5).astype(np.float32)
            seen = cv2.remap(
                art,
                (across * art.shape[1] - 0.5).astype(np.float32),
                np.repeat(along[:, None], camera.width, axis=1),
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_WRAP,
            )
            above[part] = self._dimmed(seen, z[:, None])

    def _draw_walls(self, canvas: Image, view: View) -> None:
        camera = self._camera
        columns = np.arange(camera.width, dtype=np.float64) + 0.5
        scale = camera.focal / self._samples
        bend = view.bends(self._samples)
        left = np.maximum.accumulate(camera.centre_x + scale * (self.left + bend))
        right = np.minimum.accumulate(camera.centre_x + scale * (self.right + bend))
        depths = np.minimum(
            np.interp(columns, left, self._samples, right=1e9),
            np.interp(-columns, -right, self._samples, right=1e9),
        )
        drop = (np.arange(camera.height, dtype=np.float32) + 0.5 - camera.horizon) / camera.focal
        for low, high, art in zip(_BANDS_M[:-1], _BANDS_M[1:], self._walls, strict=True):
            chosen = (depths >= low) & (depths < min(high, _END_M))
            for part in _runs(chosen):
                nearest = float(depths[part].min())
                top = camera.horizon - camera.focal * (HIGH_M - camera.height_m) / nearest
                bottom = camera.horizon + camera.focal * camera.height_m / nearest
                rows = slice(max(0, int(top)), max(0, int(bottom) + 2))
                self._draw_wall(canvas[rows, part], view, depths[part].astype(np.float32), drop[rows], art)

    def _draw_wall(self, part: Image, view: View, z: NDArray[Any], drop: NDArray[Any], art: Image) -> None:
        height = self._camera.height_m - drop[:, None] * z[None, :]
        inside = ((height >= 0) & (height <= HIGH_M)).astype(np.uint8)
        down = (1 - height / HIGH_M) * art.shape[1] - 0.5
        along = ((view.distance_m + z.astype(np.float64)) % PERIOD_M / PERIOD_M * art.shape[0] - 0.5).astype(
            np.float32
        )
        seen = cv2.remap(
            art,
            np.clip(down, 0, art.shape[1] - 1).astype(np.float32),
            np.repeat(along[None, :], down.shape[0], axis=0),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP,
        )
        np.copyto(part, self._dimmed(seen, z[None, :]), where=inside.astype(bool)[..., None])

    def _dimmed(self, seen: Any, z: NDArray[Any]) -> Any:
        """Return a surface with the smoke before it; z broadcasts to its rows and columns."""
        lost = (1 - np.exp(-z / self._look.haze_m))[..., None]
        gain, veil = np.empty_like(seen), np.empty_like(seen)
        gain[...] = (255 * (1 - lost)).astype(np.uint8)
        veil[...] = (lost * np.array(self._look.haze, np.float32)).astype(np.uint8)
        return cv2.add(cv2.multiply(seen, gain, scale=1 / 255), veil)


def _runs(chosen: NDArray[np.bool_]) -> list[slice]:
    """Return the stretches of true as slices."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], chosen.astype(np.int8), [0]])))
    return [slice(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _scales(art: NDArray[Any]) -> list[Image]:
    """Return a surface (along × across) for each band of depths: a quarter along and a half across from one
    to the next."""
    found = []
    for level in range(len(_BANDS_M) - 1):
        size = (max(8, art.shape[1] >> level), max(6, art.shape[0] >> (2 * level)))
        found.append(np.clip(cv2.resize(art, size, interpolation=cv2.INTER_AREA), 0, 255).astype(np.uint8))
    return found


def _wall(rng: np.random.Generator) -> NDArray[Any]:
    """Return a wall's colour, along × from the ceiling down: pale tiles below, bare concrete above, doors,
    signs."""
    across = 128
    down = np.linspace(0, 1, across, dtype=np.float32)[None, :]
    along = (np.arange(_LONG_PX, dtype=np.float32) / _LONG_PX * PERIOD_M)[:, None]
    grain = noise(rng, across, _LONG_PX, (4, 40), 4).T
    light = 0.74 + 0.30 * np.cos(2 * np.pi * (along / _LAMP_M - 0.5)) * np.exp(-(((down - 0.25) / 0.35) ** 2))
    tiled = down > 0.42
    level = np.where(tiled, 178 - 40 * (down - 0.42), 92.0) * (0.84 + 0.32 * grain)
    level = np.where(
        tiled & ((np.arange(_LONG_PX) % 24 < 1)[:, None] | (np.arange(across) % 12 < 1)), level * 0.78, level
    )
    colour = level[..., None] * np.array((1.04, 0.98, 0.86), np.float32)
    stripe = (down > 0.40) & (down < 0.43)
    colour[np.broadcast_to(stripe, level.shape)] = (186, 132, 40)
    colour *= light[..., None]
    colour[:, 120:] *= 0.5
    colour[100:118, 58:122] = (34, 120, 72)
    colour[104:114, 66:78] = (206, 240, 214)
    colour[400:412, 84:100] = (204, 92, 30)
    colour[700:712, 84:100] = (204, 92, 30)
    for start in range(0, _LONG_PX, 144):
        colour[start : start + 10, 90:96] = (240, 226, 170)
    return colour


def _ceiling(rng: np.random.Generator, across: int) -> NDArray[Any]:
    """Return the ceiling's colour, along × across: concrete with joints, two rows of lamps, cable trays."""
    grain = noise(rng, across, _LONG_PX, (6, 50), 4).T
    along = (np.arange(_LONG_PX, dtype=np.float32) / _LONG_PX * PERIOD_M)[:, None]
    level = 64 * (0.75 + 0.5 * grain) * (1 + 0.35 * np.cos(2 * np.pi * (along / _LAMP_M - 0.5)))
    level[:: _LONG_PX // 18] *= 0.6
    colour = level[..., None] * np.array((1.08, 0.98, 0.80), np.float32)
    place = np.arange(across) / across
    for row in (0.28, 0.72):
        near = np.exp(-(((place - row) * across / 26) ** 2))[None, :]
        lamp = np.exp(-(((along % _LAMP_M - _LAMP_M / 2) / 2.2) ** 4))
        colour += (110 * near * np.exp(-(((along % _LAMP_M - _LAMP_M / 2) / 4) ** 2)))[..., None] * np.array(
            (1.0, 0.86, 0.6)
        )
        bright = (np.abs(place - row) * across < 5)[None, :] * (lamp > 0.4)
        colour[bright] = (255, 246, 214)
    for row in (0.1, 0.5, 0.9):
        colour[:, np.abs(place - row) * across < 3] *= 0.45
    return colour.astype(np.float32)
