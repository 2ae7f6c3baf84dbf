"""A city street: houses close on both sides, parked cars, people, junctions with lights and zebra
crossings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.frames import Image
from engines.rendered import roadside
from engines.rendered.ground import Ground, Strip, lay
from engines.rendered.look import Look
from engines.rendered.nature import Backdrop, make_trees, noise
from engines.rendered.paint import Colour, Texture, mix, polygon, quad, shade, sprite, texture
from engines.rendered.scene import Brush, Item
from engines.rendered.traffic import Traffic, draw_vehicle
from engines.rendered.vehicles import Vehicle
from engines.rendered.view import NEAR_M, Camera, View

_BLOCK_M = 96.0
_HOUSES = 4
_HOUSE_M = 20.0
_STREET_M = _BLOCK_M - _HOUSES * _HOUSE_M
_KERB_RIGHT, _KERB_LEFT = 4.0, -7.2
_PAVEMENT_M = 3.6
_FAR_M = 230.0
_WALLS: tuple[Colour, ...] = (
    (176, 120, 92), (206, 192, 164), (150, 92, 74), (188, 184, 178), (214, 196, 150), (132, 140, 148),
    (196, 168, 150),
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class House:
    """A front in perspective, the colour of its plain side, and its height in metres."""

    front: Texture
    side: Colour
    height: float


class City:
    """One lane each way between parked cars, houses of four to eight storeys, a junction every hundred
    metres."""

    def __init__(self, rng: np.random.Generator, look: Look, camera: Camera, fleet: list[Vehicle]) -> None:
        self._look = look
        self._backdrop = Backdrop(rng, look, camera)
        self._ground = Ground(rng, look, camera, self._paint)
        self._houses = [_house(rng, _WALLS[n % len(_WALLS)]) for n in rng.permutation(9)]
        self._trees = make_trees(rng, look, 3)
        self._people = [_person(rng) for _ in range(6)]
        self._lights = {"red": _light("red"), "green": _light("green")}
        self._parked = [vehicle for vehicle in fleet if vehicle.height < 3]
        self._dice = rng.random((512, 8))
        self._lanes = [
            Traffic(rng, fleet, -3.2, -21.0, 0.8 * look.traffic, 0.08, oncoming=True, reach_m=240.0),
            Traffic(rng, self._parked, 0.0, 0.0, 0.5, 0.0, reach_m=150.0, from_m=16.0),
        ]

    def _paint(self, strip: Strip) -> NDArray[Any]:
        look = self._look
        level = 0.94 + 0.2 * strip.grain
        slabs = 0.16 * strip.line(_KERB_RIGHT + 1.8, 0.06) + 0.16 * strip.line(_KERB_LEFT - 1.8, 0.06)
        joints = 0.14 * strip.dashes(0.0, 400.0, 0.06, 1.5)
        stone = (level - slabs - joints)[..., None] * np.array((164.0, 158.0, 148.0), np.float32)
        worn = 0.95 + 0.16 * strip.grain - 0.07 * np.exp(-(((np.abs(strip.x + 1.6) - 1.6) / 0.7) ** 2))
        road = worn[..., None] * np.array(look.asphalt, np.float32) * 0.92
        cover = strip.between(_KERB_LEFT, _KERB_RIGHT)[..., None]
        colour = stone * (1 - cover) + road * cover
        for kerb in (_KERB_LEFT, _KERB_RIGHT):
            colour = lay(colour, strip.line(kerb, 0.18), (190.0, 188.0, 182.0))
        for bay in (_KERB_LEFT + 2.2, _KERB_RIGHT - 2.2):
            colour = lay(colour, 0.45 * strip.dashes(bay, 0.08, 1.0, 6.0), (210.0, 208.0, 200.0))
        return colour  # type: ignore[no-any-return]

    def backdrop(self, canvas: Image, view: View) -> None:
        """Paint sky, street and pavements."""
        self._backdrop.draw(canvas, view)
        self._ground.draw(canvas, view)
        for _, z in roadside.places(view.distance_m, _BLOCK_M, -_STREET_M, _FAR_M):
            self._junction(canvas, view, z)

    def rails(self, canvas: Image, view: View) -> None:
        """Nothing runs along a street that the ground does not show."""

    def items(self, view: View) -> list[Item]:
        """Return houses, parked cars, people, trees, lamps, lights, traffic."""
        return self._terraces(view) + self._kerbside(view) + self.traffic(view)

    def traffic(self, view: View) -> list[Item]:
        return [item for lane in self._lanes for item in lane.items(view, self._look)]

    def _junction(self, canvas: Image, view: View, z: float) -> None:
        """The side street from ``z`` to ``z`` + its width, and the zebra crossings at both of its edges."""
        look = self._look
        near, far = max(z, NEAR_M), z + _STREET_M - 2.0
        wide = np.array([-60.0, 60.0, 60.0, -60.0])
        if far > near + 0.5:
            outline = view.points(wide, 0.0, np.array([near, near, far, far]))
            polygon(canvas, outline, look.seen(shade(look.asphalt, 0.88), near))
        for start in (z - 4.5, z + _STREET_M - 1.0):
            first, last = max(start, NEAR_M), start + 3.2
            if last < first + 0.2 or first > 110:
                continue
            tone = look.seen((206, 206, 200), first)
            for x in np.arange(_KERB_LEFT + 0.5, _KERB_RIGHT - 0.4, 1.1):
                bar = view.points(
                    np.array([x, x + 0.55, x + 0.55, x]), 0.0, np.array([first, first, last, last])
                )
                polygon(canvas, bar, tone)

    def _terraces(self, view: View) -> list[Item]:
        found: list[Item] = []
        for block, start in roadside.places(view.distance_m, _BLOCK_M, -_BLOCK_M, _FAR_M):
            for number in range(_HOUSES):
                z = start + _STREET_M + number * _HOUSE_M
                if z + _HOUSE_M < NEAR_M + 0.5 or z > _FAR_M:
                    continue
                dice = self._dice[(block * _HOUSES + number) % 512]
                for hand, share in ((1, dice[0]), (-1, dice[1])):
                    house = self._houses[int(share * len(self._houses))]
                    found.append((z + 0.5 * _HOUSE_M, self._built(view, house, hand, z, number == 0)))
        return found

    def _built(self, view: View, house: House, hand: int, z: float, corner: bool) -> Brush:
        def draw(canvas: Image) -> None:
            look = self._look
            x = (_KERB_RIGHT + _PAVEMENT_M) if hand > 0 else (_KERB_LEFT - _PAVEMENT_M)
            near, far = max(z, NEAR_M), z + _HOUSE_M
            lost = look.hazed(near + 0.3 * (far - near))
            top = house.height
            if z > NEAR_M:
                edge = np.array([x, x + hand * 14.0, x + hand * 14.0, x])
                flank = view.points(edge, np.array([0.0, 0.0, top, top]), np.full(4, z))
                polygon(canvas, flank, look.seen(shade(house.side, 0.62), z))
                if corner:
                    face = flank[[2, 3, 0, 1]] if hand < 0 else flank[[3, 2, 1, 0]]
                    quad(canvas, house.front, face, look.haze, lost, gain=0.72)
            seen = (near - z) / _HOUSE_M
            depths = np.array([near, far, far, near])
            corners = view.points(float(x), np.array([top, top, 0.0, 0.0]), depths)
            lit = 1.0 if hand < 0 else 1.0 - 0.26 * look.sun
            quad(canvas, house.front, corners, look.haze, lost, (seen, 1.0), lit)

        return draw

    def _kerbside(self, view: View) -> list[Item]:
        look, found = self._look, []
        for number, z in roadside.places(view.distance_m, 6.4, -4.0, 100.0):
            along = (number * 6.4) % _BLOCK_M
            clear = along < _STREET_M + 6.0 or along > _BLOCK_M - 13.0
            dice = self._dice[number % 512]
            for x, share, away in ((_KERB_RIGHT - 1.1, dice[2], False), (_KERB_LEFT + 1.1, dice[3], True)):
                if share < 0.72 and not clear:
                    vehicle = self._parked[int(share / 0.72 * len(self._parked))]
                    if z + vehicle.length > NEAR_M:
                        found.append(
                            (z, _driven(view, look, vehicle, x, z, False, away, min(1.0, (100 - z) / 20)))
                        )
            if number % 4 == 0 and not clear and z > NEAR_M:
                tree = self._trees[number % len(self._trees)]
                for x in (_KERB_RIGHT + 0.7, _KERB_LEFT - 0.7):
                    width = (5.0 + 2.5 * dice[4]) * tree.size[0] / tree.size[1]
                    found.append((z, self._set(view, tree, x, z, width)))
        for _, z in roadside.places(view.distance_m - 16.0, 32.0, NEAR_M, 140.0):
            found.append((z, self._lamp(view, z)))
        for _, z in roadside.places(view.distance_m, _BLOCK_M, 4.0 + NEAR_M, 150.0):
            found.append((z - 4.0, self._signal(view, z - 4.0)))
        return found + self._walkers(view)

    def _walkers(self, view: View) -> list[Item]:
        found: list[Item] = []
        for number in range(26):
            dice = self._dice[number + 40]
            pace = (0.9 + 0.7 * dice[0]) * (1 if dice[1] < 0.5 else -1)
            z = (dice[2] * 130.0 + pace * view.time_s - view.distance_m) % 130.0
            if z < NEAR_M + 0.5:
                continue
            aside = 0.8 + 2.2 * dice[3]
            x = _KERB_RIGHT + aside if dice[4] < 0.5 else _KERB_LEFT - aside
            step = int(view.time_s * 3.4 + number) % 2
            art = self._people[number % len(self._people)][step]
            found.append((z, self._set(view, art, x, z, 0.78)))
        return found

    def _set(self, view: View, art: Texture, x: float, z: float, width_m: float) -> Brush:
        return lambda c: roadside.upright(c, view, self._look, art, x, z, width_m)

    def _lamp(self, view: View, z: float) -> Brush:
        def draw(canvas: Image) -> None:
            roadside.lamp_post(canvas, view, self._look, _KERB_RIGHT + 0.5, z, 1.6)
            roadside.lamp_post(canvas, view, self._look, _KERB_LEFT - 0.5, z, 1.6)

        return draw

    def _signal(self, view: View, z: float) -> Brush:
        """Traffic lights on a mast and over the road: red from afar, green when one comes nearer."""

        def draw(canvas: Image) -> None:
            look, art = self._look, self._lights["red" if z > 48 else "green"]
            mast = _KERB_RIGHT + 0.4
            roadside.post(canvas, view, look, mast, z, 5.9, 0.16, (70, 74, 76))
            roadside.beam(canvas, view, look, z, (0.2, mast), 5.75, 5.9, (70, 74, 76))
            for x, low in ((mast, 2.2), (0.4, 4.7)):
                left, bottom = view.point(x - 0.22, low, z)
                right, top = view.point(x + 0.22, low + 1.15, z)
                sprite(canvas, art, (left, top, right - left, bottom - top), look.haze, look.hazed(z) * 0.3)

        return draw


def _driven(
    view: View,
    look: Look,
    vehicle: Vehicle,
    x: float,
    z: float,
    braking: bool,
    oncoming: bool,
    opacity: float,
) -> Brush:
    return lambda c: draw_vehicle(c, view, look, vehicle, x, z, braking, oncoming, opacity)


def _light(state: str) -> Texture:
    board = np.full((128, 48, 3), (26, 28, 30), np.uint8)
    for line, name, bright, dim in (
        (24, "red", (255, 60, 44), (70, 22, 20)),
        (64, "amber", (255, 190, 50), (70, 54, 20)),
        (104, "green", (60, 240, 130), (18, 60, 36)),
    ):
        cv2.circle(board, (24, line), 16, bright if name == state else dim, -1, cv2.LINE_AA)
    return texture(board)


def _person(rng: np.random.Generator) -> tuple[Texture, Texture]:
    """A walking figure in two steps of its stride."""
    coat: Colour = mix((90, 90, 94), _WALLS[int(rng.integers(len(_WALLS)))], float(rng.uniform(-0.3, 0.8)))
    legs: Colour = shade((62, 66, 80), float(rng.uniform(0.4, 1.3)))
    skin = shade((214, 168, 140), float(rng.uniform(0.55, 1.05)))
    steps = []
    for spread in (15, 4):
        colour = np.zeros((192, 84, 3), np.uint8)
        opacity = np.zeros((192, 84), np.uint8)
        for target, plain in ((colour, False), (opacity, True)):
            for side in (-1, 1):
                foot = (42 + side * spread, 186)
                cv2.line(target, (42 + side * 4, 108), foot, (255,) if plain else legs, 13, cv2.LINE_AA)
                hand = (42 + side * (16 + spread // 2), 104)
                cv2.line(
                    target, (42 + side * 14, 52), hand, (255,) if plain else shade(coat, 0.85), 9, cv2.LINE_AA
                )
            cv2.ellipse(target, (42, 76), (19, 40), 0, 0, 360, (255,) if plain else coat, -1, cv2.LINE_AA)
            cv2.circle(target, (42, 24), 14, (255,) if plain else skin, -1, cv2.LINE_AA)
            cv2.ellipse(
                target,
                (42, 19),
                (15, 11),
                0,
                180,
                360,
                (255,) if plain else shade(legs, 0.8),
                -1,
                cv2.LINE_AA,
            )
        steps.append(texture(colour, opacity))
    return steps[0], steps[1]


def _house(rng: np.random.Generator, wall: Colour) -> House:
    """A front with a shop below and rows of windows above, some with balconies, some lit."""
    floors, bays = int(rng.integers(4, 9)), int(rng.integers(4, 8))
    wide, storey, ground = 360, 60, 80
    tall = floors * storey + ground
    wall = shade(wall, float(rng.uniform(0.85, 1.1)))
    grain = 0.86 + 0.28 * noise(rng, tall, wide, (6, 6), 5)[..., None]
    front = (np.array(wall, np.float32) * grain).astype(np.float32)
    if rng.random() < 0.5:
        front[::5] *= 0.93
    pane, lit = np.array((58.0, 72.0, 88.0)), np.array((236.0, 206.0, 142.0))
    balcony = rng.random() < 0.4
    step = wide / bays
    half, high = step * float(rng.uniform(0.24, 0.34)), int(storey * rng.uniform(0.52, 0.68))
    for floor in range(floors):
        top = floor * storey + 13
        for bay in range(bays):
            middle = (bay + 0.5) * step
            left, right = int(middle - half), int(middle + half)
            front[top - 3 : top + high + 4, left - 3 : right + 3] = np.array(shade(wall, 1.22))
            tone = lit if rng.random() < 0.06 else pane * rng.uniform(0.7, 1.35)
            front[top : top + high, left:right] = tone * np.linspace(1.15, 0.8, high)[:, None, None]
            front[top : top + high, int(middle) - 1 : int(middle) + 1] = shade(wall, 1.1)
            front[top + high + 2 : top + high + 5, left - 4 : right + 4] = shade(wall, 0.6)
            if balcony and bay % 2 == floor % 2:
                front[top + high - 16 : top + high + 4, left - 8 : right + 8 : 3] *= 0.45
                front[top + high - 18 : top + high - 15, left - 8 : right + 8] = (52, 54, 58)
    front[:7] = shade(wall, 0.55)
    front[7:10] = shade(wall, 1.2)
    _shops(rng, front, tall - ground, wall)
    edge = np.ones(wide, np.float32)
    edge[:3] = edge[-3:] = 0.7
    return House(texture(front * edge[None, :, None]), wall, (tall / storey) * 3.05)


def _shops(rng: np.random.Generator, front: NDArray[Any], top: int, wall: Colour) -> None:
    tall, wide = front.shape[:2]
    front[top:] = shade(wall, 0.52)
    shops = int(rng.integers(2, 4))
    for shop in range(shops):
        left, right = shop * wide // shops + 8, (shop + 1) * wide // shops - 8
        name = 0.55 * rng.uniform(30, 190, 3) + 0.45 * rng.uniform(40, 150)
        front[top + 4 : top + 20, left:right] = name
        for letter in range(left + 20, right - 30, 13):
            front[top + 8 : top + 16, letter : letter + int(rng.integers(5, 11))] = (
                238 if name.mean() < 140 else 40
            )
        glass = np.linspace(0.8, 1.25, tall - top - 30)[:, None, None] * np.array((96.0, 92.0, 80.0))
        front[top + 24 : tall - 6, left + 4 : right - 4] = glass * rng.uniform(0.6, 1.4)
        for _ in range(7):
            x, y = int(rng.integers(left + 6, right - 16)), int(rng.integers(top + 34, tall - 22))
            front[y : y + 14, x : x + 9] = rng.uniform(50, 220, 3)
        door = int(rng.integers(left + 10, right - 30))
        front[top + 26 : tall, door : door + 18] = shade((70, 60, 52), float(rng.uniform(0.6, 1.3)))
        if rng.random() < 0.5:
            stripes = ((np.arange(right - left) // 9) % 2)[:, None]
            front[top + 20 : top + 32, left:right] = np.where(stripes, np.array([236.0, 232.0, 224.0]), name)
