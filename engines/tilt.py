"""Tilt a background by what was shown as other: linear discriminant analysis beside a ratio of kernel densities.

The ratio of two kernel densities is sure near the footage it was given and says little beyond it; the ratio of two
Gaussians with one covariance is a plane that goes on for ever, and a crude one. Their sum, each brought to the same
spread, tells roads apart across cameras better than either (docs/ablation.md)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engines.density import Floats, Kde, Mixture, Tilted

WEIGHT = 0.5
"""Power of the background: normal² / background, which trusts what is near the normal footage a little more than
the plain ratio does."""
RIDGE = 0.1
"""Added to the covariance, as a share of the largest variance of the features: directions in which features hardly
vary cannot decide. (The features' variances, not the latent's, which whitening has made equal.)"""
MOST_COMPARED = 300
"""Points of either side by which spreads are compared: more say the same."""


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """Latents of one side, normal or other: N × d, and N weights that sum to 1."""

    latent: Floats
    weights: Floats

    @property
    def mean(self) -> Floats:
        return np.asarray(self.weights @ self.latent)

    @property
    def covariance(self) -> Floats:
        centred = self.latent - self.mean
        return np.asarray((centred * self.weights[:, None]).T @ centred)

    def some(self) -> Floats:
        """Up to MOST_COMPARED latents, drawn in proportion to their weights, evenly along them."""
        quantiles = (np.arange(MOST_COMPARED) + 0.5) / MOST_COMPARED
        return self.latent[
            np.minimum(np.searchsorted(np.cumsum(self.weights), quantiles), len(self.latent) - 1)
        ]


def tilted(
    normal: Kde | Mixture, background: Kde | Mixture, normal_side: Side, other_side: Side, scale: Floats
) -> Tilted:
    """Return the background that ``normal`` is to be divided by.

    ``scale``: d, standard deviation of the features along each latent direction (``Projection.scale``)."""
    direction, offset = discriminant(normal_side, other_side, scale)
    compared = np.concatenate([normal_side.some(), other_side.some()])
    ratio = normal.surprise(compared) - WEIGHT * background.surprise(compared)
    spread = float((compared @ direction).std())
    gain = float(ratio.std()) / spread if spread > 0.0 else 0.0
    return Tilted(background, WEIGHT, gain * direction, gain * offset)


def discriminant(normal: Side, other: Side, scale: Floats) -> tuple[Floats, float]:
    """Log density ratio of other to normal as Gaussians of one covariance: latent · direction + offset."""
    ridge = RIDGE * (scale.max() / scale) ** 2
    covariance = 0.5 * (normal.covariance + other.covariance) + np.diag(ridge)
    direction = np.asarray(np.linalg.solve(covariance, other.mean - normal.mean), np.float64)
    return direction, float(-0.5 * (normal.mean + other.mean) @ direction)
