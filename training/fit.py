"""From features to a density and its calibration: numpy alone.

Everything that is chosen or promised is checked on footage that was held out: whole drives where there are
enough of them, else blocks of drives with a guard on both sides, since neighbouring video frames are
near-duplicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engines.decision import Calibration, Rule, calibrate, run_channels
from engines.density import (
    Density,
    Floats,
    Kde,
    Projection,
    Scores,
    drive_weights,
    fit_projection,
    logsumexp,
    squared_distances,
    within_precision,
)
from engines.encoders import Background
from engines.errors import CalibrationError
from training.encode import Encoded

DIMENSIONS = 64
DEPARTURE_DIMENSIONS = 16
"""Leading directions in which departure is measured: beyond them, few drives no longer say how far normal
wanders."""
MOST_SUPPORT = 2000
MOST_PROBED = 200
"""Frames of each held-out unit by which bandwidths are compared: neighbours say the same."""
BANDWIDTHS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
ENOUGH_DRIVES = 5
MOST_BLOCKS = 20
STILL = 1e-5
"""Features that differ by less than this share of the largest are one picture and float32's rounding."""


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
    tried."""

    density: Density
    calibration: Calibration
    held_out_surprise: dict[float, float]


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


def held_out_units(footage: Footage, rule: Rule) -> tuple[str, list[Unit]]:
    """Choose what is held out: whole drives if at least ENOUGH_DRIVES are long enough to speak, else guarded
    blocks of drives."""
    shortest_s = rule.guard_s + rule.warmup_s + 1.5 * rule.confirm_s
    spans = [np.flatnonzero(footage.drives == d) for d in np.unique(footage.drives)]
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
) -> Fitted:
    """Learn density and thresholds from ``normal`` drives; ``other`` drives only widen the background.

    With a ``projection``, the drives' features are its latents already; without, they are pooled features, and
    the projection is learnt from them.
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
            "fit", "the footage must vary; every frame has the same feature", "give footage of driving"
        )
    latent, beside = footage.features, [e.features.astype(np.float64) for e in other]
    shipped = background if projection is not None else None
    if projection is None:
        projection = _own_projection(footage, other, dimensions)
        latent, beside = projection.latent(latent), [projection.latent(features) for features in beside]
    name, units = held_out_units(footage, rule)
    support, weights = _thinned(latent, footage.drives)
    bandwidth, tried = _choose_bandwidth(latent, support, weights, units)
    broad = _background_kde(latent, footage.drives, beside, shipped, bandwidth) if relative else None
    early_projection = _early_projection(footage, background)
    density = Density(
        pooling=pooling,
        projection=projection,
        normal=Kde(latent[support], np.log(weights), bandwidth),
        background=broad,
        early_projection=early_projection,
        early=_early_kde(footage, early_projection, support, weights),
        within=within_precision(latent[:, :DEPARTURE_DIMENSIONS], footage.drives),
    )
    held_out = [_score_unit(u, latent, footage, density, support, weights, rule) for u in units]
    return Fitted(density, calibrate(held_out, rule, name, budget_per_hour), tried)


def _own_projection(footage: Footage, other: Sequence[Encoded], dimensions: int) -> Projection:
    features, drives = footage.features, footage.drives
    if other:
        extra = join(other)
        features = np.concatenate([features, extra.features])
        drives = np.concatenate([drives, extra.drives + drives.max() + 1])
    return fit_projection(features, drive_weights(drives), min(dimensions, len(features) - 1))


def _thinned(latent: Floats, drives: NDArray[np.int64]) -> tuple[NDArray[np.int64], Floats]:
    """Choose up to MOST_SUPPORT frames, evenly in time within each drive, and weigh drives equally."""
    share = max(2, MOST_SUPPORT // len(np.unique(drives)))
    rows = []
    for drive in np.unique(drives):
        mine = np.flatnonzero(drives == drive)
        rows.append(mine[_evenly(0, len(mine), share)])
    chosen = np.concatenate(rows)
    return chosen, drive_weights(drives[chosen])


def _held_out_surprise(
    unit: Unit, latent: Floats, support: NDArray[np.int64], weights: Floats, bandwidth: float
) -> Floats:
    """Surprise of the unit's frames under the density without the frames it excludes."""
    kept = ~unit.excluded[support]
    remaining = weights[kept] / weights[kept].sum() if kept.any() else weights[kept]
    if not kept.any():
        raise CalibrationError(
            "fit", "must leave some footage when a part is held out", "give more drives or longer ones"
        )
    return Kde(latent[support[kept]], np.log(remaining), bandwidth).surprise(latent[unit.start : unit.stop])


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
    distances = [
        squared_distances(latent[_evenly(u.start, u.stop, MOST_PROBED)], latent[support[kept]])
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


def _evenly(start: int, stop: int, most: int) -> NDArray[np.int64]:
    """Up to ``most`` indices from ``start`` to ``stop`` - 1, evenly spaced."""
    return np.unique(np.linspace(start, stop - 1, min(most, stop - start)).astype(np.int64))


def _background_kde(
    latent: Floats,
    drives: NDArray[np.int64],
    beside: Sequence[Floats],
    background: Background | None,
    bandwidth: float,
) -> Kde:
    """Density of everything known: normal drives, other drives, and the shipped background where its
    projection is in use."""
    more = [np.full(len(rows), drives.max() + 1 + i, np.int64) for i, rows in enumerate(beside)]
    joined, labels = np.concatenate([latent, *beside]), np.concatenate([drives, *more])
    chosen, weights = _thinned(joined, labels)
    support = joined[chosen]
    if background is not None:
        support = np.concatenate([support, background.density.support])
        weights = np.concatenate([0.5 * weights, 0.5 * np.exp(background.density.log_weights)])
    return Kde(support, np.log(weights), bandwidth)


def _early_projection(footage: Footage, background: Background | None) -> Projection | None:
    if background is not None:
        return background.early
    if not footage.early.shape[1]:
        return None
    return fit_projection(footage.early, drive_weights(footage.drives), 16)


def _early_kde(
    footage: Footage, projection: Projection | None, support: NDArray[np.int64], weights: Floats
) -> Kde | None:
    if projection is None:
        return None
    return Kde(projection.latent(footage.early[support]), np.log(weights), 1.0)


def _score_unit(
    unit: Unit,
    latent: Floats,
    footage: Footage,
    density: Density,
    support: NDArray[np.int64],
    weights: Floats,
    rule: Rule,
) -> tuple[Floats, dict[str, Floats]]:
    """Channels of a unit, as they would have been had the unit not been taught."""
    surprise = _held_out_surprise(unit, latent, support, weights, density.normal.bandwidth)
    rows = slice(unit.start, unit.stop)
    zeros = np.zeros(len(surprise))
    broad = density.background.surprise(latent[rows]) if density.background is not None else zeros
    rest = ~unit.excluded
    within = within_precision(latent[rest, :DEPARTURE_DIMENSIONS], footage.drives[rest])
    scores = Scores(surprise, broad, zeros, zeros, latent[rows])
    return footage.times_s[rows], run_channels(list(footage.times_s[rows]), scores, within, rule)
