"""The ideas that the ablation compares: ways from what a fold may know to scores.

Every method of one family shares a fold's projection, so that a table of twenty takes little longer than one of
two. What ships is called by the functions that ``fit`` calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engines.density import Floats, Kde, LatentDensity, Projection, drive_weights, fit_projection, normalised
from engines.scores import pooled
from engines.tilt import Side, discriminant, tilted
from training.ablation.features import COLUMNS, ROWS
from training.mixture import fit_gaussian, fit_mixture
from training.protocols import Clip, Scorer
from training.shipped.background import pooling_matrix

DIMENSIONS = 64
MOST_FEATURES = 512
"""Features beyond are first rotated and cut by the principal axes of the whole suite, unlabelled."""
CAMERA_DIRECTIONS = 5
FOLDS = 4

Score = Callable[[Floats], Floats]
"""N × d latents -> N scores, higher is stranger."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What a fold may know, in its latent space. drives: of the normal latents. shipped: points of a background
    that came with the encoder; None without one."""

    normal: Side
    other: Side
    drives: list[str]
    projection: Projection
    shipped: Side | None = None

    @property
    def everything(self) -> Side:
        sides = [s for s in (self.normal, self.other) if len(s.latent)]
        latents, weights = [s.latent for s in sides], [s.weights / len(sides) for s in sides]
        if self.shipped is not None:
            latents.append(self.shipped.latent)
            weights = [0.5 * w for w in weights] + [0.5 * self.shipped.weights]
        return Side(np.concatenate(latents), np.concatenate(weights))

    def part(self, keep: np.ndarray) -> Known:
        """Some of the normal latents."""
        weights = self.normal.weights[keep]
        side = Side(self.normal.latent[keep], weights / weights.sum())
        return replace(self, normal=side, drives=[d for d, k in zip(self.drives, keep, strict=True) if k])


def pool(clips: Sequence[Clip], layout: float, *, most: int = MOST_FEATURES) -> list[Clip]:
    """The clips with pooled features, N × D, of length 1; rotated and cut where D would be more than ``most``."""
    average = np.zeros((ROWS * COLUMNS + 1, 1))
    average[-1] = 1.0
    pooling = average
    if layout:
        cells = np.vstack([pooling_matrix((ROWS, COLUMNS), layout), np.zeros((1, 10))])
        pooling = np.concatenate([average, cells[:, 1:]], axis=1)
    features = [normalised(pooled(c.late, pooling)) for c in clips]
    if features[0].shape[1] > most:
        labels = np.concatenate([np.full(len(f), i) for i, f in enumerate(features)])
        rotation = fit_projection(np.concatenate(features), drive_weights(labels), most // 2, unit=False)
        features = [(f - rotation.mean) @ rotation.basis for f in features]
    return [replace(c, late=f.astype(np.float32)) for c, f in zip(clips, features, strict=True)]


def known(
    normal: Sequence[Clip], background: Sequence[Clip], projection: Projection | None, *, narrow: bool = False
) -> Known:
    """Weigh drives equally and project. ``narrow``: whiten by the normal drives alone. A rig of many drives of a
    few stills counts as one where others are taught too."""
    several = len({c.rig for c in normal}) > 1
    features, sides, drives = [], [], []
    for clips in (normal, background):
        names = [c.rig if several and len(c) < 10 else c.drive for c in clips for _ in range(len(c))]
        _, numbers = np.unique(names, return_inverse=True)
        features.append(np.concatenate([c.late for c in clips]).astype(np.float64) if clips else None)
        sides.append(drive_weights(numbers.astype(np.int64)) if clips else np.zeros(0))
        drives.append(names)
    own, beside = features
    assert own is not None
    if projection is None:
        wide = beside is not None and not narrow
        rows = np.concatenate([own, beside]) if wide and beside is not None else own
        weights = np.concatenate(sides) / 2.0 if wide else sides[0]
        projection = fit_projection(rows, weights, min(DIMENSIONS, len(rows) - 1), unit=False)
    latents = [
        projection.latent(f) if f is not None else np.zeros((0, projection.basis.shape[1])) for f in features
    ]
    return Known(Side(latents[0], sides[0]), Side(latents[1], sides[1]), drives[0], projection)


def kernels(side: Side, leading: int, bandwidth: float) -> Kde:
    return Kde(side.latent, np.log(side.weights), bandwidth, leading)


def surprise(k: Known, leading: int, bandwidth: float) -> Score:
    return kernels(k.normal, leading, bandwidth).surprise


def ratio(k: Known, leading: int, bandwidth: float, weight: float = 1.0) -> Score:
    normal, broad = kernels(k.normal, leading, bandwidth), kernels(k.everything, leading, bandwidth)
    return lambda latent: normal.surprise(latent) - weight * broad.surprise(latent)


def tilt(k: Known, leading: int, bandwidth: float) -> Score:
    """What ships: half the background, tilted by the discriminant."""
    normal = kernels(k.normal, leading, bandwidth)
    broad = tilted(normal, kernels(k.everything, leading, bandwidth), k.normal, k.other, k.projection.scale)
    return lambda latent: normal.surprise(latent) - broad.surprise(latent)


def tilt_by(k: Known, world: Side, leading: int, bandwidth: float) -> Score:
    """The same by a background that ships, where no other footage is known."""
    normal = kernels(k.normal, leading, bandwidth)
    broad = tilted(normal, kernels(world, leading, bandwidth), k.normal, world, k.projection.scale)
    return lambda latent: normal.surprise(latent) - broad.surprise(latent)


def lda(k: Known) -> Score:
    direction, offset = discriminant(k.normal, k.other, k.projection.scale)
    return lambda latent: np.asarray(latent @ direction + offset)


def gaussians(k: Known, leading: int, components: int) -> Score:
    """Ratio of Gaussians, or of mixtures of them."""

    def density(side: Side) -> LatentDensity:
        points = side.latent[:, :leading]
        return (
            fit_gaussian(points, side.weights)
            if components == 1
            else fit_mixture(points, side.weights, components)
        )

    normal, broad = density(k.normal), density(k.everything)
    return lambda latent: normal.surprise(latent[:, :leading]) - broad.surprise(latent[:, :leading])


def without_cameras(k: Known, leading: int, bandwidth: float) -> Score:
    """Conditioned on the camera: without the directions in which the means of normal drives differ most."""
    names = np.array(k.drives)
    means = np.stack([k.normal.latent[names == n].mean(0) for n in np.unique(names)])
    _, _, axes = np.linalg.svd(means - means.mean(0), full_matrices=False)
    nuisance = axes[:CAMERA_DIRECTIONS].T

    def clean(latent: Floats) -> Floats:
        return np.asarray(latent - (latent @ nuisance) @ nuisance.T)

    cleaned = replace(
        k,
        normal=Side(clean(k.normal.latent), k.normal.weights),
        other=Side(clean(k.other.latent), k.other.weights),
    )
    score = tilt(cleaned, leading, bandwidth)
    return lambda latent: score(clean(latent))


def fused(k: Known, leading: int, bandwidth: float) -> Score:
    """Several channels joined by Fisher's sum of log p-values, each calibrated on normal drives held out in turn."""

    def channels(part: Known) -> list[Score]:
        return [surprise(part, 0, 2.0), ratio(part, leading, bandwidth), lda(part)]

    names = np.array(k.drives)
    found, weights = [], []
    for fold in range(FOLDS):
        out = np.isin(names, np.unique(names)[fold::FOLDS])
        if out.all() or not out.any():
            continue
        found.append([c(k.normal.latent[out]) for c in channels(k.part(~out))])
        weights.append(k.normal.weights[out])
    held = [np.concatenate(parts) for parts in zip(*found, strict=True)]
    shares, whole = np.concatenate(weights), channels(k)

    def score(latent: Floats) -> Floats:
        total = np.zeros(len(latent))
        for values, channel in zip(held, whole, strict=True):
            order = np.argsort(values)
            above = np.append(np.cumsum(shares[order][::-1])[::-1], 0.0)
            p = above[np.searchsorted(values[order], channel(latent))]
            total -= np.log((p * len(values) + 1.0) / (len(values) + 1.0))
        return total

    return score


def scorer(score: Score, projection: Projection) -> Scorer:
    return lambda clip: score(projection.latent(clip.late.astype(np.float64)))
