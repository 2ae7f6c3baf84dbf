"""What the evidence says of a stream, and how much it matters. Pure.

Deep against early features: a new scene moves the latent more than the early statistics, a broken picture the other
way round. Where the two are near each other, or a check of the camera's health nearly spoke, nobody can tell."""

from __future__ import annotations

import math
from collections.abc import Mapping

from engines.health import Health, Suspicion
from engines.health.fault import Fault
from monitor.events import SILENT, Event, Level, Phase, RunnerUp, Verdict

SCENE = ("domain", "departure")
"""Channels that speak for another scene."""
CAMERA = 3.0
"""Times as far beyond its threshold as the scene's channels that corruption must be to make a camera fault."""
SURE = 2.5
"""Times its threshold that corruption must reach besides: at less, a new scene in another light does the same."""
PLAIN, DOUBT = 1.5, 2.0
"""Times its threshold at which the scene's evidence is plain: corruption must then be so many times as far beyond its own
for nobody to tell. Until then it is enough that it is louder."""
NEARLY = 0.8
"""Share of its limit at which a check of the camera's health makes a change of scene doubtful that is not plain."""
BEFORE_S = 1.5
"""How long before a channel rose something that made it rise may have shown: its smoothing, and the check's own."""
MOST = 0.5
"""Share of the picture beyond which what hides or holds it is an error."""

HARMLESS = frozenset({
    Fault.IRREGULAR_FRAMES, Fault.EXPOSURE_OSCILLATION, Fault.VIBRATION, Fault.MONOCHROME, Fault.CHANNEL_SWAP,
    Fault.COLOUR_CAST, Fault.CHROMATIC_ABERRATION, Fault.BANDING, Fault.DEAD_PIXELS, Fault.NOISE,
})  # fmt: skip
"""Faults that degrade a picture and leave what is in it to be seen."""
PARTIAL = frozenset({Fault.COVERED, Fault.PARTIAL_FREEZE, Fault.WHITE})
"""Faults whose harm is the share of the picture that they take."""


class Doubt:
    """Whether something was hinted at, as a scene's own changes do not, since a moment."""

    def __init__(self) -> None:
        self._hinted_s = -math.inf
        self._hint: Suspicion | None = None

    def take(self, time_s: float, health: Health) -> None:
        """Take one frame."""
        if health.hint is not None:
            self._hinted_s, self._hint = time_s, health.hint

    def since(self, time_s: float) -> Suspicion | None:
        """The latest hint, if it came since shortly before ``time_s``."""
        return self._hint if self._hinted_s >= time_s - BEFORE_S else None


def scene_or_camera(
    excess: Mapping[str, float], health: Health, *, doubted: bool = False
) -> tuple[Verdict, str]:
    """What it means that a channel is above its threshold while no check of health speaks: a verdict and its mode.

    excess: of each channel, 0 at its typical level and 1 at its threshold. doubted: whether something may have come over
    the scene."""
    scene = max(excess.get(name, 0.0) for name in SCENE)
    corruption = excess.get("corruption", 0.0)
    if corruption > SURE and corruption > CAMERA * scene:
        return Verdict.CAMERA_FAULT, Fault.CORRUPTED
    nearest = health.nearest
    plain = scene >= PLAIN
    nearly = nearest is not None and nearest.closeness >= NEARLY and not plain
    if doubted or nearly or (corruption > 1.0 and corruption > (DOUBT if plain else 1.0) * scene):
        return Verdict.CANT_TELL, ""
    return Verdict.LEFT_DOMAIN, ""


def runner_up(
    verdict: Verdict, mode: str, excess: Mapping[str, float], health: Health, hint: Suspicion | None = None
) -> RunnerUp | None:
    """The explanation that comes next to ``verdict`` and ``mode``; None where nothing else speaks at all. hint: what made
    the verdict doubtful, which is then what else it might be."""
    if hint is not None:
        return RunnerUp(Verdict.CAMERA_FAULT, hint.fault, hint.statistic, hint.closeness)
    others = [s for s in (*health.suspicions, health.nearest) if s is not None and s.fault != mode]
    candidates = [RunnerUp(Verdict.CAMERA_FAULT, s.fault, s.statistic, s.closeness) for s in others]
    for channel, value in excess.items():
        broken = channel == "corruption"
        other = RunnerUp(
            Verdict.CAMERA_FAULT if broken else Verdict.LEFT_DOMAIN,
            Fault.CORRUPTED if broken else "",
            channel,
            value,
        )
        if (other.kind, other.mode) != (verdict, mode):
            candidates.append(other)
    best = max(candidates, key=lambda c: c.closeness, default=None)
    return best if best is not None and best.closeness > 0.0 else None


def level(event: Event) -> Level:
    """How bad things stand once ``event`` has been said, graded by harm: is there a picture to work with?"""
    if event.phase is Phase.END:
        return Level.OK
    if event.kind in SILENT:
        return Level.STALE
    if event.kind is not Verdict.CAMERA_FAULT or event.mode in HARMLESS:
        return Level.WARN
    if event.mode in PARTIAL and event.unit.startswith("share of") and event.peak < MOST:
        return Level.WARN
    return Level.ERROR
