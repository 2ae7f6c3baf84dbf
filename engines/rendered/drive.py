"""A drive: scenes in the order of a script, seen through one camera, with crossings from one scene to the
next."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import cv2
import numpy as np

from engines.errors import InputError
from engines.faults import Timed, inject_timed
from engines.faults.timing import rising
from engines.frames import Image
from engines.rendered import roadside
from engines.rendered.city import City
from engines.rendered.highway import Highway
from engines.rendered.lens import Lens
from engines.rendered.look import Look, at_night, in_town, in_tunnel, make_look
from engines.rendered.paint import polygon, quad
from engines.rendered.rural import Rural
from engines.rendered.scene import Item, Scene
from engines.rendered.script import Script, Segment, check
from engines.rendered.tunnel import HIGH_M, Tunnel
from engines.rendered.vehicles import make_vehicles
from engines.rendered.view import NEAR_M, Camera, Path, View

_SPEED_M_S = {"highway": 31.0, "city": 12.0, "tunnel": 26.0, "night": 30.0, "rural": 21.0}
_ORDER = tuple(_SPEED_M_S)
_AHEAD_M = 170.0
_FADE_S = 2.0
_EASE_S = 4.0
_DECK_M = 11.0


def render(
    script: Script,
    seed: int = 0,
    size: tuple[int, int] = (640, 360),
    fps: float = 15.0,
    endless: bool = False,
) -> Iterator[tuple[int, float, Image]]:
    """Yield (index, time_s, image) of a drive; image is H × W × 3 uint8 RGB, ``size`` is (width, height).

    A fault that loses or delays frames shows in index and time: index counts the frames that come, and times
    strictly rise. The same arguments give the same bytes on the same build of OpenCV. Another seed gives another drive:
    weather, land, lanes, traffic, mounting of the camera. ``endless``: start the script over and over, the
    road goes on.
    Raises InputError for an impossible script, size or rate: at the call, not at the first frame.
    """
    drive = Drive(script, seed, size, fps)
    return _numbered(drive, seed, endless)


def _numbered(drive: Drive, seed: int, endless: bool) -> Iterator[tuple[int, float, Image]]:
    for index, (time_s, image) in enumerate(rising(_timed(drive, seed, endless))):
        yield index, time_s, image


def _timed(drive: Drive, seed: int, endless: bool) -> Iterator[Timed]:
    for lap in itertools.count() if endless else range(1):
        for number, (segment, start, stop) in enumerate(drive.spans()):
            places = range(lap * len(drive) + start, lap * len(drive) + stop)
            frames: Iterator[Timed] = (Timed(place / drive.fps, drive.image(place)) for place in places)
            if segment.fault:
                frames = inject_timed(
                    frames, segment.fault, severity=segment.severity, seed=seed * 1009 + number
                )
            yield from frames


class Drive:
    """A drive without its camera faults: any picture of it can be asked for, in any order."""

    def __init__(
        self, script: Script, seed: int, size: tuple[int, int] = (640, 360), fps: float = 15.0
    ) -> None:
        """Raise InputError for an impossible script, size (width, height; from 32 × 32 on) or rate."""
        check(script)
        if min(size) < 32 or max(size) > 8192:
            raise InputError(
                "rendered drive", f"size must be from 32x32 to 8192x8192, not {size[0]}x{size[1]}"
            )
        if not 1 <= fps <= 240:
            raise InputError("rendered drive", f"fps must be from 1 to 240, not {fps}")
        if seed < 0:
            raise InputError("rendered drive", f"seed must not be negative, is {seed}")
        self.fps, self._script, self._seed = fps, script, seed
        rng = np.random.default_rng(seed)
        self.look: Look = make_look(rng)
        self._lens = Lens(rng, self.look, size)
        width, height = self._lens.canvas
        focal = size[0] / 2 / float(np.tan(self.look.view_rad / 2))
        horizon = size[1] * self.look.horizon + self._lens.margin
        self._camera = Camera(width, height, focal, width / 2, horizon, self.look.camera_m)
        self._path = Path(rng, self.look.curvature)
        self._concrete = roadside.make_concrete(rng, 150.0)
        self._fleet = make_vehicles(rng)
        self._scenes: dict[str, Scene] = {}
        self._plan()

    def _plan(self) -> None:
        """Lay segments and distances out in frames; speed eases from one scene's to the next."""
        ends = np.rint(np.cumsum([segment.seconds for segment in self._script]) * self.fps).astype(int)
        self._edges = [0, *(int(end) for end in ends)]
        if min(np.diff(self._edges)) < 1:
            raise InputError(
                "rendered drive", f"each segment must last a frame or more, at {self.fps} frames a second"
            )
        names = [segment.scene for segment in self._script]
        steps = np.repeat([_SPEED_M_S[name] for name in names], np.diff(self._edges))
        reach = max(1, int(_EASE_S * self.fps / 2))
        padded = np.pad(steps, reach, mode="wrap" if len(steps) >= reach else "edge")
        speed = np.convolve(padded, np.ones(2 * reach + 1) / (2 * reach + 1), mode="valid")
        self._distance = np.concatenate([[0.0], np.cumsum(speed) / self.fps])
        self._turns = [
            (
                self._edges[n % len(names)] + (len(self) if n == len(names) else 0),
                names[n - 1],
                names[n % len(names)],
            )
            for n in range(1, len(names) + 1)
            if names[n - 1] != names[n % len(names)]
        ]

    def __len__(self) -> int:
        return self._edges[-1]

    def spans(self) -> list[tuple[Segment, int, int]]:
        """Return (segment, first frame, frame after its last)."""
        return list(zip(self._script, self._edges[:-1], self._edges[1:], strict=True))

    def distance_m(self, index: int) -> float:
        """Return how far the car has come at a frame; past the end the script starts over."""
        lap, place = divmod(index, len(self))
        return float(lap * self._distance[-1] + self._distance[place])

    def image(self, index: int) -> Image:
        """Return the picture of a frame, height × width × 3 uint8."""
        place = index % len(self)
        number = int(np.searchsorted(self._edges, place, side="right")) - 1
        here = self._script[number].scene
        time_s = index / self.fps
        distance = self.distance_m(index)
        wander = 0.16 * np.sin(time_s * 0.31) + 0.10 * np.sin(time_s * 0.83 + 1.0)
        view = View(self._camera, self._path, time_s, distance, float(wander))
        left, moment = self._left(place, index), view
        if left is not None:
            view = moment.without(left[1])
        canvas = np.empty((self._camera.height, self._camera.width, 3), np.uint8)
        turn = next((turn for turn in self._turns if turn[0] > place), None)
        crossing = None if turn is None else self._crossing(turn, place, index, distance)
        if crossing is None:
            self._paint(canvas, view, here)
        else:
            self._cross(canvas, view, here, *crossing)
        if left is not None:
            _draw(canvas, self._scene(left[0]).traffic(moment.only(left[1])))
        return self._lens.expose(canvas, self._seed, index, time_s, distance)

    def _left(self, place: int, index: int) -> tuple[str, float] | None:
        """The scene that was left last, if it was by a mouth or under a bridge, and when."""
        turn = next((turn for turn in reversed(self._turns) if turn[0] <= place), None)
        if turn is None or _fades(turn[1], turn[2]):
            return None
        return turn[1], (index - place + turn[0]) / self.fps

    def _crossing(
        self, turn: tuple[int, str, str], place: int, index: int, distance: float
    ) -> tuple[str, float, float] | None:
        """Return (next scene, share of the fade or depth in metres, moment of the crossing) where the next scene is in
        sight."""
        at, here, there = turn
        at_s = (index + at - place) / self.fps
        if _fades(here, there):
            share = 1 - (at - place) / (_FADE_S * self.fps)
            return (there, share, at_s) if share > 0 else None
        depth = self.distance_m(index + at - place) - distance
        return (there, depth, at_s) if depth < _AHEAD_M else None

    def _scene(self, name: str) -> Scene:
        """Return a scene, made on first use; its randomness depends on the seed and its name alone."""
        if name not in self._scenes:
            rng = np.random.default_rng((self._seed, _ORDER.index(name)))
            look, camera, fleet = self.look, self._camera, self._fleet
            if name == "city":
                self._scenes[name] = City(rng, in_town(look), camera, fleet)
            elif name == "tunnel":
                self._scenes[name] = Tunnel(rng, in_tunnel(look), camera, fleet)
            elif name == "rural":
                self._scenes[name] = Rural(rng, look, camera, fleet)
            else:
                self._scenes[name] = Highway(rng, at_night(look) if name == "night" else look, camera, fleet)
        return self._scenes[name]

    def _paint(self, canvas: Image, view: View, name: str, beyond_m: float = -math.inf) -> None:
        """Paint a scene, of what stands at a depth only what is farther than ``beyond_m``: a lorry of which the near
        end is behind the camera is still seen."""
        scene = self._scene(name)
        scene.backdrop(canvas, view)
        scene.rails(canvas, view)
        _draw(canvas, [item for item in scene.items(view) if item[0] >= beyond_m])

    def _cross(self, canvas: Image, view: View, here: str, there: str, amount: float, at_s: float) -> None:
        other = np.empty_like(canvas)
        if _fades(here, there):
            self._paint(canvas, view, here)
            self._paint(other, view, there)
            cv2.addWeighted(canvas, 1 - amount, other, amount, 0, canvas)
            return
        rest = view.without(at_s)
        if "tunnel" in (here, there):
            self._through_portal(canvas, other, rest, here, there, max(amount, NEAR_M))
        else:
            self._under_bridge(canvas, other, rest, here, there, amount)
        _draw(canvas, self._scene(here).traffic(view.only(at_s)))

    def _under_bridge(
        self, canvas: Image, other: Image, view: View, here: str, there: str, depth: float
    ) -> None:
        """All that is farther than a bridge is of the next scene already; it fades in while far away."""
        far = depth + 3.0
        scene = self._scene(here)
        scene.backdrop(canvas, view)
        scene.rails(canvas, view)
        old = scene.items(view)
        share = float(np.clip((_AHEAD_M - depth) / 60.0, 0.0, 1.0))
        if share < 1:
            _draw(canvas, [item for item in old if item[0] >= far])
        self._paint(other, view, there, far)
        row = int(np.clip(view.point(0.0, 0.0, max(far, NEAR_M))[1], 0, canvas.shape[0]))
        if row > 0:
            cv2.addWeighted(canvas[:row], 1 - share, other[:row], share, 0, canvas[:row])
        near = far - _DECK_M
        look = self.look
        sides = (-19.0, 19.0)
        old_near: list[Item] = [item for item in old if item[0] < far]
        if far > NEAR_M:
            old_near.append(
                (near, lambda c: roadside.bridge(c, view, look, self._concrete, near, sides, _DECK_M))
            )
        _draw(canvas, old_near)

    def _through_portal(
        self, canvas: Image, other: Image, view: View, here: str, there: str, depth: float
    ) -> None:
        """What lies beyond the mouth of a tunnel is seen through it alone."""
        tunnel = self._scene("tunnel")
        assert isinstance(tunnel, Tunnel)
        self._paint(other, view, there, depth)
        scene = self._scene(here)
        scene.backdrop(canvas, view)
        scene.rails(canvas, view)
        items = scene.items(view)
        _draw(canvas, [item for item in items if item[0] >= depth])
        if there == "tunnel":
            self._mouth(canvas, view, tunnel, depth)
        else:
            glare = min(1.0, depth / 90.0)
            other = cv2.convertScaleAbs(other, alpha=1 + 0.45 * glare, beta=38 * glare)  # type: ignore[assignment]
        left, top, right, bottom = roadside.opening(view, depth, tunnel.left, tunnel.right, HIGH_M)
        height, width = canvas.shape[:2]
        rows = slice(int(np.clip(round(top), 0, height)), int(np.clip(round(bottom), 0, height)))
        columns = slice(int(np.clip(round(left), 0, width)), int(np.clip(round(right), 0, width)))
        canvas[rows, columns] = other[rows, columns]
        _draw(canvas, [item for item in items if item[0] < depth])

    def _mouth(self, canvas: Image, view: View, tunnel: Tunnel, depth: float) -> None:
        """The concrete face round a tunnel's mouth, and the hill that it goes into."""
        look = self.look
        wide = np.linspace(-95.0, 95.0, 33)
        rise = 17.0 * np.exp(-((wide / 46.0) ** 2)) + 0.8 * np.sin(wide * 0.5) + 0.4 * np.sin(wide * 1.7)
        ridge = view.points(wide, np.maximum(rise, 0.0), np.full(33, depth + 6.0))
        foot = view.points(wide[[-1, 0]], 0.0, np.full(2, depth + 6.0))
        polygon(canvas, np.concatenate([ridge, foot]), look.seen(look.grass, depth))
        low = view.points(wide * 0.8, np.maximum(rise * 0.62 - 0.6, 0.0), np.full(33, depth + 1.0))
        polygon(
            canvas,
            np.concatenate([low, foot]),
            look.seen((look.grass[0] * 0.86, look.grass[1] * 0.88, 52), depth),
        )
        edges = (tunnel.left - 7.0, tunnel.right + 7.0)
        face = view.points(
            np.array([edges[0], edges[1], edges[1], edges[0]]), np.array([8.4, 8.4, 0, 0]), np.full(4, depth)
        )
        quad(canvas, self._concrete, face, look.haze, look.hazed(depth))
        roadside.beam(
            canvas,
            view,
            look,
            depth,
            (tunnel.left - 0.5, tunnel.right + 0.5),
            0.0,
            HIGH_M + 0.5,
            (96, 94, 90),
        )


def _fades(here: str, there: str) -> bool:
    """Whether one scene fades into the other, as dusk does; else the way leads through a mouth or under a bridge."""
    return "tunnel" not in (here, there) and "night" in (here, there)


def _draw(canvas: Image, items: list[Item]) -> None:
    for _, brush in sorted(items, key=lambda item: -item[0]):
        brush(canvas)
