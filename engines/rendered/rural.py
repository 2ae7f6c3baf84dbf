"""A country road: two lanes, a yellow middle line, trees and hedges close by, telegraph poles, a farm now
and then."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.frames import Image
from engines.rendered import roadside
from engines.rendered.ground import Ground, Strip, lay, meadow, tarmac
from engines.rendered.look import Look
from engines.rendered.nature import Backdrop, make_bushes, make_trees, make_woods
from engines.rendered.paint import Texture, polygon
from engines.rendered.scene import Brush, Item
from engines.rendered.traffic import Traffic
from engines.rendered.vehicles import Vehicle
from engines.rendered.view import NEAR_M, Camera, View

_YELLOW = (214.0, 164.0, 44.0)
_POLE_M = 42.0


class Rural:
    """One lane each way; the camera is in the right one."""

    def __init__(self, rng: np.random.Generator, look: Look, camera: Camera, fleet: list[Vehicle]) -> None:
        self._look = look
        self._right, self._middle = look.lane_m / 2, -look.lane_m / 2
        self._left = self._middle - look.lane_m
        self._solid = bool(rng.random() < 0.5)
        self._backdrop = Backdrop(rng, look, camera)
        self._ground = Ground(rng, look, camera, self._paint)
        self._trees, self._bushes = make_trees(rng, look), make_bushes(rng, look)
        self._stands = make_woods(rng, look, 2)
        self._dice = rng.random((512, 6))
        cars = [vehicle for vehicle in fleet if vehicle.height < 3]
        self._lanes = [
            Traffic(rng, fleet, -look.lane_m, -44.0, 0.45 * look.traffic, 0.2, oncoming=True),
            Traffic(rng, cars, 0.0, 0.0, 0.25, 0.0, reach_m=200.0, from_m=38.0),
        ]

    def _paint(self, strip: Strip) -> NDArray[Any]:
        look = self._look
        colour = meadow(strip, look)
        colour = lay(colour, 0.8 * strip.between(self._left - 0.9, self._right + 0.9), (134.0, 118.0, 88.0))
        cover = strip.between(self._left - 0.35, self._right + 0.35)[..., None]
        colour = colour * (1 - cover) + tarmac(strip, look, self._left, self._right, look.lane_m) * cover
        if self._solid:
            pair = strip.line(self._middle - 0.14, 0.11) + strip.line(self._middle + 0.14, 0.11)
            colour = lay(colour, 0.9 * pair, _YELLOW)
        else:
            colour = lay(colour, 0.9 * strip.dashes(self._middle, 0.14, 3.0, 9.0), _YELLOW)
        edges = strip.line(self._left + 0.1, 0.12) + strip.line(self._right - 0.1, 0.12)
        return lay(colour, 0.75 * edges, (218.0, 216.0, 208.0))

    def backdrop(self, canvas: Image, view: View) -> None:
        """Paint sky, fields and road."""
        self._backdrop.draw(canvas, view)
        self._ground.draw(canvas, view)

    def rails(self, canvas: Image, view: View) -> None:
        """A country road has verges, no rails."""

    def items(self, view: View) -> list[Item]:
        """Return trees, hedges, fences, poles, traffic."""
        found = self._green(view)
        for number, z in roadside.places(view.distance_m, 2.5, NEAR_M, 75.0):
            if self._dice[(number // 30) % 512, 3] < 0.5:
                found.append((z, self._fence(view, z)))
        for _, z in roadside.places(view.distance_m, _POLE_M, NEAR_M, 240.0):
            found.append((z, self._pole(view, z)))
        return found + self.traffic(view)

    def traffic(self, view: View) -> list[Item]:
        return [item for lane in self._lanes for item in lane.items(view, self._look)]

    def _green(self, view: View) -> list[Item]:
        found: list[Item] = []
        for number, z in roadside.places(view.distance_m, 5.0, NEAR_M + 0.5, 230.0):
            for hand in (0, 1):
                dice = self._dice[(2 * number + hand) % 512]
                thick = 0.45 + 0.55 * self._dice[(number // 16 + 7 * hand) % 512, 5]
                if dice[0] > thick:
                    continue
                aside = 2.8 + 4.5 * dice[1]
                if dice[2] < 0.34:
                    art, width = self._bushes[int(dice[3] * len(self._bushes))], 2.6 + 2.2 * dice[4]
                elif dice[2] > 0.88 and z > 20:
                    art, width = self._stands[int(dice[3] * len(self._stands))], 26.0
                    aside += 20.0
                else:
                    art = self._trees[int(dice[3] * len(self._trees))]
                    width = (6.5 + 6.0 * dice[4]) * art.size[0] / art.size[1]
                x = self._right + aside if hand else self._left - aside
                fade = min(1.0, (230.0 - z) / 50, 1.0 if width < 20 else (z - 20) / 8)
                found.append((z, self._set(view, art, x, z, width, fade)))
        return found

    def _set(self, view: View, art: Texture, x: float, z: float, width_m: float, opacity: float) -> Brush:
        return lambda c: roadside.upright(c, view, self._look, art, x, z, width_m, opacity=opacity)

    def _fence(self, view: View, z: float) -> Brush:
        def draw(canvas: Image) -> None:
            x = self._left - 2.1
            roadside.post(canvas, view, self._look, x, z, 1.15, 0.12, (112, 92, 70))
            for high in (0.55, 1.0):
                ends = view.points(
                    x, np.array([high, high, high - 0.07, high - 0.07]), np.array([z, z + 2.5, z + 2.5, z])
                )
                polygon(canvas, ends, self._look.seen((126, 106, 82), z))

        return draw

    def _pole(self, view: View, z: float) -> Brush:
        def draw(canvas: Image) -> None:
            look, x = self._look, self._right + 2.4
            roadside.post(canvas, view, look, x, z, 7.4, 0.24, (88, 74, 60))
            roadside.beam(canvas, view, look, z, (x - 0.9, x + 0.9), 6.85, 7.0, (88, 74, 60))
            depths = np.linspace(z, z + _POLE_M, 9)
            sag = 7.0 - 0.9 * (1 - (2 * (depths - z) / _POLE_M - 1) ** 2)
            for across in (-0.8, 0.8):
                wire = view.points(x + across, sag, depths)
                polygon(
                    canvas,
                    np.concatenate([wire, wire[::-1] + np.array([0.0, 0.7])]),
                    look.seen((48, 50, 54), z),
                )

        return draw
