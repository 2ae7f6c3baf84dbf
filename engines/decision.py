"""From scores to channels, and from held-out channels to thresholds: the calibrated definition of an alarm.

Both sides use it: ``fit`` to learn the thresholds, the detector to apply them, so that what was calibrated is
what runs. Everything is pure and counts media time only.

Channels (higher is stranger):

domain     exponentially weighted mean of the surprise (relative to the background, where there is one), nats.
departure  how far the latent's leading directions have moved from the stream's own recent past, in units of how
           far normal drives wander about their means (a Mahalanobis distance). What identifies a camera is in
           both terms and cancels, so it holds on cameras that were not taught; it trusts a stream to begin
           inside its domain.
corruption how far the damage (-log density of the early statistics, smoothed) rose above the stream's own recent
           past, nats. Early features see texture, colour and noise rather than what is in the picture, so a new
           scene moves them less than it moves the latent, and most broken pictures move them more.
health     the loudest check of the camera's health that may be wrong (``engines.health``), in units of its own limit.

Of the first three, those that never differ in the footage (an encoder without early statistics) have no say.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from engines.density import Direct, Floats, LatentDensity
from engines.errors import CalibrationError
from engines.health import raised_limits

CHANNELS = ("domain", "departure", "corruption")
"""Those that run from frame to frame here; health runs in the detector."""
LEAST_RISE = {"corruption": 1.0}
"""Least distance of a threshold from the typical level, where footage that hardly varies would set one that speaks of nothing."""
UNITS = {
    "domain": "nats",
    "departure": "× normal wander",
    "corruption": "nats above its past",
}


def units(density: LatentDensity) -> dict[str, str]:
    """The channels' units under ``density``: a network's own score has no unit that is known."""
    return UNITS | {"domain": "of the network's score"} if isinstance(density, Direct) else UNITS


class Rule(msgspec.Struct, frozen=True):
    """Time constants of an alarm, all in seconds of media time.

    smoothing_s: of the exponentially weighted means. reference_s: of the stream's own past, which lags by
    guard_s, so that a change does not hide in it, and speaks only after warmup_s. confirm_s: how long a
    channel must stay above its threshold to start an event. clear_s: how long below the clearing level to end
    it. refractory_s: from an end to the next possible start. margin: thresholds stand this many times as far
    above the typical level as the held-out peak that the budget asks for; more than 1 keeps the promise with
    room to spare, which a handful of drives needs."""

    smoothing_s: float = 1.0
    reference_s: float = 20.0
    guard_s: float = 2.0
    warmup_s: float = 2.0
    confirm_s: float = 2.0
    clear_s: float = 2.0
    refractory_s: float = 5.0
    margin: float = 1.5


class Channel(msgspec.Struct, frozen=True):
    """One calibrated channel. typical is the median of the held-out units' medians; clear, between the two,
    ends an event."""

    name: str
    threshold: float
    typical: float

    @property
    def clear(self) -> float:
        return self.typical + 0.85 * (self.threshold - self.typical)


class HeldOut(msgspec.Struct, frozen=True):
    """What the channels did over one held-out unit, scored as though it had not been taught.

    drive: its number among those the bundle knows. typical: median of each channel. peak: the highest level that each held
    for ``Rule.confirm_s``, -inf where it never had a say for that long. health: the highest level that each check of
    the camera's health held long enough to be believed, in units of its own limit; without those that certainty
    exempts and those that were never raised."""

    drive: int
    seconds: float
    typical: dict[str, float]
    peak: dict[str, float]
    health: dict[str, float] = {}


class Calibration(msgspec.Struct, frozen=True):
    """What was learnt from ``units`` held-out drives (or guarded blocks of drives) of ``unit_s`` seconds on
    average.

    false_alarms_per_hour is the budget that the thresholds keep: with ``units`` exchangeable units and one
    threshold per channel at the k-th smallest of the units' maxima, P(alarm in a new unit) ≤ channels · (1 -
    k / (units + 1)), whatever the correlation inside a unit (split conformal prediction, Vovk et al. 2005).
    held_out: the units themselves. allowed: how many of their peaks may lie above a threshold, units - k.
    least: of a channel, the peak that is taken where the units' own is lower: what other footage knows of it, where
    the units are minutes of one camera. It only raises thresholds, so the promise holds.
    health: of a check of the camera's health, how many times its usual limit stands for this footage; those not named
    stand as usual.
    """

    rule: Rule
    channels: tuple[Channel, ...]
    unit: str
    units: int
    unit_s: float
    false_alarms_per_hour: float
    held_out: tuple[HeldOut, ...] = ()
    allowed: int = 0
    least: dict[str, float] = {}
    health: dict[str, float] = {}

    def channel(self, name: str) -> Channel:
        return next(c for c in self.channels if c.name == name)

    def p_value(self, name: str, value: float) -> float:
        """The conformal p-value of a drive like the held-out ones: how likely one reaches ``value`` in channel ``name``."""
        reached = sum(unit.peak.get(name, math.inf) >= value for unit in self.held_out)
        return (1 + reached) / (1 + len(self.held_out))


@dataclass(frozen=True, slots=True)
class Levels:
    """The channels at one moment. departure and corruption are NaN until the stream has a past to depart from."""

    domain: float
    departure: float
    corruption: float


class Channels:
    """The running channels of one stream. ``update`` must be called in order of media time."""

    def __init__(self, rule: Rule, within: Floats) -> None:
        self._rule, self._within = rule, within
        # Of the latent's directions, which are sorted by the background's variance.
        self._dimensions = len(within)
        self._last_s = -math.inf
        self._surprise = 0.0
        # The leading directions and, last, the damage: what is compared with the stream's own past.
        self._state: Floats = np.zeros(self._dimensions + 1)
        self._past: Floats = np.zeros(self._dimensions + 1)
        self._past_s = 0.0
        self._waiting: deque[tuple[float, Floats]] = deque()

    def update(
        self, time_s: float, surprise: float, latent: Floats, damage: float = 0.0, *, learn: bool = True
    ) -> Levels:
        """Take one frame's scores; ``learn=False`` keeps it out of the stream's past (while an event is
        on)."""
        state = np.append(latent[: self._dimensions], damage)
        started = self._last_s != -math.inf
        step_s = time_s - self._last_s if started else 0.0
        gain = 1.0 - math.exp(-step_s / self._rule.smoothing_s) if started else 1.0
        self._surprise += gain * (surprise - self._surprise)
        self._state = self._state + gain * (state - self._state)
        self._last_s = time_s
        if learn:
            self._waiting.append((step_s, state))
            self._learn()
        return self._levels()

    def skip(self, time_s: float) -> Levels:
        """Pass over a frame that says nothing of the scene (a faulty camera): levels and past stay as they
        are."""
        if self._last_s == -math.inf:
            return Levels(math.nan, math.nan, math.nan)
        self._last_s = time_s
        return self._levels()

    def forget_waiting(self) -> None:
        """Drop the frames not yet part of the past: they belong to the event that has just been found."""
        self._waiting.clear()

    def _learn(self) -> None:
        held_s = sum(step for step, _ in self._waiting)
        while self._waiting and held_s > self._rule.guard_s:
            step_s, state = self._waiting.popleft()
            held_s -= step_s
            # A growing mean at first, an exponential one once the past is long enough.
            self._past_s += max(step_s, 1e-3)
            gain = max(step_s, 1e-3) / min(self._past_s, self._rule.reference_s)
            self._past = self._past + gain * (state - self._past)

    def _levels(self) -> Levels:
        if self._past_s < self._rule.warmup_s:
            return Levels(self._surprise, math.nan, math.nan)
        moved = self._state - self._past
        latent = moved[:-1]
        departure = math.sqrt(max(float(latent @ self._within @ latent), 0.0) / self._dimensions)
        return Levels(self._surprise, departure, float(moved[-1]))


def run_channels(
    times_s: Sequence[float],
    domain: NDArray[np.floating],
    latent: NDArray[np.floating],
    damage: NDArray[np.floating],
    within: Floats,
    rule: Rule,
) -> dict[str, Floats]:
    """Run the channels over one recorded stream of N relative surprises, N × d latents and N damages; returns one array
    per channel (N), NaN where a channel has no say yet."""
    channels = Channels(rule, within)
    rows = zip(times_s, domain, latent.astype(np.float64), damage, strict=True)
    levels = [channels.update(t, float(s), z, float(d)) for t, s, z, d in rows]
    return {name: np.array([getattr(level, name) for level in levels]) for name in CHANNELS}


def held_peak(times_s: NDArray[np.floating], values: Floats, hold_s: float) -> float:
    """The highest level that ``values`` stays at or above for ``hold_s``: what a threshold must exceed for no
    alarm to start.

    -inf where the channel never had a say for that long.
    """
    window: deque[tuple[float, float]] = deque()
    since_s: float | None = None
    peak = -math.inf
    for time_s, value in zip(times_s, values, strict=True):
        if not math.isfinite(value):
            window.clear()
            since_s = None
            continue
        since_s = float(time_s) if since_s is None else since_s
        while window and window[-1][1] >= value:
            window.pop()
        window.append((float(time_s), float(value)))
        while window[0][0] < time_s - hold_s:
            window.popleft()
        if time_s - since_s >= hold_s:
            peak = max(peak, window[0][1])
    return peak


def held_out(
    drive: int,
    times_s: NDArray[np.floating],
    channels: dict[str, Floats],
    rule: Rule,
    health: Mapping[str, float] | None = None,
) -> HeldOut:
    """Sum up one held-out unit of taught drive ``drive``: times N, channels of N values; health: see ``HeldOut``."""
    return HeldOut(
        drive=drive,
        seconds=float(times_s[-1] - times_s[0]),
        typical={
            name: float(np.nanmedian(v)) if np.isfinite(v).any() else math.nan for name, v in channels.items()
        },
        peak={name: held_peak(times_s, v, rule.confirm_s) for name, v in channels.items()},
        health=dict(health or {}),
    )


def calibrate(
    units: Sequence[HeldOut],
    rule: Rule,
    unit: str,
    budget_per_hour: float | None = None,
    least: Mapping[str, float] | None = None,
) -> Calibration:
    """Choose thresholds from held-out ``units``; those too short for a channel to have had a say do not count.

    Without a budget the thresholds are the largest maxima: the lowest rate that the footage can support. A
    budget below that is refused with CalibrationError, which says how much footage it needs. least: see
    ``Calibration``."""
    known = dict(least or {})
    able = tuple(u for u in units if all(math.isfinite(peak) for peak in u.peak.values()))
    found = _settled(able, rule, unit, 0, known)
    if budget_per_hour is None:
        return found
    supported, unit_s = found.false_alarms_per_hour, found.unit_s
    if budget_per_hour < supported * (1 - 1e-9):
        needed_h = supported * unit_s / 3600.0 * (len(able) + 1) / budget_per_hour
        raise CalibrationError(
            "calibration",
            f"a budget of {budget_per_hour:g} false alarms per hour needs about {needed_h:.2g} h of normal footage; "
            f"{len(able) * unit_s / 3600:.2g} h in {len(able)} {unit}s support {supported:.3g} per hour",
            "give more footage, or leave the budget out",
        )
    # Each further peak above the thresholds is one more alarm to reckon with in every channel, and none in health.
    unit_h, channels = (len(able) + 1) * unit_s / 3600.0, len(found.channels)
    spare = (budget_per_hour * (1 + 1e-9) - supported) * unit_h
    allowed = min(int(spare / channels + 1e-9), len(able) - 1)
    return _settled(able, rule, unit, allowed, known) if allowed > 0 else found


def budgeted(calibration: Calibration, per_hour: float) -> Calibration:
    """The calibration with thresholds for another budget; CalibrationError where its units do not support that."""
    return calibrate(calibration.held_out, calibration.rule, calibration.unit, per_hour, calibration.least)


def calibration_without(calibration: Calibration, drives: Set[int]) -> Calibration:
    """The calibration as it would be had the units of ``drives`` not been there, with as many peaks above its
    thresholds. CalibrationError where too few units are left."""
    left = tuple(u for u in calibration.held_out if u.drive not in drives)
    allowed = min(calibration.allowed, max(len(left) - 1, 0))
    return _settled(left, calibration.rule, calibration.unit, allowed, calibration.least)


def _settled(
    units: tuple[HeldOut, ...], rule: Rule, unit: str, allowed: int, least: dict[str, float]
) -> Calibration:
    """The calibration whose thresholds leave ``allowed`` of the units' peaks above them."""
    count = len(units)
    if count < 3:
        raise CalibrationError(
            "calibration",
            f"needs at least 3 held-out {unit}s of {rule.guard_s + rule.warmup_s + 1.5 * rule.confirm_s:g} s or more, got {count}",
            "give more or longer footage of normal driving",
        )
    unit_s = float(np.mean([u.seconds for u in units]))
    # What never differs, such as the damage of an encoder without early statistics, is no channel.
    names = [n for n in CHANNELS if any(u.peak.get(n, 0.0) or u.typical.get(n, 0.0) for u in units)]
    channels = tuple(_channel(name, units, allowed, rule, least.get(name, -math.inf)) for name in names)
    above = len(names) * (1 + allowed) + _health_above(units, rule)
    promised = above / (count + 1) * 3600.0 / unit_s
    return Calibration(
        rule,
        channels,
        unit,
        count,
        unit_s,
        promised,
        units,
        allowed,
        least,
        raised_limits([u.health for u in units], rule.margin),
    )


def _channel(name: str, units: tuple[HeldOut, ...], allowed: int, rule: Rule, least: float) -> Channel:
    peak = sorted(u.peak[name] for u in units)[len(units) - 1 - allowed]
    typical = float(np.median([u.typical[name] for u in units]))
    rise = max(rule.margin * (max(peak, least) - typical), LEAST_RISE.get(name, 0.0))
    return Channel(name, typical + rise, typical)


def _health_above(units: Sequence[HeldOut], rule: Rule) -> int:
    """What health adds to the units (of n + 1) in which an alarm must be reckoned with: those that would have
    had one by the others' limits, and the new one; 0 where health was not looked at.

    Judged all checks together, so that their number does not matter."""
    if not any(unit.health for unit in units):
        return 0
    peaks: dict[str, list[float]] = {}
    for unit in units:
        for name, peak in unit.health.items():
            peaks[name] = sorted((*peaks.get(name, (0.0,)), peak))[-2:]

    def alarms(name: str, peak: float) -> bool:
        second, largest = peaks[name]
        return peak > max(1.0, rule.margin * (largest if peak < largest else second))

    return 1 + sum(any(alarms(name, peak) for name, peak in unit.health.items()) for unit in units)
