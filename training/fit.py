"""From features to a density and its calibration: numpy alone.

Everything that is chosen or promised is checked on footage that was held out: whole drives where there are
enough of them, else blocks of drives with a guard on both sides, since neighbouring video frames are
near-duplicates."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engines.decision import Calibration, HeldOut, Rule, calibrate, held_out, run_channels
from engines.density import (
    Direct,
    Floats,
    Kde,
    LatentDensity,
    Projection,
    drive_weights,
    fit_projection,
    logsumexp,
    squared_distances,
    within_precision,
)
from engines.encoders import Background
from engines.errors import CalibrationError
from engines.health import held_levels
from engines.scores import Cells, Density
from engines.tilt import Side
from training.encode import Encoded
from training.mixture import fit_gaussian, fit_mixture
from training.support import Behind, behind, evenly, thinned, world

DIMENSIONS = 64
DEPARTURE_DIMENSIONS = 16
"""Leading directions in which departure is measured: beyond them, few drives no longer say how far normal
wanders."""
LEADING = 10
"""Leading directions on which kernel densities relative to other footage stand: in more, the ratio of two sparse densities
is noise (docs/ablation.md). An absolute one stands on all, and so does one relative to the shipped background alone, which is
dense (docs/results.md)."""
MOST_PROBED, MOST_PROBED_IN_ALL = 200, 4000
"""Frames of each held-out unit, and of all, by which bandwidths are compared: neighbours say the same."""
BANDWIDTHS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
ENOUGH_DRIVES = 5
MOST_BLOCKS = 20
LEAST_UNITS = 3
COMPONENTS = 8
CELL_DIMENSIONS, MOST_CELLS = 32, 1000
STILL = 1e-5
"""Features that differ by less than this share of the largest are one picture and float32's rounding."""


class DensityKind(StrEnum):
    """What stands on the latent; ``direct``: nothing, the encoder's one feature is a score already."""

    KDE = "kde"
    GAUSSIAN = "gaussian"
    GMM = "gmm"
    DIRECT = "direct"


Estimator: TypeAlias = Callable[[Floats, Floats], LatentDensity]
"""From N × d latents and N weights to a density."""


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """A held-out stretch: frames ``start`` to ``stop`` of the joined footage; ``excluded`` marks what may not
    vouch for it."""

    start: int
    stop: int
    excluded: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """What ``fit`` learnt. held_out_surprise: mean -log density of held-out frames in nats, per bandwidth
    tried. notes: what the footage could not vouch for."""

    density: Density
    calibration: Calibration
    held_out_surprise: dict[float, float]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Footage:
    """All normal drives, joined. drives: N, which drive a frame is of. times_s: N, media seconds within its
    drive."""

    features: Floats
    early: Floats
    drives: NDArray[np.int64]
    times_s: Floats


def join(encoded: Sequence[Encoded]) -> Footage:
    """Join drives into one table of frames."""
    return Footage(
        np.concatenate([e.features for e in encoded]).astype(np.float64),
        np.concatenate([e.early for e in encoded]).astype(np.float64),
        np.concatenate([np.full(len(e.times_s), i, np.int64) for i, e in enumerate(encoded)]),
        np.concatenate([e.times_s for e in encoded]),
    )


def held_out_units(
    footage: Footage, rule: Rule, among: Collection[int] | None = None
) -> tuple[str, list[Unit]]:
    """Choose what is held out: whole drives if at least ENOUGH_DRIVES are long enough to speak, else guarded
    blocks of drives. among: the drives that may be chosen, by number; None: all."""
    shortest_s = rule.guard_s + rule.warmup_s + 1.5 * rule.confirm_s
    chosen = [d for d in np.unique(footage.drives) if among is None or d in among]
    spans = [np.flatnonzero(footage.drives == d) for d in chosen]
    seconds = [float(footage.times_s[rows[-1]] - footage.times_s[rows[0]]) for rows in spans]
    usable = [(rows, s) for rows, s in zip(spans, seconds, strict=True) if s >= shortest_s]
    if len(usable) >= ENOUGH_DRIVES:
        units = [Unit(int(r[0]), int(r[-1]) + 1, footage.drives == footage.drives[r[0]]) for r, _ in usable]
        return "drive", units
    block_s = max(shortest_s, sum(s for _, s in usable) / MOST_BLOCKS)
    units = []
    for rows, s in usable:
        edges = np.linspace(footage.times_s[rows[0]], footage.times_s[rows[-1]] + 1e-6, int(s // block_s) + 1)
        for low, high in pairwise(edges):
            mine = footage.drives == footage.drives[rows[0]]
            inside = np.flatnonzero(mine & (footage.times_s >= low) & (footage.times_s < high))
            if not inside.size:  # a hole in the recording
                continue
            guarded = (footage.times_s >= low - rule.guard_s) & (footage.times_s < high + rule.guard_s)
            units.append(Unit(int(inside[0]), int(inside[-1]) + 1, mine & guarded))
    return "block", units


def fit(
    normal: Sequence[Encoded],
    other: Sequence[Encoded],
    background: Background | None,
    pooling: Floats,
    *,
    projection: Projection | None,
    relative: bool,
    rule: Rule,
    budget_per_hour: float | None,
    dimensions: int = DIMENSIONS,
    kind: DensityKind = DensityKind.KDE,
    unit: bool = True,
    seen: Collection[str] = (),
) -> Fitted:
    """Learn density and thresholds from ``normal`` drives; ``other`` drives only widen the background.

    With a ``projection``, the drives' features are its latents already; without, they are pooled features, and
    the projection is learnt from them, scaled to length 1 if ``unit``. seen: names of drives that the encoder was
    trained on: it knows them better than any new drive, so the others judge if they can.
    """
    footage = join(normal)
    if len(footage.features) < 8:
        raise CalibrationError(
            "fit",
            f"needs at least 8 frames of normal footage, got {len(footage.features)}",
            "give more footage",
        )
    if np.ptp(footage.features, axis=0).max() <= STILL * np.abs(footage.features).max():
        raise CalibrationError(
            "fit",
            "the footage must vary; every frame has the same feature",
            "give footage of driving, or another network",
        )
    latent, beside = footage.features, [e.features.astype(np.float64) for e in other]
    shipped = background if projection is not None else None
    if projection is None:
        projection = _own_projection(footage, other, dimensions, unit)
        latent, beside = projection.latent(latent), [projection.latent(features) for features in beside]
    name, units, notes = _judges(normal, footage, rule, seen)
    support, weights = thinned(latent, footage.drives)
    known = _known(latent, footage, beside, shipped) if relative else None
    whole = known is None or known.alone
    leading = latent.shape[1] if whole else min(LEADING, latent.shape[1])
    bandwidth, tried = _choose_bandwidth(latent[:, :leading], support, weights, units)
    estimate = _estimator(kind, bandwidth, leading)
    broad = None if known is None else estimate(known.latent, known.weights)
    early_projection = _early_projection(footage, background)
    early = None if early_projection is None else early_projection.latent(footage.early)
    evidence = _Evidence(latent, early, support, weights, known, broad, estimate, projection.scale)
    nobody = np.zeros(len(latent), bool)
    taught, divisor = evidence.densities(nobody)
    density = Density(
        pooling=pooling,
        projection=projection,
        normal=taught,
        background=divisor,
        early_projection=early_projection,
        early=evidence.early_density(nobody),
        # Of the support alone, so that a drive can be left out of it later.
        within=within_precision(latent[support, :DEPARTURE_DIMENSIONS], footage.drives[support]),
        cells=_cells(normal, unit),
        normal_drives=footage.drives[support] if kind == DensityKind.KDE else np.zeros(0, np.int64),
        background_drives=known.drives if known and kind == DensityKind.KDE else np.zeros(0, np.int64),
    )
    scored = [
        _score_unit(u, footage, evidence, rule, held(normal[int(footage.drives[u.start])], u, footage))
        for u in units
    ]
    return Fitted(density, calibrate(scored, rule, name, budget_per_hour), tried, notes)


def _known(latent: Floats, footage: Footage, beside: Sequence[Floats], shipped: Background | None) -> Behind:
    """What normal is told from: other footage with all that is known, or without any the world at large."""
    if shipped is not None and not beside:
        return world(shipped, len(np.unique(footage.drives)))
    return behind(latent, footage.drives, beside, shipped)


def _judges(
    normal: Sequence[Encoded], footage: Footage, rule: Rule, seen: Collection[str]
) -> tuple[str, list[Unit], tuple[str, ...]]:
    """What is held out, and what that cannot vouch for."""
    if seen:
        name, units = held_out_units(footage, rule, [i for i, e in enumerate(normal) if e.name not in seen])
        if len(units) >= LEAST_UNITS:
            return name, units, ()
        note = (
            f"the thresholds are checked on drives that the encoder was trained on, since the others make up {len(units)} of the "
            f"{LEAST_UNITS} units it takes: nothing is promised for other drives; hold out more of them, or longer ones"
        )
        return *held_out_units(footage, rule), (note,)
    return *held_out_units(footage, rule), ()


def _estimator(kind: DensityKind, bandwidth: float, leading: int) -> Estimator:
    if kind == DensityKind.GAUSSIAN:
        return fit_gaussian
    if kind == DensityKind.GMM:
        return lambda latent, weights: fit_mixture(latent, weights, COMPONENTS)
    if kind == DensityKind.DIRECT:
        return lambda latent, weights: Direct()
    return lambda latent, weights: Kde(latent, np.log(weights), bandwidth, leading)


@dataclass(frozen=True, slots=True, eq=False)
class _Evidence:
    """What densities are estimated from: N latents, N early latents (None without early statistics), the rows among
    them that are support points with their weights, and what is known beside with its density (None where surprise is
    absolute). scale: d, of the projection."""

    latent: Floats
    early: Floats | None
    support: NDArray[np.int64]
    weights: Floats
    known: Behind | None
    broad: LatentDensity | None
    estimate: Estimator
    scale: Floats

    def densities(self, excluded: NDArray[np.bool_]) -> tuple[LatentDensity, LatentDensity | None]:
        """The normal density, and what to divide it by, as if the ``excluded`` (N) had not been taught.

        The broad density keeps them, which makes them a little stranger; a tilt would make them less strange, and
        is learnt anew."""
        rows, remaining = self._kept(excluded)
        points = self.latent[rows]
        normal = self.estimate(points, remaining)
        if self.known is None or self.broad is None:
            return normal, None
        return normal, self.known.divisor(self.broad, normal, Side(points, remaining), self.scale)

    def early_density(self, excluded: NDArray[np.bool_]) -> Kde | None:
        """The same for the early statistics; None without them."""
        if self.early is None:
            return None
        rows, remaining = self._kept(excluded)
        return Kde(self.early[rows], np.log(remaining), 1.0)

    def _kept(self, excluded: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Floats]:
        """The support points that are left, with weights that sum to 1."""
        kept = ~excluded[self.support]
        if not kept.any():
            raise CalibrationError(
                "fit", "must leave some footage when a part is held out", "give more drives or longer ones"
            )
        return self.support[kept], self.weights[kept] / self.weights[kept].sum()


def _cells(normal: Sequence[Encoded], unit: bool) -> Cells | None:
    """What single cells of normal footage look like, drives weighted equally; None without maps."""
    cells = np.concatenate([e.cells for e in normal]).astype(np.float64)
    if not len(cells) or np.ptp(cells, axis=0).max() <= STILL * np.abs(cells).max():
        return None
    drives = np.concatenate([np.full(len(e.cells), i, np.int64) for i, e in enumerate(normal)])
    projection = fit_projection(cells, drive_weights(drives), CELL_DIMENSIONS, unit=unit)
    chosen, weights = thinned(cells, drives, MOST_CELLS)
    return Cells(projection, Kde(projection.latent(cells[chosen]), np.log(weights), 1.0))


def _own_projection(footage: Footage, other: Sequence[Encoded], dimensions: int, unit: bool) -> Projection:
    features, drives = footage.features, footage.drives
    if other:
        extra = join(other)
        features = np.concatenate([features, extra.features])
        drives = np.concatenate([drives, extra.drives + drives.max() + 1])
    return fit_projection(features, drive_weights(drives), min(dimensions, len(features) - 1), unit=unit)


def _choose_bandwidth(
    latent: Floats, support: NDArray[np.int64], weights: Floats, units: Sequence[Unit]
) -> tuple[float, dict[float, float]]:
    """Largest held-out likelihood, units weighted equally (likelihood cross-validation, Silverman 1986,
    §3.4.4)."""
    if not units:
        return 1.0, {}
    mean = {}
    exclusions = [~u.excluded[support] for u in units]
    if not all(kept.any() for kept in exclusions):
        raise CalibrationError(
            "fit", "must leave some footage when a part is held out", "give more drives or longer ones"
        )
    probed = max(2, min(MOST_PROBED, MOST_PROBED_IN_ALL // len(units)))
    distances = [
        squared_distances(latent[evenly(u.start, u.stop, probed)], latent[support[kept]])
        for u, kept in zip(units, exclusions, strict=True)
    ]
    size = latent.shape[1]
    for bandwidth in BANDWIDTHS:
        constant = 0.5 * size * np.log(2 * np.pi * bandwidth**2)
        surprises = [
            float(
                np.mean(constant - logsumexp(np.log(weights[k] / weights[k].sum()) - 0.5 * d / bandwidth**2))
            )
            for d, k in zip(distances, exclusions, strict=True)
        ]
        mean[bandwidth] = float(np.mean(surprises))
    return min(mean, key=lambda h: mean[h]), mean


def _early_projection(footage: Footage, background: Background | None) -> Projection | None:
    if background is not None:
        return background.early
    if not footage.early.shape[1]:
        return None
    return fit_projection(footage.early, drive_weights(footage.drives), 16)


def held(drive: Encoded, unit: Unit, footage: Footage) -> dict[str, float]:
    """How high the checks of the camera's health came in a unit, which is of ``drive``."""
    times_s = footage.times_s[unit.start : unit.stop]
    inside = (drive.watched_s >= times_s[0]) & (drive.watched_s <= times_s[-1])
    return held_levels(drive.watched_s[inside], drive.health[inside])


def _score_unit(
    unit: Unit, footage: Footage, evidence: _Evidence, rule: Rule, health: dict[str, float]
) -> HeldOut:
    """What the channels of a unit would have done had the unit not been taught; its health as it was."""
    normal, divisor = evidence.densities(unit.excluded)
    rows = slice(unit.start, unit.stop)
    latent, times_s = evidence.latent[rows], footage.times_s[rows]
    domain = normal.surprise(latent)
    if divisor is not None:
        domain = domain - divisor.surprise(latent)
    rest = evidence.support[~unit.excluded[evidence.support]]
    within = within_precision(evidence.latent[rest, :DEPARTURE_DIMENSIONS], footage.drives[rest])
    early = evidence.early_density(unit.excluded)
    damage = np.zeros(len(latent))
    if early is not None and evidence.early is not None:
        damage = early.surprise(evidence.early[rows])
    channels = run_channels(list(times_s), domain, latent, damage, within, rule)
    return held_out(int(footage.drives[unit.start]), times_s, channels, rule, health)
