"""Projection and latent densities in numpy float64: the definition of every score, and the reference for every
engine.

A picture's feature is L2-normalised (unless its encoder says that length carries meaning), centred, projected
on a few directions and scaled to unit variance there (whitened); a density stands on the whitened latent of the
normal footage: a Gaussian kernel per frame, or a mixture of a few Gaussians. Densities never leave log space,
sums over support points are brute force: no tree, no tolerance, no cut-off (Silverman 1986, §4)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

NORM_FLOOR = 1e-12
"""Smallest length a feature is divided by: the feature of a dead network is the origin, not NaN."""

ROWS_AT_A_TIME = 2048


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Whitening by a background: latent = (u - mean) · basis / scale.

    mean: D. basis: D × d, orthonormal columns. scale: d, the background's standard deviations along them.
    unit: whether u is the feature scaled to length 1, or the feature as it is.
    """

    mean: Floats
    basis: Floats
    scale: Floats
    unit: bool = True

    def latent(self, features: Floats) -> Floats:
        """N × D features -> N × d whitened latent, dimensionless."""
        return np.asarray(self._centred(features) @ self.basis / self.scale)

    def residual(self, features: Floats) -> Floats:
        """N × D features -> N lengths of what the basis cannot represent (0 to 2 where features have length
        1)."""
        centred = self._centred(features)
        return np.asarray(np.linalg.norm(centred - (centred @ self.basis) @ self.basis.T, axis=1))

    def shifted(self, shift: Floats) -> Projection:
        """The projection whose latent is this one's less ``shift`` (d); residuals stay the same."""
        return replace(self, mean=self.mean + self.basis @ (self.scale * shift))

    def _centred(self, features: Floats) -> Floats:
        return (normalised(features) if self.unit else features) - self.mean


class LatentDensity(Protocol):
    """What can say how surprising a latent is: Kde, Mixture, Direct or Tilted."""

    def surprise(self, latent: Floats) -> Floats:
        """N × d latent -> N values of -log density in nats; higher is stranger."""


@dataclass(frozen=True, slots=True, eq=False)
class Kde:
    """Gaussian kernel density: support M × d, log weights M (their exponentials sum to 1), bandwidth in
    latent units. leading: how many of the directions it looks at; 0 for all."""

    support: Floats
    log_weights: Floats
    bandwidth: float
    leading: int = 0

    @property
    def points(self) -> Floats:
        """M × k: the support in the directions that count."""
        return self.support[:, : self.leading] if self.leading else self.support

    def surprise(self, latent: Floats) -> Floats:
        """N × d latent -> N values of -log density in nats; higher is stranger."""
        dimensions = self.points.shape[1]
        latent = latent[:, :dimensions]
        constant = 0.5 * dimensions * np.log(2.0 * np.pi * self.bandwidth**2)
        result = np.empty(len(latent))
        # Some rows at a time: an hour of footage against every support point would take gigabytes.
        for start in range(0, len(latent), ROWS_AT_A_TIME):
            rows = slice(start, start + ROWS_AT_A_TIME)
            distances = squared_distances(latent[rows], self.points)
            result[rows] = constant - logsumexp(self.log_weights - 0.5 * distances / self.bandwidth**2)
        return result


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Mixture of K Gaussians with full covariances; K = 1 is the plain Gaussian, whose surprise is half the
    squared Mahalanobis distance and a constant.

    means: K × d. factors: K × d × d, F with F·Fᵀ the inverse covariance. log_weights: K, whose exponentials sum
    to 1."""

    means: Floats
    factors: Floats
    log_weights: Floats

    @property
    def offsets(self) -> Floats:
        """K logs of weight times the height of the component's peak."""
        dimensions = self.means.shape[1]
        _, log_determinants = np.linalg.slogdet(self.factors)
        return np.asarray(self.log_weights + log_determinants - 0.5 * dimensions * np.log(2.0 * np.pi))

    def exponents(self, latent: Floats) -> Floats:
        """N × d latent -> N × K logs of weight times density of each component."""
        # One component at a time: all at once would take N·K·d floats.
        squares = [
            (((latent - m) @ f) ** 2).sum(axis=1) for m, f in zip(self.means, self.factors, strict=True)
        ]
        return np.asarray(self.offsets - 0.5 * np.stack(squares, axis=1))

    def surprise(self, latent: Floats) -> Floats:
        """N × d latent -> N values of -log density in nats; higher is stranger."""
        return -logsumexp(self.exponents(latent))


@dataclass(frozen=True, slots=True, eq=False)
class Direct:
    """No density at all: the first latent direction is a score of its network's own, and is its own surprise (in
    the network's units)."""

    def surprise(self, latent: Floats) -> Floats:
        """N × d latent -> N values; higher is stranger."""
        return np.asarray(latent[:, 0])


@dataclass(frozen=True, slots=True, eq=False)
class Tilted:
    """A density to the power of ``weight``, tilted exponentially: p^weight · exp(latent · direction + offset).

    Linear discriminant analysis gives such a factor: it is the log ratio of two Gaussians that share their
    covariance (Fisher 1936). As a background it joins what two estimates of the same ratio know, the kernels' and
    the Gaussians' (a logarithmic opinion pool, Genest & Zidek 1986). Not normalised; as every surprise, in nats.

    direction: d. weight: above 0; 1 keeps the density as it is."""

    density: Kde | Mixture
    weight: float
    direction: Floats
    offset: float

    def surprise(self, latent: Floats) -> Floats:
        """N × d latent -> N values of -log density in nats; higher is stranger."""
        tilt = latent @ self.direction + self.offset
        return np.asarray(self.weight * self.density.surprise(latent) - tilt)


def normalised(features: Floats) -> Floats:
    """Scale each row to length 1."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(length, NORM_FLOOR))


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


def fit_projection(features: Floats, weights: Floats, dimensions: int, *, unit: bool = True) -> Projection:
    """Principal axes of the weighted features (N × D), by the eigenvectors of the D × D covariance or of the
    thin SVD if N < D. ``unit``: scale features to length 1 first.

    Directions without variance are left out, so ``dimensions`` is an upper bound.
    """
    scaled = normalised(features) if unit else features
    mean = weights @ scaled
    rows = (scaled - mean) * np.sqrt(weights)[:, None]
    if len(rows) >= rows.shape[1]:
        variances, vectors = np.linalg.eigh(rows.T @ rows)
        variances, vectors = variances[::-1], vectors[:, ::-1]
    else:
        _, singular, right = np.linalg.svd(rows, full_matrices=False)
        variances, vectors = singular**2, right.T
    # Of features of length 1, a variance of 1e-12 is the rounding of their float32.
    rounding = 1e-12 * (1.0 if unit else max(1.0, float(weights @ (scaled**2).sum(axis=1))))
    count = int(min(dimensions, ((variances > 1e-9 * variances[0]) & (variances > rounding)).sum()))
    return Projection(mean, np.ascontiguousarray(vectors[:, :count]), np.sqrt(variances[:count]), unit)


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
