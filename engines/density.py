"""Projection and kernel density in numpy float64: the definition of every score, and the reference for every
engine.

A picture's feature is L2-normalised, centred, projected on a few directions and scaled to unit variance there
(whitened); a Gaussian kernel density stands on the whitened latent of the normal footage. Densities never
leave log space, sums over support points are brute force: no tree, no tolerance, no cut-off (Silverman 1986,
§4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

NORM_FLOOR = 1e-12
"""Smallest length a feature is divided by: the feature of a dead network is the origin, not NaN."""

ROWS_AT_A_TIME = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Whitening by a background: latent = (x/‖x‖ - mean) · basis / scale.

    mean: D. basis: D × d, orthonormal columns. scale: d, the background's standard deviations along them.
    """

    mean: Floats
    basis: Floats
    scale: Floats

    def latent(self, features: Floats) -> Floats:
        """N × D features -> N × d whitened latent, dimensionless."""
        return np.asarray((normalised(features) - self.mean) @ self.basis / self.scale)

    def residual(self, features: Floats) -> Floats:
        """N × D features -> N lengths of what the basis cannot represent (0 to 2, since features have length
        1)."""
        centred = normalised(features) - self.mean
        return np.asarray(np.linalg.norm(centred - (centred @ self.basis) @ self.basis.T, axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class Kde:
    """Gaussian kernel density: support M × d, log weights M (their exponentials sum to 1), bandwidth in
    latent units."""

    support: Floats
    log_weights: Floats
    bandwidth: float

    def surprise(self, latent: Floats) -> Floats:
        """N × d latent -> N values of -log density in nats; higher is stranger."""
        dimensions = self.support.shape[1]
        constant = 0.5 * dimensions * np.log(2.0 * np.pi * self.bandwidth**2)
        result = np.empty(len(latent))
        # Some rows at a time: an hour of footage against every support point would take gigabytes.
        for start in range(0, len(latent), ROWS_AT_A_TIME):
            rows = slice(start, start + ROWS_AT_A_TIME)
            distances = squared_distances(latent[rows], self.support)
            result[rows] = constant - logsumexp(self.log_weights - 0.5 * distances / self.bandwidth**2)
        return result


@dataclass(frozen=True, slots=True, eq=False)
class Density:
    """What one bundle knows: how late features are pooled and projected, and what is normal there.

    pooling: cells × K, from the late map's cells to K pooled vectors (a column of 1/cells is the plain
    average). background is None where scores are not relative to one. early_projection and early: the same
    for the early statistics; None for encoders without them. within: k × k inverse covariance of the k
    leading latent directions around their own drive's mean: how far normal drives wander."""

    pooling: Floats
    projection: Projection
    normal: Kde
    background: Kde | None
    early_projection: Projection | None
    early: Kde | None
    within: Floats


def normalised(features: Floats) -> Floats:
    """Scale each row to length 1."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(length, NORM_FLOOR))


def pooled(late: NDArray[np.floating], pooling: Floats) -> Floats:
    """Late map N×C×h×w (or N×C) and pooling h·w × K -> features N × C·K in float64."""
    cells = late.reshape(late.shape[0], late.shape[1], -1).astype(np.float64)
    return np.asarray((cells @ pooling).reshape(late.shape[0], -1))


def squared_distances(a: Floats, b: Floats) -> Floats:
    """N × d and M × d -> N × M squared Euclidean distances, never negative."""
    product = a @ b.T
    product *= -2.0
    product += (a * a).sum(1)[:, None]
    product += (b * b).sum(1)[None]
    return np.maximum(product, 0.0, out=product)


def logsumexp(values: Floats) -> Floats:
    """log Σ exp over the last axis, stable; -inf where every term is -inf."""
    peak = values.max(axis=-1, keepdims=True)
    peak = np.where(np.isfinite(peak), peak, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.exp(values - peak).sum(axis=-1)) + peak[..., 0])


def drive_weights(drives: NDArray[np.int64]) -> Floats:
    """One weight per frame such that every drive weighs the same and all sum to 1."""
    _, inverse, counts = np.unique(drives, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / (counts[inverse] * len(counts)))


def fit_projection(features: Floats, weights: Floats, dimensions: int) -> Projection:
    """Principal axes of the weighted features (N × D), by the eigenvectors of the D × D covariance or of the
    thin SVD if N < D.

    Directions without variance are left out, so ``dimensions`` is an upper bound.
    """
    unit = normalised(features)
    mean = weights @ unit
    rows = (unit - mean) * np.sqrt(weights)[:, None]
    if len(rows) >= rows.shape[1]:
        variances, vectors = np.linalg.eigh(rows.T @ rows)
        variances, vectors = variances[::-1], vectors[:, ::-1]
    else:
        _, singular, right = np.linalg.svd(rows, full_matrices=False)
        variances, vectors = singular**2, right.T
    # Features have length 1: a variance of 1e-12 is the rounding of their float32.
    count = int(min(dimensions, ((variances > 1e-9 * variances[0]) & (variances > 1e-12)).sum()))
    return Projection(mean, np.ascontiguousarray(vectors[:, :count]), np.sqrt(variances[:count]))


def within_precision(latent: Floats, drives: NDArray[np.int64], shrinkage: float = 0.1) -> Floats:
    """Inverse of the covariance of latents around their drive's mean, drives weighted equally, shrunk towards
    a sphere.

    Shrinkage (Ledoit & Wolf 2004, with a fixed share) keeps minutes of footage from promising directions that
    never move."""
    centred = latent.copy()
    for drive in np.unique(drives):
        centred[drives == drive] -= latent[drives == drive].mean(0)
    covariance = (centred * drive_weights(drives)[:, None]).T @ centred
    sphere = np.trace(covariance) / len(covariance)
    covariance = (1.0 - shrinkage) * covariance + shrinkage * max(sphere, 1e-6) * np.eye(len(covariance))
    return np.asarray(np.linalg.inv(covariance))


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What an engine says of N frames. Higher is stranger in every channel.

    surprise: N, -log density of the latent under the normal footage, nats.
    background: N, the same under the background (constant 0 where the bundle has none), nats.
    residual: N, length of the normalised feature outside the projection's span.
    damage: N, -log density of the early statistics, nats (0 where the encoder has none).
    latent: N × d.
    """

    surprise: NDArray[np.floating]
    background: NDArray[np.floating]
    residual: NDArray[np.floating]
    damage: NDArray[np.floating]
    latent: NDArray[np.floating]

    @property
    def domain(self) -> NDArray[np.floating]:
        """Surprise relative to the background: the log ratio of the two densities, nats."""
        return self.surprise - self.background

    def __len__(self) -> int:
        return len(self.surprise)


def reference_scores(
    density: Density, late: NDArray[np.floating], early: NDArray[np.floating] | None
) -> Scores:
    """Score encoder outputs in float64; what every engine must agree with."""
    features = pooled(late, density.pooling)
    latent = density.projection.latent(features)
    zeros = np.zeros(len(latent))
    damage = zeros
    if early is not None and density.early is not None and density.early_projection is not None:
        damage = density.early.surprise(density.early_projection.latent(early.astype(np.float64)))
    return Scores(
        surprise=density.normal.surprise(latent),
        background=zeros if density.background is None else density.background.surprise(latent),
        residual=density.projection.residual(features),
        damage=damage,
        latent=latent,
    )
