"""The open road: a highway by day or night, and a country road."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.frames import Image
from engines.rendered import roadside
from engines.rendered.ground import Ground, Strip, lay, meadow, tarmac
from engines.rendered.look import Look
from engines.rendered.nature import Backdrop, make_bushes, make_trees, make_woods
from engines.rendered.paint import Texture, glow, make_halo
from engines.rendered.scene import Brush, Item, Scene
from engines.rendered.traffic import Traffic
from engines.rendered.vehicles import Vehicle
from engines.rendered.view import NEAR_M, Camera, View

_SHOULDER_M = 2.7
_MEDIAN_M = 3.4
WHITE = np.array((224.0, 224.0, 218.0), np.float32)
YELLOW = np.array((216.0, 168.0, 52.0), np.float32)


class Highway(Scene):
    """Two to four lanes each way, guard rails, gantries, bridges, woods and fields."""

    def __init__(self, rng: np.random.Generator, look: Look, camera: Camera, fleet: list[Vehicle]) -> None:
        self._look = look
        self._left = -(look.lane + 0.5) * look.lane_m
        self._right = self._left + look.lanes * look.lane_m
        self._other = self._left - _MEDIAN_M
        self._backdrop = Backdrop(rng, look, camera)
        self._ground = Ground(rng, look, camera, self._paint)
        self._trees, self._bushes = make_trees(rng, look), make_bushes(rng, look)
        self._stands = make_woods(rng, look)
        self._signs = roadside.make_signs(rng)
        self._limit = roadside.make_limit(int(rng.choice((100, 120, 130))))
        self._concrete = roadside.make_concrete(rng)
        self._dice = rng.random((512, 6))
        self._railed = bool(rng.random() < 0.75)
        self._halo = make_halo() if look.dark else None
        self._lit = bool(rng.random() < 0.5)
        self._lanes = self._traffic(rng, fleet)

    def _traffic(self, rng: np.random.Generator, fleet: list[Vehicle]) -> list[Traffic]:
        look, lanes = self._look, []
        for lane in range(look.lanes):
            x = (lane - look.lane) * look.lane_m
            outer = lane == look.lanes - 1
            if lane == look.lane:
                lanes.append(
                    Traffic(
                        rng,
                        fleet,
                        x,
                        0.0,
                        0.5,
                        0.5 if outer else 0.1,
                        reach_m=300.0,
                        from_m=40.0,
                        sway_m=19.0,
                    )
                )
            else:
                speed = 2.6 * (look.lane - lane) + float(rng.uniform(-0.8, 0.8))
                lanes.append(Traffic(rng, fleet, x, speed, look.traffic, 0.55 if outer else 0.12))
        for lane in range(look.lanes):
            x = self._other - (lane + 0.5) * look.lane_m
            speed = -58.0 + 4.0 * lane
            lorries = 0.6 if lane == look.lanes - 1 else 0.08
            lanes.append(Traffic(rng, fleet, x, speed, look.traffic * 0.8, lorries, oncoming=True))
        return lanes

    def _paint(self, strip: Strip) -> NDArray[Any]:
        look = self._look
        colour = meadow(strip, look)
        outer = self._other - look.lanes * look.lane_m
        for left, right, inner in ((self._left, self._right, 0.7), (outer, self._other, 0.7)):
            own = left == self._left
            low, high = (left - inner, right + _SHOULDER_M) if own else (left - _SHOULDER_M, right + inner)
            colour = lay(colour, strip.between(low - 0.5, high + 0.5), (128.0, 120.0, 104.0))
            cover = strip.between(low, high)[..., None]
            colour = colour * (1 - cover) + tarmac(strip, look, left, right, look.lane_m) * cover
            colour = lay(
                colour, 0.10 * (strip.between(low, left) + strip.between(right, high)), (190.0, 186.0, 176.0)
            )
            for lane in range(1, look.lanes):
                colour = lay(colour, 0.9 * strip.dashes(left + lane * look.lane_m, 0.15, 6.0, 18.0), WHITE)
            colour = lay(colour, 0.92 * (strip.line(left, 0.2) + strip.line(right, 0.2)), WHITE)
        return colour

    def backdrop(self, canvas: Image, view: View) -> None:
        self._backdrop.draw(canvas, view)
        self._ground.draw(canvas, view)

    def items(self, view: View) -> list[Item]:
        found = self._woods(view)
        for _, z in roadside.places(view.distance_m, 50.0, NEAR_M, 160.0):
            found.append((z, partial(self._marker, view, z)))
        found += self._overhead(view)
        return found + self.traffic(view)

    def traffic(self, view: View) -> list[Item]:
        return [item for lane in self._lanes for item in lane.items(view, self._look, self._halo)]

    def _marker(self, view: View, z: float, canvas: Image) -> None:
        roadside.marker(canvas, view, self._look, self._right + _SHOULDER_M + 0.7, z)

    def rails(self, canvas: Image, view: View) -> None:
        """Draw what runs all along: the median's barrier and the rail at the right."""
        look = self._look
        middle = (self._left + self._other) / 2
        if self._railed:
            roadside.guard_rail(canvas, view, look, middle)
            roadside.guard_rail(canvas, view, look, self._right + _SHOULDER_M + 0.6)
        else:
            roadside.wall(canvas, view, look, middle, 0.85, (176, 174, 166))

    def _woods(self, view: View) -> list[Item]:
        look, found = self._look, []
        left = self._other - look.lanes * look.lane_m - _SHOULDER_M
        right = self._right + _SHOULDER_M
        for number, z in roadside.places(view.distance_m, 6.0, NEAR_M + 0.5, 330.0):
            dice = self._dice[number % 512]
            thick = look.woods * (0.3 + 1.1 * self._dice[(number // 22) % 512, 5])
            if dice[0] > thick:
                continue
            x = right + 8.0 + 22.0 * dice[2] if dice[1] < 0.6 else left - 6.0 - 22.0 * dice[2]
            if dice[4] < 0.3:
                art, width = self._bushes[int(dice[3] * len(self._bushes))], 2.5 + 2.5 * dice[2]
                x += 3.0 * (-1 if x > 0 else 1)
            elif z > 22 and dice[4] < 0.3 + 0.6 * thick:
                art, width = self._stands[int(dice[3] * len(self._stands))], 24.0 + 8.0 * dice[2]
                x += (10.0 + width / 2) * (1 if x > 0 else -1)
            else:
                art = self._trees[int(dice[3] * len(self._trees))]
                width = (7.0 + 6.0 * dice[2]) * art.size[0] / art.size[1]
            fade = min(1.0, (330.0 - z) / 60, 1.0 if width < 20 else (z - 22) / 10)
            found.append((z, self._set(view, art, x, z, width, fade)))
        return found

    def _set(self, view: View, art: Texture, x: float, z: float, width_m: float, opacity: float) -> Brush:
        return lambda c: roadside.upright(c, view, self._look, art, x, z, width_m, opacity=opacity)

    def _overhead(self, view: View) -> list[Item]:
        found: list[Item] = []
        for number, z in roadside.places(view.distance_m, 460.0, NEAR_M, 380.0):
            if self._dice[number % 512, 0] < 0.75:
                found.append((z, partial(self._gantry, view, z, number)))
        for number, z in roadside.places(view.distance_m - 170.0, 730.0, -12.0, 400.0):
            if self._dice[number % 512, 2] < 0.7:
                found.append((z + 6, partial(self._bridge, view, z)))
        for _, z in roadside.places(view.distance_m - 60.0, 390.0, NEAR_M, 140.0):
            found.append((z, partial(self._limit_sign, view, z)))
        if self._lit and self._look.dark:
            for _, z in roadside.places(view.distance_m, 45.0, NEAR_M, 260.0):
                found.append((z, partial(self._lamp, view, z)))
        return found

    def _gantry(self, view: View, z: float, number: int, canvas: Image) -> None:
        look = self._look
        signs = [
            (self._left + (lane + 0.5) * look.lane_m, self._signs[(number + lane) % len(self._signs)])
            for lane in range(look.lanes)
            if self._dice[(number * 7 + lane) % 512, 1] < 0.75
        ]
        roadside.gantry(canvas, view, look, z, (self._left - 1.6, self._right + _SHOULDER_M + 1.2), signs)

    def _bridge(self, view: View, z: float, canvas: Image) -> None:
        outer = self._other - self._look.lanes * self._look.lane_m - _SHOULDER_M - 2.2
        columns = (outer, (self._left + self._other) / 2, self._right + _SHOULDER_M + 2.2)
        roadside.bridge(canvas, view, self._look, self._concrete, z, columns)

    def _limit_sign(self, view: View, z: float, canvas: Image) -> None:
        x = self._right + _SHOULDER_M + 1.5
        roadside.post(canvas, view, self._look, x, z, 2.3, 0.09, (150, 152, 154))
        roadside.upright(
            canvas, view, self._look, self._limit, x, z, 1.0, 2.0, bright=0.3 if self._look.dark else 1.0
        )

    def _lamp(self, view: View, z: float, canvas: Image) -> None:
        x, y = roadside.lamp_post(canvas, view, self._look, self._right + _SHOULDER_M + 1.4, z)
        if self._halo is not None:
            glow(canvas, self._halo, x, y, 1.6 * view.camera.focal / z + 3, (255, 196, 120))
