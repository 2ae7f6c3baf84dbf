"""What makes one drive look unlike another: weather, light, land, road and rig, all drawn from the drive's
seed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from engines.rendered.paint import Colour, mix, shade


@dataclass(frozen=True, slots=True)
class Look:
    """Weather and light, the land beside the road, the road, and how the camera is mounted.

    haze: colour into which far things fade. haze_m: depth at which 63 % of a thing is lost in the haze. sun:
    0 (flat light) to 1 (hard shadows).
    tint: gain of red, green and blue. clouds: share of the sky. hills: height in shares of the sky's rows.
    lane: the camera's own lane, from 0 at the left. traffic: vehicles per lane, 1 is usual. curvature in 1/m.
    """

    weather: str
    sky_top: Colour
    sky_low: Colour
    haze: Colour
    haze_m: float
    sun: float
    clouds: float
    tint: Colour
    grass: Colour
    leaf: Colour
    asphalt: Colour
    hill: Colour
    hills: float
    woods: float
    lanes: int
    lane: int
    lane_m: float
    traffic: float
    curvature: float
    camera_m: float
    view_rad: float
    horizon: float
    bonnet: bool
    dark: bool = False

    def hazed(self, depth_m: float) -> float:
        """Return which share of a thing at a depth is lost in the haze."""
        return 1.0 - math.exp(-depth_m / self.haze_m)

    def seen(self, colour: Colour, depth_m: float) -> Colour:
        """Return a colour as it looks from a distance."""
        return mix(colour, self.haze, self.hazed(depth_m))


_WEATHER: dict[str, tuple[Colour, Colour, float, float, float, Colour]] = {
    "clear": ((58, 116, 198), (184, 212, 236), 900.0, 1.0, 0.30, (1.0, 1.0, 1.0)),
    "fair": ((76, 128, 196), (196, 214, 232), 700.0, 0.9, 0.55, (1.0, 1.0, 0.99)),
    "overcast": ((142, 151, 162), (206, 210, 213), 380.0, 0.35, 0.92, (0.95, 0.98, 1.02)),
    "golden": ((92, 124, 182), (252, 208, 152), 520.0, 0.85, 0.50, (1.08, 0.99, 0.84)),
    "hazy": ((150, 172, 196), (226, 226, 220), 240.0, 0.55, 0.25, (1.01, 1.0, 0.96)),
}
_GRASS: tuple[Colour, ...] = ((92, 116, 54), (112, 122, 60), (132, 124, 72), (78, 104, 56))
_LEAF: tuple[Colour, ...] = ((62, 92, 42), (74, 100, 40), (48, 80, 44), (112, 98, 42))
_HILL: tuple[Colour, ...] = ((86, 112, 92), (98, 116, 104), (104, 108, 92))


def make_look(rng: np.random.Generator) -> Look:
    """Draw a look; the same generator state gives the same look."""
    weather = str(rng.choice(list(_WEATHER), p=(0.26, 0.26, 0.18, 0.16, 0.14)))
    sky_top, sky_low, haze_m, sun, clouds, tint = _WEATHER[weather]
    lanes = int(rng.choice((2, 3, 4), p=(0.4, 0.4, 0.2)))
    tone = float(rng.uniform(84, 118))
    warm = float(rng.uniform(-4, 5))
    return Look(
        weather=weather,
        sky_top=shade(sky_top, float(rng.uniform(0.92, 1.08))),
        sky_low=sky_low,
        haze=mix(sky_low, (210, 214, 218), 0.3),
        haze_m=haze_m * float(rng.uniform(0.8, 1.25)),
        sun=sun,
        clouds=float(np.clip(clouds + rng.uniform(-0.12, 0.12), 0.08, 0.97)),
        tint=tint,
        grass=shade(_GRASS[int(rng.integers(len(_GRASS)))], float(rng.uniform(0.9, 1.12))),
        leaf=shade(_LEAF[int(rng.integers(len(_LEAF)))], float(rng.uniform(0.9, 1.15))),
        asphalt=(tone + warm, tone, tone - warm * 0.8),
        hill=_HILL[int(rng.integers(len(_HILL)))],
        hills=float(rng.uniform(0.06, 0.34)),
        woods=float(rng.uniform(0.35, 1.0)),
        lanes=lanes,
        lane=int(rng.integers(lanes)) if rng.random() < 0.5 else lanes - 1 - int(rng.random() < 0.4),
        lane_m=float(rng.uniform(3.4, 3.75)),
        traffic=float(rng.uniform(0.6, 1.5)),
        curvature=1 / float(rng.uniform(750, 1700)),
        camera_m=float(rng.uniform(1.18, 1.62)),
        view_rad=math.radians(float(rng.uniform(56, 68))),
        horizon=float(rng.uniform(0.43, 0.5)),
        bonnet=bool(rng.random() < 0.45),
    )


def at_night(look: Look) -> Look:
    """Return the same place at night: a dark sky, and beyond the head lamps' reach everything fades to
    black."""
    return replace(
        look,
        weather="night",
        sky_top=(4, 6, 16),
        sky_low=(26, 24, 34),
        haze=(6.0, 8.0, 16.0),
        haze_m=36.0,
        sun=0.0,
        clouds=0.35,
        tint=(1.0, 0.97, 0.92),
        hill=(7, 9, 13),
        dark=True,
    )


def in_tunnel(look: Look) -> Look:
    """Return the same road in a tunnel: no sky, warm lamps, smoke in the distance."""
    return replace(
        look, weather="tunnel", haze=(46.0, 38.0, 27.0), haze_m=150.0, sun=0.0, tint=(1.05, 0.98, 0.84)
    )


def in_town(look: Look) -> Look:
    """Return the same day in a town: lower haze, two narrow lanes."""
    return replace(look, haze_m=look.haze_m * 0.8, lanes=2, lane=1, lane_m=3.2, hills=look.hills * 0.5)
