"""The tilt by what was shown as other: against the two Gaussians it comes from, and with drives left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engines.density import Kde, Projection, Tilted, drive_weights, within_precision
from engines.leave_out import _density_without, still_threshold
from engines.scores import Density
from engines.tilt import Side, discriminant, tilted

SIZE = 6


def drives(random: np.random.Generator, count: int, centre: float) -> tuple[np.ndarray, np.ndarray]:
    """Latents of some drives around a centre along the first direction, and the number of each one's drive."""
    numbers = np.repeat(np.arange(count), 40)
    own = random.normal(size=(count, SIZE)) * 0.5
    latent = own[numbers] + random.normal(size=(len(numbers), SIZE)) * 0.5
    latent[:, 0] += centre
    return latent, numbers


def taught(normals: int = 4, others: int = 3, seed: int = 0) -> Density:
    """What ``fit`` would learn of drives on either side of the origin."""
    random = np.random.default_rng(seed)
    normal, mine = drives(random, normals, -1.0)
    other, theirs = drives(random, others, 1.0)
    sides = Side(normal, drive_weights(mine)), Side(other, drive_weights(theirs))
    everything, everyone = np.concatenate([normal, other]), np.concatenate([mine, theirs + normals])
    density = Kde(normal, np.log(sides[0].weights), 1.0, 3)
    broad = Kde(everything, np.log(drive_weights(everyone)), 1.0, 3)
    projection = Projection(np.zeros(SIZE), np.eye(SIZE), np.ones(SIZE))
    return Density(
        np.eye(1),
        projection,
        density,
        tilted(density, broad, *sides, projection.scale),
        None,
        None,
        within_precision(normal, mine),
        normal_drives=mine,
        background_drives=everyone,
    )


def test_the_discriminant_finds_what_differs_and_is_zero_between() -> None:
    random = np.random.default_rng(1)
    latent = random.normal(size=(4000, SIZE))
    weights = np.full(4000, 1 / 4000)
    step = np.array([2.0, 0, 0, 0, 0, 0])
    direction, offset = discriminant(Side(latent, weights), Side(latent + step, weights), np.full(SIZE, 1.0))
    # Unit covariance and a ridge of a tenth of it: the step over 1.1.
    assert direction == pytest.approx(step / 1.1, abs=0.1)
    assert (latent.mean(0) + step / 2) @ direction + offset == pytest.approx(0.0, abs=1e-9)


def test_directions_that_hardly_vary_do_not_decide() -> None:
    random = np.random.default_rng(2)
    latent = random.normal(size=(500, 2))
    weights = np.full(500, 1 / 500)
    direction, _ = discriminant(Side(latent, weights), Side(latent + 1.0, weights), np.array([1.0, 0.01]))
    assert abs(direction[1]) < 0.01 * abs(direction[0])


def test_both_halves_of_the_score_have_the_same_spread() -> None:
    density = taught()
    background = density.background
    assert isinstance(background, Tilted)
    assert isinstance(density.normal, Kde)
    assert isinstance(background.density, Kde)
    points = background.density.support
    ratio = density.normal.surprise(points) - background.weight * background.density.surprise(points)
    assert (points @ background.direction).std() == pytest.approx(ratio.std(), rel=0.15)
    other = density.background_drives >= 4
    domain = density.normal.surprise(points) - background.surprise(points)
    assert domain[other].min() > np.median(domain[~other])


@pytest.mark.parametrize("left_out", [{1}, {5}, {0, 6}], ids=["normal", "other", "both"])
def test_leaving_a_drive_out_is_teaching_without_it(left_out: set[int]) -> None:
    whole = taught()
    left = _density_without(whole, left_out)
    assert isinstance(left.background, Tilted)
    normal_kept = ~np.isin(whole.normal_drives, list(left_out))
    behind_kept = ~np.isin(whole.background_drives, list(left_out))
    assert isinstance(whole.normal, Kde)
    assert isinstance(whole.background, Tilted)
    assert isinstance(whole.background.density, Kde)
    normal = whole.normal.support[normal_kept]
    everything = whole.background.density.support[behind_kept]
    labels = whole.background_drives[behind_kept]
    density = Kde(normal, np.log(drive_weights(whole.normal_drives[normal_kept])), 1.0, 3)
    broad = Kde(everything, np.log(drive_weights(labels)), 1.0, 3)
    others = everything[labels >= 4]
    again = tilted(
        density,
        broad,
        Side(normal, drive_weights(whole.normal_drives[normal_kept])),
        Side(others, drive_weights(labels[labels >= 4])),
        whole.projection.scale,
    )
    # The same but for rounding, by which the points that spreads are compared at may change to a neighbour.
    assert left.background.direction == pytest.approx(again.direction, rel=1e-2)
    assert left.background.offset == pytest.approx(again.offset, rel=1e-2)


def test_without_any_other_drive_there_is_no_tilt() -> None:
    left = _density_without(taught(), {4, 5, 6})
    assert isinstance(left.background, Tilted)
    assert (left.background.direction == 0).all()


def test_the_threshold_of_stills_sees_each_drive_as_unseen() -> None:
    """With the drive itself in the tilt, it looked less strange than an unseen one would."""
    density = taught()
    threshold = still_threshold(density, 0.05)
    assert threshold is not None
    assert isinstance(density.normal, Kde)
    assert density.background is not None
    support = density.normal.support
    seen = density.normal.surprise(support) - density.background.surprise(support)
    assert threshold > np.quantile(seen, 0.95)
    assert still_threshold(replace(density, background=None), 0.05) is not None
