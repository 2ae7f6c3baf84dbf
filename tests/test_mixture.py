"""Mixtures of Gaussians: what they find, and that weights count."""

from __future__ import annotations

import numpy as np
import pytest

from training.mixture import fit_gaussian, fit_mixture

RANDOM = np.random.default_rng(5)


def even(count: int) -> np.ndarray:
    return np.full(count, 1.0 / count)


def test_a_mixture_finds_the_clusters_and_their_shares() -> None:
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    latent = np.concatenate(
        [RANDOM.normal(c, 0.5, (n, 2)) for c, n in zip(centres, (100, 200, 300), strict=True)]
    )
    mixture = fit_mixture(latent, even(600), 3)
    order = np.argsort(mixture.log_weights)
    np.testing.assert_allclose(mixture.means[order], centres, atol=0.2)
    np.testing.assert_allclose(np.exp(mixture.log_weights[order]), [1 / 6, 2 / 6, 3 / 6], atol=0.01)


def test_it_explains_two_clusters_better_than_one_gaussian() -> None:
    latent = np.concatenate([RANDOM.normal(m, 1.0, (200, 3)) for m in (-5.0, 5.0)])
    fresh = np.concatenate([RANDOM.normal(m, 1.0, (200, 3)) for m in (-5.0, 5.0)])
    one, two = fit_gaussian(latent, even(400)), fit_mixture(latent, even(400), 2)
    assert two.surprise(fresh).mean() < one.surprise(fresh).mean() - 0.5


def test_a_weight_is_worth_as_much_as_repetition() -> None:
    latent = RANDOM.normal(size=(50, 3))
    weights = np.where(np.arange(50) < 10, 3.0, 1.0)
    repeated = np.concatenate([latent, latent[:10], latent[:10]])
    np.testing.assert_allclose(
        fit_gaussian(latent, weights / weights.sum()).surprise(latent),
        fit_gaussian(repeated, even(70)).surprise(latent),
    )


@pytest.mark.parametrize(
    "latent", [np.zeros((20, 3)), RANDOM.normal(size=(3, 3))], ids=["equal frames", "few frames"]
)
def test_poor_footage_gives_finite_scores(latent: np.ndarray) -> None:
    mixture = fit_mixture(latent, even(len(latent)), 8)
    assert np.isfinite(mixture.surprise(RANDOM.normal(size=(5, 3)))).all()
