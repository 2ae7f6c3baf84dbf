"""Fit a mixture of Gaussians to weighted latents by expectation maximisation (Dempster, Laird & Rubin 1977), in numpy
alone: scikit-learn's takes no weights, and drives must weigh the same whatever their length."""

from __future__ import annotations

import numpy as np

from engines.density import Floats, Mixture, logsumexp, squared_distances

SHRINKAGE = 0.1
"""Share of the sphere in every covariance (Ledoit & Wolf 2004, with a fixed share): frames of one drive are
near-duplicates, and a covariance of them alone would promise directions that never move."""
ROUNDS = 60
TOLERANCE_NATS = 1e-4


def fit_gaussian(latent: Floats, weights: Floats) -> Mixture:
    """One Gaussian: weighted mean and shrunk covariance of N × d latents; weights N sum to 1."""
    return _maximised(latent, weights[:, None])


def fit_mixture(latent: Floats, weights: Floats, components: int, seed: int = 0) -> Mixture:
    """``components`` Gaussians, fewer where the latents are fewer; deterministic for a seed."""
    random = np.random.default_rng(seed)
    centres = _spread(latent, weights, min(components, len(latent)), random)
    nearest = squared_distances(latent, centres).argmin(1)
    mixture = _maximised(latent, weights[:, None] * (nearest[:, None] == np.arange(len(centres))))
    best = np.inf
    for _ in range(ROUNDS):
        exponents = mixture.exponents(latent)
        total = logsumexp(exponents)
        surprise = -float(weights @ total)
        if best - surprise < TOLERANCE_NATS:
            break
        best = surprise
        mixture = _maximised(latent, weights[:, None] * np.exp(exponents - total[:, None]))
    return mixture


def _spread(latent: Floats, weights: Floats, count: int, random: np.random.Generator) -> Floats:
    """Starting centres, each drawn with the squared distance to the nearest so far (k-means++, Arthur & Vassilvitskii
    2007)."""
    chosen = [int(random.choice(len(latent), p=weights / weights.sum()))]
    while len(chosen) < count:
        distance = squared_distances(latent, latent[chosen]).min(1) * weights
        if distance.sum() <= 0:
            break
        chosen.append(int(random.choice(len(latent), p=distance / distance.sum())))
    return latent[chosen]


def _maximised(latent: Floats, shares: Floats) -> Mixture:
    """The mixture for N × K weighted responsibilities; components that nothing belongs to are dropped."""
    mass = shares.sum(0)
    shares, mass = shares[:, mass > 1e-9], mass[mass > 1e-9]
    means = (shares.T @ latent) / mass[:, None]
    dimensions = latent.shape[1]
    factors = []
    for share, amount, mean in zip(shares.T, mass, means, strict=True):
        centred = (latent - mean) * np.sqrt(share / amount)[:, None]
        covariance = centred.T @ centred
        sphere = max(float(np.trace(covariance)) / dimensions, 1e-6)
        covariance = (1.0 - SHRINKAGE) * covariance + SHRINKAGE * sphere * np.eye(dimensions)
        # Σ = L·Lᵀ, so F = L⁻ᵀ has F·Fᵀ = Σ⁻¹.
        factors.append(np.linalg.inv(np.linalg.cholesky(covariance)).T)
    return Mixture(means, np.stack(factors), np.log(mass / mass.sum()))
