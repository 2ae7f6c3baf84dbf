"""Onboard a new camera: move a bundle's calibration, and the latent's mean, to minutes of its footage. Numpy alone.

What identifies a camera is most of what a latent says (crop, lens, colour, bonnet), so thresholds that were found on
other cameras are wrong on a new one. The encoder, the support points and how far normal drives wander stay as they
were taught: minutes of one camera say less of the road than the drives behind the bundle.

Everything is judged on stretches that were held out, each by a shift and by thresholds learnt without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from engines.decision import Calibration, HeldOut, calibrate, calibration_without, held_out, run_channels
from engines.density import Floats, Kde, LatentDensity, Mixture, drive_weights
from engines.errors import CalibrationError
from engines.scores import Density
from training.alarms import Alarm, Tally, alarms, tally
from training.encode import Encoded
from training.fit import Footage, Unit, held, held_out_units, join

LEAST_UNITS = 4
"""Three to calibrate by, and the one that they judge."""
CAMERA_FREE = frozenset({"departure", "corruption"})
"""Channels in which what identifies a camera cancels."""
LEAST_WANDER = 0.1
"""Share of the taught drives' typical departure that footage must reach: parked or frozen, it says nothing of driving."""
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the way onto the taught mean that are tried."""


@dataclass(frozen=True, slots=True)
class Strange:
    """A part of the footage that stands as far above the rest of it as an alarm stood above normal when the bundle was
    taught: a fault, another scene, or a rarity. Media seconds within ``drive``, its number in the footage."""

    drive: int
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """A held-out unit. shift: d, by which it was moved, learnt without it. before, after: its channels, N values each, as
    its latents were and as they are moved."""

    unit: Unit
    drive: int
    times_s: Floats
    shift: Floats
    before: dict[str, Floats]
    after: dict[str, Floats]

    @property
    def seconds(self) -> float:
        return float(self.times_s[-1] - self.times_s[0])


@dataclass(frozen=True, slots=True, eq=False)
class Onboarded:
    """What ``onboard`` learnt. shift: d, what the camera's latents are moved by (zeros: not moved). before, after:
    alarms on the held-out ``stretches`` by the old and the new calibration. strange: what is in the footage yet;
    left_out: what was not learnt from, whole stretches."""

    density: Density
    calibration: Calibration
    shift: Floats
    before: Tally
    after: Tally
    stretches: tuple[Stretch, ...]
    strange: tuple[Strange, ...]
    left_out: tuple[Strange, ...]


def onboard(
    density: Density,
    calibration: Calibration,
    camera: Sequence[Encoded],
    *,
    first_drive: int = 0,
    shift: bool = True,
    leave_out: bool = False,
    budget_per_hour: float | None = None,
) -> Onboarded:
    """Move ``density`` and ``calibration`` to a camera, of whose drives the features are latents of ``density``.

    first_drive: number of the camera's first drive among all that the bundle knows. shift: move the camera's mean
    latent onto the taught one. leave_out: learn nothing from strange stretches. Raises CalibrationError where the
    footage is too little, does not vary, or does not support the budget."""
    footage = join(camera)
    name, units = held_out_units(footage, calibration.rule)
    learnt = np.ones(len(footage.features), bool)

    def watched() -> tuple[_Move, list[Stretch]]:
        _check(units, calibration)
        move = _Move.chosen(footage, units, density, learnt) if shift else _Move(None, 0.0)
        return move, [_stretch(footage, unit, density, calibration, move, learnt) for unit in units]

    move, stretches = watched()
    _check_wander(stretches, calibration)
    strange = _strange(stretches, calibration)
    left_out: tuple[Strange, ...] = ()
    if leave_out and strange:
        dropped = [s for s in stretches if _holds(s, strange)]
        for stretch in dropped:
            learnt[stretch.unit.start : stretch.unit.stop] = False
        units = [s.unit for s in stretches if not _holds(s, strange)]
        move, stretches = watched()
        strange = _strange(stretches, calibration)
        left_out = tuple(Strange(s.drive, float(s.times_s[0]), float(s.times_s[-1])) for s in dropped)
    moved = move.shift(footage, learnt)
    heard = [
        held_out(i, s.times_s, s.after, calibration.rule, held(camera[s.drive], s.unit, footage))
        for i, s in enumerate(stretches)
    ]
    found = calibrate(heard, calibration.rule, name, budget_per_hour, _least(calibration, heard))
    numbered = tuple(
        msgspec.structs.replace(u, drive=first_drive + stretches[u.drive].drive) for u in found.held_out
    )
    return Onboarded(
        density=replace(density, projection=density.projection.shifted(moved)),
        calibration=msgspec.structs.replace(found, held_out=numbered),
        shift=moved,
        before=tally([(s.seconds, alarms(s.times_s, s.before, calibration)) for s in stretches]),
        after=tally([(s.seconds, _judged_by_others(s, i, found)) for i, s in enumerate(stretches)]),
        stretches=tuple(stretches),
        strange=strange,
        left_out=left_out,
    )


def _check_wander(stretches: Sequence[Stretch], calibration: Calibration) -> None:
    """Driving departs from its own past all the time, whatever the camera."""
    taught = calibration.channel("departure").typical
    typical = float(np.nanmedian([np.nanmedian(s.before["departure"]) for s in stretches]))
    if typical < LEAST_WANDER * taught:
        raise CalibrationError(
            "calibrate",
            f"the footage must vary as driving does; it departs from its own past by {typical:.2g}, taught drives by {taught:.2g}",
            "give footage of driving, neither parked nor frozen",
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Move:
    """How latents are moved. centre: d, the taught mean; None for a network's own score, which has no space to be moved
    in. share: of the way from the camera's mean to there."""

    centre: Floats | None
    share: float

    @staticmethod
    def chosen(footage: Footage, units: Sequence[Unit], density: Density, learnt: NDArray[np.bool_]) -> _Move:
        """The share under which held-out units are least strange: the mean of a minute is not the camera's for good."""
        centre = _centre(density.normal)
        if centre is None or not units:
            return _Move(centre, 0.0)
        levels = dict.fromkeys(SHARES, 0.0)
        for unit in units:
            latent = footage.features[unit.start : unit.stop]
            whole = _Move(centre, 1.0).shift(footage, learnt & ~unit.excluded)
            for share in SHARES:
                levels[share] += float(np.median(_domain(density, latent - share * whole)))
        return _Move(centre, min(SHARES, key=lambda share: levels[share]))

    def shift(self, footage: Footage, learnt: NDArray[np.bool_]) -> Floats:
        """What to subtract, learnt from the frames marked, drives weighted equally."""
        if not learnt.any():
            raise CalibrationError(
                "calibrate",
                "must leave some footage when a part is held out",
                "give more drives or longer ones",
            )
        if self.centre is None or not self.share:
            return np.zeros(footage.features.shape[1])
        mean = drive_weights(footage.drives[learnt]) @ footage.features[learnt]
        return np.asarray(self.share * (mean - self.centre))


def _centre(normal: LatentDensity) -> Floats | None:
    """The mean of a density, d."""
    if isinstance(normal, Kde):
        return np.asarray(np.exp(normal.log_weights) @ normal.support)
    if isinstance(normal, Mixture):
        return np.asarray(np.exp(normal.log_weights) @ normal.means)
    return None


def _domain(density: Density, latent: Floats) -> Floats:
    surprise = density.normal.surprise(latent)
    return surprise if density.background is None else surprise - density.background.surprise(latent)


def _check(units: Sequence[Unit], calibration: Calibration) -> None:
    if len(units) < LEAST_UNITS:
        rule = calibration.rule
        least_s = rule.guard_s + rule.warmup_s + 1.5 * rule.confirm_s
        raise CalibrationError(
            "calibrate",
            f"needs at least {LEAST_UNITS} stretches of {least_s:g} s or more to hold out, got {len(units)}",
            f"give at least {LEAST_UNITS * least_s:g} s of normal driving with this camera; minutes are better",
        )


def _stretch(
    footage: Footage,
    unit: Unit,
    density: Density,
    calibration: Calibration,
    move: _Move,
    learnt: NDArray[np.bool_],
) -> Stretch:
    rows = slice(unit.start, unit.stop)
    latent, times_s = footage.features[rows], footage.times_s[rows]
    shift = move.shift(footage, learnt & ~unit.excluded)
    damage = density.damage(footage.early[rows], len(latent))

    def channels(latent: Floats) -> dict[str, Floats]:
        domain = _domain(density, latent)
        return run_channels(list(times_s), domain, latent, damage, density.within, calibration.rule)

    before = channels(latent)
    after = channels(latent - shift) if shift.any() else before
    return Stretch(unit, int(footage.drives[unit.start]), times_s, shift, before, after)


def _strange(stretches: Sequence[Stretch], calibration: Calibration) -> tuple[Strange, ...]:
    """What would alarm if thresholds stood as far above this camera's typical levels as they stood above the old ones.

    Medians, so that a fault in less than half of the footage cannot hide itself."""
    typical = {
        c.name: float(np.nanmedian([np.nanmedian(s.after[c.name]) for s in stretches]))
        for c in calibration.channels
    }
    lifted = tuple(
        msgspec.structs.replace(
            c, typical=typical[c.name], threshold=typical[c.name] + c.threshold - c.typical
        )
        for c in calibration.channels
    )
    judge = msgspec.structs.replace(calibration, channels=lifted)
    return tuple(
        Strange(s.drive, alarm.onset_s, alarm.ended_s)
        for s in stretches
        for alarm in alarms(s.times_s, s.after, judge)
    )


def _least(taught: Calibration, heard: Sequence[HeldOut]) -> dict[str, float]:
    """The peaks to reckon with at least: minutes of one camera cannot show how far driving wanders, the taught drives
    can. Where no camera is part of a channel, its threshold does not fall; elsewhere, how far each taught drive rose
    above its own level holds above this camera's. As many are passed over as when the thresholds were chosen."""
    least = {}
    for channel in taught.channels:
        name = channel.name
        typical = float(np.nanmedian([u.typical[name] for u in heard]))
        if name in CAMERA_FREE:
            least[name] = typical + (channel.threshold - typical) / taught.rule.margin
            continue
        rises = sorted(u.peak[name] - u.typical[name] for u in taught.held_out)
        known = taught.least.get(name, -np.inf) - channel.typical
        rise = max(rises[len(rises) - 1 - taught.allowed], known) if rises else known
        least[name] = typical + rise
    return {name: level for name, level in least.items() if np.isfinite(level)}


def _holds(stretch: Stretch, strange: Sequence[Strange]) -> bool:
    return any(
        p.drive == stretch.drive and stretch.times_s[0] <= p.start_s <= stretch.times_s[-1] for p in strange
    )


def _judged_by_others(stretch: Stretch, number: int, found: Calibration) -> tuple[Alarm, ...]:
    """Its alarms by the thresholds that the other stretches would have given."""
    return alarms(stretch.times_s, stretch.after, calibration_without(found, {number}))
