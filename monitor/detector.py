"""From scores and health to events. Pure: no clock, no input or output; the same samples give the same events
at any chunking.

A stream has one verdict at a time. A believed camera fault outranks all that the channels say, since a broken
picture says nothing of the scene: while a fault is suspected the channels hold still."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from engines.decision import Calibration, Channel, Channels, Levels
from engines.density import Floats
from engines.health import Health, Suspicion
from engines.health.belief import CLEAR_S, Belief
from engines.health.fault import Fault
from monitor.events import Event, Phase, Verdict
from monitor.verdict import SCENE, Doubt, runner_up, scene_or_camera

UPDATE_EVERY_S = 10.0
HISTORY_S = 8.0
"""How far back, beyond the time that a channel is held, an onset is looked for."""
PATIENCE_S = 3.0
"""How much longer than it takes to be believed evidence must go on to say anything but that the scene changed: at the
mouth of a tunnel the early features are ahead of the deep ones."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """All that is known of one frame. surprise: -log density relative to the background where the bundle has
    one, nats; damage: of the early statistics, nats. What is not finite says nothing of the scene, and leaves the
    camera's health to judge by."""

    time_s: float
    surprise: float
    latent: NDArray[np.floating]
    health: Health
    damage: float = 0.0

    @property
    def scored(self) -> bool:
        """Whether the engine's answer is made of numbers."""
        return math.isfinite(self.surprise + self.damage) and bool(np.isfinite(self.latent).all())


@dataclass(frozen=True, slots=True)
class Judged:
    """The detector's answer for one sample: the verdict now, the channels, and what began, went on or
    ended."""

    verdict: Verdict
    mode: str
    levels: Levels
    events: tuple[Event, ...]


class Source(Enum):
    """Whose evidence opened an event, and so whose ends it."""

    CHANNELS = auto()
    HEALTH = auto()
    SILENCE = auto()


class Detector:
    """Judges one stream. ``update`` must be called in order of media time; ``finish`` ends what is still
    open."""

    def __init__(
        self, stream: str, calibration: Calibration, within: Floats, units: dict[str, str] | None = None
    ) -> None:
        """units: of the channels, for events to name."""
        self._stream, self._calibration, self._rule = stream, calibration, calibration.rule
        self._units = units or {}
        self._within = within
        self._channels = Channels(calibration.rule, within)
        self._open: Event | None = None
        self._source = Source.CHANNELS
        self._number = 0
        self._belief = Belief()
        self._doubt = Doubt()
        self._clear_since: float | None = None
        self._above_since: float | None = None
        self._scene_over_s = -math.inf
        self._updated_s = -math.inf
        self._last_s = -math.inf
        self._history: deque[tuple[float, Levels]] = deque()

    def succeed(self, before: Detector) -> None:
        """Number events on behind those of ``before``, which is used no more."""
        self._number = before._number

    @property
    def quiet(self) -> bool:
        """Whether no event is open and nothing speaks for one: what begins from here on is new."""
        return self._open is None and not self._belief.suspects and self._above_since is None

    @property
    def silent(self) -> bool:
        """Whether a want of frames was told, and is not over."""
        return self._open is not None and self._source is Source.SILENCE

    def outdated(self, time_s: float) -> bool:
        """Whether the last frame is too long ago, behind a want of frames that was told, for one of ``time_s`` to be compared
        with what was before."""
        return self.silent and self._rule.reference_s < time_s - self._last_s < math.inf

    def update(self, sample: Sample) -> Judged:
        """Take one frame. Time that does not advance is an error of the caller's (ValueError)."""
        if not sample.time_s > self._last_s:
            raise ValueError(
                f"{self._stream}: time must advance, got {sample.time_s} s after {self._last_s} s"
            )
        if self.silent:
            self._resume(sample.time_s)
        self._last_s = sample.time_s
        self._doubt.take(sample.time_s, sample.health)
        levels = self._advance(sample)
        events = self._faults(sample) + self._scene(sample, levels)
        if self._open is not None and sample.time_s - self._updated_s >= UPDATE_EVERY_S:
            events.append(self._say(Phase.UPDATE, sample.time_s))
        verdict, mode = (self._open.kind, self._open.mode) if self._open is not None else (Verdict.OK, "")
        return Judged(verdict, mode, levels, tuple(events))

    def no_frames(
        self, time_s: float, since_s: float, limit_s: float, *, linked: bool = False
    ) -> tuple[Event, ...]:
        """Say that nothing has arrived since ``since_s`` (media time), once ``limit_s`` is exceeded: ``stale`` if the
        camera is ``linked`` all the same, else ``no_signal``."""
        # As a sum: the difference of moments that lie limit_s apart may be rounded to less.
        if time_s < since_s + limit_s or self.silent:
            return ()
        ended = self._end(time_s) if self._open is not None else []
        kind = Verdict.STALE if linked else Verdict.NO_SIGNAL
        self._start(kind, Fault.NO_FRAMES, since_s, time_s, ("frame age", time_s - since_s, limit_s, "s"))
        self._source = Source.SILENCE
        return (*ended, self._say(Phase.START, time_s))

    def finish(self) -> tuple[Event, ...]:
        """End an event that is still open, at the stream's last moment: its last frame, or the moment when the
        want of frames was told."""
        return tuple(self._end(max(self._last_s, self._open.time_s))) if self._open is not None else ()

    @property
    def _blind(self) -> bool:
        """Whether an event says that the picture is not one of the scene."""
        return self._open is not None and self._source is not Source.CHANNELS

    def _resume(self, time_s: float) -> None:
        """Before a frame after a want of frames that was told: what is over begins only now, and what was long ago is no
        past to compare with."""
        assert self._open is not None
        if time_s - self._last_s > self._open.threshold:
            # The last frame before the outage may have been held back until after that was told.
            self._clear_since = None
        if self.outdated(time_s):
            self._channels = Channels(self._rule, self._within)
            self._history.clear()

    def _advance(self, sample: Sample) -> Levels:
        if self._blind or sample.health.suspect is not None or not sample.scored:
            return self._channels.skip(sample.time_s)
        latent = np.asarray(sample.latent, np.float64)
        levels = self._channels.update(
            sample.time_s, sample.surprise, latent, sample.damage, learn=self._open is None
        )
        self._history.append((sample.time_s, levels))
        while self._history[0][0] < sample.time_s - self._rule.confirm_s - HISTORY_S:
            self._history.popleft()
        return levels

    def _faults(self, sample: Sample) -> list[Event]:
        now, health = sample.time_s, sample.health
        if self._open is not None and self._blind:
            still = health.of(self._open.mode)
            if still is not None:
                self._clear_since = None
                self._note(still.value, now)
                return []
            self._clear_since = now if self._clear_since is None else self._clear_since
            if now - self._clear_since < CLEAR_S:
                return []
            ended = self._end(now, self._clear_since)
            self._belief.clear()
            return ended
        found = self._belief.take(now, health)
        if found is None:
            return []
        believed, since = found
        ended = self._end(now, since) if self._open is not None else []
        # Stillness is suspicious at once and believed only after its own time, which is the limit to name.
        threshold = believed.confirm_s if believed.since_s is not None else believed.threshold
        spoke = (believed.statistic, believed.value, threshold, believed.unit)
        self._start(Verdict.CAMERA_FAULT, believed.fault, since, now, spoke)
        self._source = Source.HEALTH
        self._explain({}, health, certain=believed.certain)
        return [*ended, self._say(Phase.START, now)]

    def _scene(self, sample: Sample, levels: Levels) -> list[Event]:
        now = sample.time_s
        if self._blind:
            self._above_since = None
            return []
        if sample.health.suspect is not None or not sample.scored:
            # Undecided: a suspicion that comes and goes must not keep the scene's own evidence from being believed.
            return []
        if self._open is not None:
            return self._end_scene(now, levels)
        excess = {c.name: _excess(c, levels) for c in self._calibration.channels}
        loudest = max(excess, key=lambda name: excess[name])
        if excess[loudest] <= 1.0 or now < self._scene_over_s + self._rule.refractory_s:
            self._above_since = None
            return []
        self._above_since = now if self._above_since is None else self._above_since
        if now - self._above_since < self._rule.confirm_s:
            return []
        hint = self._doubt.since(self._above_since)
        kind, mode = scene_or_camera(excess, sample.health, doubted=hint is not None)
        if kind is not Verdict.LEFT_DOMAIN and now - self._above_since < self._rule.confirm_s + PATIENCE_S:
            return []
        if kind is Verdict.LEFT_DOMAIN:  # what speaks for the scene is to be named, if it spoke
            loudest = max(excess, key=lambda name: (excess[name] > 1.0 and name in SCENE, excess[name]))
        value = getattr(levels, loudest)
        threshold = self._calibration.channel(loudest).threshold
        spoke = (loudest, value, threshold, self._units.get(loudest, ""))
        self._start(kind, mode, self._onset(loudest, value), now, spoke)
        self._source = Source.CHANNELS
        self._explain(excess, sample.health, p_value=self._calibration.p_value(loudest, value), hint=hint)
        self._channels.forget_waiting()
        return [self._say(Phase.START, now)]

    def _end_scene(self, now: float, levels: Levels) -> list[Event]:
        assert self._open is not None
        self._note(getattr(levels, self._open.channel), now)
        if any(getattr(levels, c.name) > c.clear for c in self._calibration.channels):
            self._clear_since = None
            return []
        self._clear_since = now if self._clear_since is None else self._clear_since
        if now - self._clear_since < self._rule.clear_s:
            return []
        self._scene_over_s = now
        self._above_since = None
        return self._end(now, self._clear_since)

    def _onset(self, name: str, value: float) -> float:
        """When the channel was last half way between where it came from and where it is: undoes the lag of
        its smoothing."""
        levels = [(t, getattr(level, name)) for t, level in self._history]
        finite = [(t, v) for t, v in levels if math.isfinite(v)]
        before = [
            v for t, v in finite if t < self._last_s - self._rule.confirm_s - 2 * self._rule.smoothing_s
        ]
        if not before:
            return finite[0][0]
        middle = 0.5 * (float(np.median(before)) + value)
        below = [t for t, v in finite if v < middle]
        return below[-1] if below else finite[0][0]

    def _start(
        self,
        kind: Verdict,
        mode: str,
        onset_s: float,
        now: float,
        spoke: tuple[str, float, float, str],
    ) -> None:
        """Open an event; spoke: the statistic with its value, threshold and unit."""
        channel, value, threshold, unit = spoke
        self._number += 1
        self._clear_since = None
        self._above_since = None
        self._open = Event(
            stream=self._stream,
            number=self._number,
            phase=Phase.START,
            kind=kind,
            mode=str(mode),
            onset_s=onset_s,
            detected_s=now,
            time_s=now,
            end_s=None,
            channel=channel,
            value=value,
            threshold=threshold,
            peak=value,
            peak_s=now,
            unit=unit,
        )

    def _explain(
        self,
        excess: dict[str, float],
        health: Health,
        *,
        certain: bool = False,
        p_value: float | None = None,
        hint: Suspicion | None = None,
    ) -> None:
        """Add to the open event how sure it is, and what else it might have been."""
        assert self._open is not None
        budget = None if certain else self._calibration.false_alarms_per_hour
        other = runner_up(self._open.kind, self._open.mode, excess, health, hint)
        self._open = replace(self._open, p_value=p_value, budget_per_hour=budget, runner_up=other)

    def _note(self, value: float, now: float) -> None:
        assert self._open is not None
        higher = value > self._open.peak
        self._open = replace(
            self._open,
            value=value,
            peak=value if higher else self._open.peak,
            peak_s=now if higher else self._open.peak_s,
        )

    def _say(self, phase: Phase, now: float) -> Event:
        assert self._open is not None
        self._updated_s = now
        self._open = replace(self._open, phase=phase, time_s=now)
        return self._open

    def _end(self, now: float, end_s: float | None = None) -> list[Event]:
        assert self._open is not None
        self._open = replace(self._open, end_s=now if end_s is None else end_s)
        ended = self._say(Phase.END, now)
        self._open = None
        self._clear_since = None
        return [ended]


def _excess(channel: Channel, levels: Levels) -> float:
    """0 at the typical level, 1 at the threshold; makes channels of different units comparable."""
    value = getattr(levels, channel.name)
    if not math.isfinite(value):
        return 0.0
    return float((value - channel.typical) / max(channel.threshold - channel.typical, 1e-9))
