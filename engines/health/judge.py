"""The health of one stream: evidence, statistics, the table of checks, suspicions."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.frames import Frame
from engines.health.checks import CHECKS, Check
from engines.health.codec import Codec
from engines.health.colour import Colour
from engines.health.cover import Cover
from engines.health.delivery import Delivery
from engines.health.detail import Detail
from engines.health.fault import Fault
from engines.health.layout import Layout
from engines.health.light import Light
from engines.health.motion import Motion
from engines.health.overlay import SETTLE_S, Overlay
from engines.health.past import NOTHING, Past
from engines.health.pattern import Pattern
from engines.health.record import Health, Suspicion
from engines.health.scene import Link, Scene
from engines.health.sensor import Sensor
from engines.health.step import CAME_SHARE
from engines.health.stillness import Stillness
from engines.health.view import Floats, View, look
from engines.regions import Regions

SUDDEN_S = 1.0
"""How long a sudden rise is remembered."""
UNDECIDED_S = 1.5
"""After a picture that has nothing to do with the one before it: so long a fault may show itself. Then it was a
cut, and the stream's past says nothing of what is seen now."""


HIDING = frozenset({Fault.BLUR, Fault.COVERED, Fault.PARTIAL_FREEZE})
"""Faults that come over a scene bit by bit: an encoder sees another scene before a check is sure."""
HINTS = 0.6
"""Share of its limit from which a check of those is a hint."""

_THRESHOLD, _SUDDEN, _KEEPS = (
    np.array([getattr(check, name) for check in CHECKS]) for name in ("threshold", "sudden", "keeps")
)
_PAST = np.array([check.past for check in CHECKS])
# A break ends the past, and is no work of what takes the detail of a picture, which leaves it laid out as it was.
_AFTER_A_BREAK = _PAST | np.array([check.fault is Fault.BLUR for check in CHECKS])
# Bridges and fog have no features either, and light that changes is half a veil: those say nothing until they are sure.
_HIDING = np.array(
    [check.fault in HIDING and check.statistic not in ("featureless", "veil") for check in CHECKS]
)
# A time is judged by the time it takes to be believed.
_SCALE = np.array(
    [max(check.threshold, check.confirm_s) if check.unit == "s" else check.threshold for check in CHECKS]
)
_NO_RISE = np.full(len(CHECKS), -np.inf)


class Evidence(Protocol):
    """One kind of evidence. past: what it has learnt; state: what the frame last measured would add to that; every:
    of how many frames one is measured, what it says in between being what it said. lasting: whether what it has
    learnt is the camera's own and outlives a cut."""

    past: Past
    state: Floats
    every: int
    lasting: bool

    def measure(self, view: View, link: Link) -> Mapping[str, float]:
        """Return statistics by name; NaN where there is no say."""

    def restart(self) -> None:
        """Forget what else it knows of the scene, which is another one."""


class HealthChecks:
    """The health of one stream; ``check`` must be called in order of media time."""

    def __init__(self, limits: Mapping[str, float] | None = None, ignored: Regions | None = None) -> None:
        """limits: by name of the check, how many times the table's threshold it stands for, where normal footage asks
        for more than once (``raised_limits``). ignored: what nobody looks at."""
        self._ignored = ignored or Regions()
        self._scene = Scene()
        self._delivery, self._cover, self._overlay = Delivery(), Cover(), Overlay()
        self.evidence: tuple[Evidence, ...] = (
            self._delivery, Codec(), Light(), Colour(), Detail(), Pattern(), Sensor(), Stillness(), Motion(), Layout(),
            self._cover, self._overlay,
        )  # fmt: skip
        self._rules = Rules(limits or {})
        self._learners = (*self.evidence, self._rules, self._scene)
        self._statistics: dict[str, float] = {}
        self._count = 0
        self._before: View | None = None
        self._broken_s: float | None = None

    def check(self, frame: Frame) -> Health:
        """Return the statistics of ``frame``; a frame under suspicion does not enter the stream's past."""
        view = look(frame, self._before, self._ignored)
        self._before = view
        link = self._scene.link(view)
        self._statistics["likeness"] = link.likeness
        for n, evidence in enumerate(self.evidence):
            if (self._count + n) % evidence.every == 0 or not self._count:
                self._statistics.update(evidence.measure(view, link))
        self._count += 1
        health = self._rules.apply(self._statistics, view, link, undecided=self._broken_s is not None)
        if link.broken and self._broken_s is None:
            health = replace(health, hint=None)
        elif self._overlay.hint:
            share = self._overlay.hint
            came = Suspicion(Fault.COVERED, "step", share, CAME_SHARE, "share of picture", SETTLE_S)
            health = replace(health, hint=came)
        self._remember(view, link, health)
        return health

    def forget_waiting(self) -> None:
        """Drop frames not yet part of the past: they belong to a fault that has just been believed."""
        for learner in self._learners:
            learner.past.forget_waiting()

    def silence_told(self) -> None:
        """Nothing came before the next frame, and that was told: frames need not be irregular for it."""
        self._delivery.silence_told()

    def new_scene(self) -> None:
        """Forget what the picture looked like: elsewhere says nothing of what is sharp, light or hidden here. What
        lasts is the camera's own."""
        self._forget_scene()
        self._cover.new_scene()

    def _remember(self, view: View, link: Link, health: Health) -> None:
        if link.broken and self._broken_s is None and not health.suspicions:
            self._broken_s = view.time_s
        elif self._broken_s is not None and self._scene.resumed:
            self._broken_s = None
        if health.suspicions:
            return
        if self._broken_s is None:
            for learner in self._learners:
                learner.past.learn(view.time_s, view.step_s, learner.state)
        elif view.time_s - self._broken_s >= UNDECIDED_S:
            self._broken_s = None
            self._forget_scene()

    def _forget_scene(self) -> None:
        for learner in self._learners:
            if not learner.lasting:
                learner.past.clear()
            learner.restart()


class Rules:
    """Applies the table to the statistics, with its memory: what was usual, what rose suddenly, what is raised."""

    def __init__(self, limits: Mapping[str, float]) -> None:
        self.past, self.state, self.lasting = Past(), NOTHING, False
        self._checks = tuple(_raised(check, limits) for check in CHECKS)
        self._threshold = np.array([check.threshold for check in self._checks])
        self._hinting = np.where(_HIDING, HINTS * self._threshold, np.inf)
        self._values = np.full((2, len(CHECKS)), np.nan)
        self._went_on = False
        self._rises: deque[tuple[float, NDArray[np.float64]]] = deque()
        self._raised = np.zeros(len(CHECKS), bool)

    def apply(self, statistics: Mapping[str, float], view: View, link: Link, *, undecided: bool) -> Health:
        """Return the frame's health. ``undecided``: what follows a break may be a cut, so that a rise above the
        past is no suspicion."""
        now, values = view.time_s, self._judged(statistics)
        highest = np.minimum(values, self._rise(values, view, link) / np.maximum(_SUDDEN, 1e-9))
        if undecided:
            highest[_AFTER_A_BREAK] = -np.inf
        going_on = self._raised & (values >= _KEEPS * self._threshold)
        self._raised = (highest >= self._threshold) | going_on
        told: dict[Fault, Suspicion] = {}
        for n in np.flatnonzero(self._raised):
            suspicion = _suspicion(self._checks[n], float(values[n]), now)
            other = told.setdefault(suspicion.fault, suspicion)
            if suspicion.since_s is not None and other.since_s is not None and _sooner(suspicion, other):
                told[suspicion.fault] = suspicion
        # What comes too slowly to be a fault is not near to being one, however much of it there is.
        closeness = np.where(self._raised | np.isnan(highest), -math.inf, highest / self._threshold)
        best = int(closeness.argmax())
        nearest = _suspicion(self._checks[best], float(values[best]), now) if closeness[best] > 0 else None
        hinting, hint = highest >= self._hinting, None
        if not undecided and hinting.any():
            first = int(hinting.argmax())
            hint = _suspicion(self._checks[first], float(values[first]), now)
        levels = (np.array([highest, values]) / _SCALE).astype(np.float32)
        return Health(dict(statistics), tuple(told.values()), nearest, hint, levels=levels)

    def restart(self) -> None:
        self._raised[:] = False

    def _rise(self, values: NDArray[np.float64], view: View, link: Link) -> NDArray[np.float64]:
        """The greatest rise of each within SUDDEN_S; endless for checks that need none. A rise may take two frames, of
        a scene that goes on through both."""
        earlier = self._values[1] if self._went_on else self._values[0]
        if link.goes_on:
            self._rises.append((view.time_s, values - np.fmin(self._values[0], earlier)))
        while self._rises and self._rises[0][0] < view.time_s - SUDDEN_S:
            self._rises.popleft()
        self._values, self._went_on = np.array([values, self._values[0]]), link.goes_on
        greatest = reduce(np.fmax, (rises for _, rises in self._rises), _NO_RISE)
        return np.where(_SUDDEN == 0, np.inf, greatest)

    def _judged(self, statistics: Mapping[str, float]) -> NDArray[np.float64]:
        raw = np.array([statistics[check.statistic] for check in CHECKS])
        self.state = np.where(np.isfinite(raw), raw, 0.0).astype(np.float32)
        known = self.past.known
        return np.where(_PAST, np.nan if known is None else raw - known, raw)


def _raised(check: Check, limits: Mapping[str, float]) -> Check:
    """``check`` with its limit, if that is higher than the table's threshold; a time is then also believed later."""
    limit = limits.get(check.name, 0.0)
    if check.certain or not limit > 1.0:
        return check
    later = limit if check.unit == "s" else 1.0
    return replace(check, threshold=limit * check.threshold, confirm_s=check.confirm_s * later)


def _sooner(one: Suspicion, other: Suspicion) -> bool:
    return one.value - one.confirm_s > other.value - other.confirm_s


def _suspicion(check: Check, value: float, now: float) -> Suspicion:
    return Suspicion(
        fault=check.fault,
        statistic=check.statistic,
        value=value,
        threshold=check.threshold,
        unit=check.unit,
        confirm_s=check.confirm_s,
        since_s=now - value if check.unit == "s" else None,
        certain=check.certain,
    )
