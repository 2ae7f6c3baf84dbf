"""Clips made of a bundle's own pictures, and the alerts that an engine's scores of them would raise.

Each shows the normal pictures of one drive, then the same made strange, then the normal ones again; from clip to clip
stranger, from barely noticed to far outside. Two engines are alike for all practical purposes if they raise the same
alerts at the same moments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.decision import Calibration, Channels, Levels
from engines.frames import Image
from engines.scores import Scores

STEP_S = 0.1
SHOWN_S = 0.5
"""How long each picture stands."""
STRANGE = (0.1, 0.2, 0.3, 0.45, 0.6, 1.0)
"""How far the strange pictures of each clip are on their way from a normal one to one turned round."""
PICTURES = 8
"""Most normal pictures in a clip."""
BEFORE_S, STRANGE_S, AFTER_S = 10.0, 6.0, 8.0


@dataclass(frozen=True, slots=True, eq=False)
class Clips:
    """pictures: N×H×W×3, each once. orders: of each clip, which picture is shown at each step of STEP_S seconds."""

    pictures: Image
    orders: tuple[NDArray[np.int64], ...]


@dataclass(frozen=True, slots=True)
class ClipAlert:
    """An alert: in which clip, and from when it is told to when it ends, in media seconds."""

    clip: int
    start_s: float
    end_s: float


def probe_clips(bundle: Bundle, *, mirrored: bool = False) -> Clips:
    """The clips of a bundle; the same bundle gives the same clips. mirrored: others like them, left and right changed
    round: to choose by, so that the choice can be judged by these."""
    normal, drives = bundle.normal_pictures()
    if not len(normal):
        normal = bundle.probes().frames
        drives = np.zeros(len(normal), np.int64)
    normal = normal[:, :, ::-1] if mirrored else normal
    names = np.unique(drives)
    pictures, orders, count = [], [], 0
    for number, share in enumerate(STRANGE):
        mine = normal[drives == names[number % len(names)]]
        mine = mine[np.unique(np.linspace(0, len(mine) - 1, PICTURES).astype(int))]
        pictures += [mine, _blended(mine, mine[:, ::-1, ::-1, ::-1], share)]
        parts = ((0, BEFORE_S), (len(mine), STRANGE_S), (0, AFTER_S))
        shown = [first + i % len(mine) for first, long_s in parts for i in range(round(long_s / SHOWN_S))]
        orders.append(count + np.repeat(shown, round(SHOWN_S / STEP_S)))
        count += 2 * len(mine)
    return Clips(np.concatenate(pictures), tuple(orders))


def alerts(clips: Clips, scores: Scores, bundle: Bundle) -> tuple[ClipAlert, ...]:
    """The alerts that the bundle's calibration raises on the clips, given the scores of their pictures. Health checks
    have no part in it: they look at the camera's own pictures."""
    latent, domain, damage = (
        values.astype(np.float64) for values in (scores.latent, scores.domain, scores.damage)
    )
    told: list[ClipAlert] = []
    for number, order in enumerate(clips.orders):
        channels = Channels(bundle.calibration.rule, bundle.density.within)
        latch = _Latch(bundle.calibration)
        for step, picture in enumerate(order):
            time_s = step * STEP_S
            levels = channels.update(
                time_s, float(domain[picture]), latent[picture], float(damage[picture]), learn=not latch.on
            )
            if latch.update(time_s, levels):
                channels.forget_waiting()
        told += [ClipAlert(number, *span) for span in latch.finish(len(order) * STEP_S)]
    return tuple(told)


def alike(one: Sequence[ClipAlert], other: Sequence[ClipAlert]) -> bool:
    """Whether two engines raise the same alerts: as many, each told and ended within one step of the other's."""
    close = STEP_S * 1.5
    return len(one) == len(other) and all(
        a.clip == b.clip and abs(a.start_s - b.start_s) < close and abs(a.end_s - b.end_s) < close
        for a, b in zip(one, other, strict=True)
    )


class _Latch:
    """A rule's confirmation, clearing and refractory time over any of the channels."""

    def __init__(self, calibration: Calibration) -> None:
        self._calibration, self._rule = calibration, calibration.rule
        self._since: float | None = None
        self._start: float | None = None
        self._over_s = -np.inf
        self._spans: list[tuple[float, float]] = []

    @property
    def on(self) -> bool:
        return self._start is not None

    def update(self, time_s: float, levels: Levels) -> bool:
        """Take the levels of one step; True where an alert begins."""
        known = self._calibration.channels
        if self._start is None:
            above = any(getattr(levels, c.name) > c.threshold for c in known)
            ready = time_s >= self._over_s + self._rule.refractory_s
            if not self._held(time_s, above and ready, self._rule.confirm_s):
                return False
            self._start, self._since = time_s, None
            return True
        clear = all(not getattr(levels, c.name) > c.clear for c in known)
        if self._held(time_s, clear, self._rule.clear_s):
            self._spans.append((self._start, time_s))
            self._start, self._since, self._over_s = None, None, time_s
        return False

    def finish(self, time_s: float) -> list[tuple[float, float]]:
        """End what is open; returns when each alert began and ended."""
        if self._start is not None:
            self._spans.append((self._start, time_s))
        return self._spans

    def _held(self, time_s: float, now: bool, long_s: float) -> bool:
        if not now:
            self._since = None
            return False
        self._since = time_s if self._since is None else self._since
        return time_s - self._since >= long_s


def _blended(start: Image, end: Image, share: float) -> Image:
    mixed = start.astype(np.float32) + share * (end.astype(np.float32) - start)
    return np.rint(mixed).astype(np.uint8)
