"""Which frames densities stand on: evenly chosen, drives weighed equally; those of one's own footage, and those behind.

What is *behind* is everything known beside: a ratio divides by its density, and a tilt by what of it is other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.density import Floats, Kde, LatentDensity, Mixture, drive_weights
from engines.encoders import Background
from engines.tilt import Side, tilted

MOST_SUPPORT = 2000
SHIPPED = -1
"""Number of the drive that the shipped background's points are said to be from."""


def evenly(start: int, stop: int, most: int) -> NDArray[np.int64]:
    """Up to ``most`` indices from ``start`` to ``stop`` - 1, evenly spaced."""
    return np.unique(np.linspace(start, stop - 1, min(most, stop - start)).astype(np.int64))


def thinned(
    latent: Floats, drives: NDArray[np.int64], most: int = MOST_SUPPORT
) -> tuple[NDArray[np.int64], Floats]:
    """Choose up to ``most`` rows, evenly within each drive, and weigh drives equally."""
    share = max(2, most // len(np.unique(drives)))
    rows = []
    for drive in np.unique(drives):
        mine = np.flatnonzero(drives == drive)
        rows.append(mine[evenly(0, len(mine), share)])
    chosen = np.concatenate(rows)
    return chosen, drive_weights(drives[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class Behind:
    """What a ratio divides by. Everything known: normal drives, other drives, and the shipped background where its
    projection is in use; or that alone.

    latent: M × d. weights: M, summing to 1. drives: M, the normal ones first, the other ones numbered on from them,
    SHIPPED. normals: how many drives are normal."""

    latent: Floats
    weights: Floats
    drives: NDArray[np.int64]
    normals: int

    @property
    def alone(self) -> bool:
        """Whether the shipped background is all there is."""
        return bool((self.drives == SHIPPED).all())

    @property
    def other(self) -> Side | None:
        """What was shown as other, or the shipped background where it is alone; None where there is neither."""
        shown = (self.drives >= self.normals) | self.alone
        if not shown.any():
            return None
        return Side(self.latent[shown], self.weights[shown] / self.weights[shown].sum())

    def divisor(
        self, plain: LatentDensity, normal: LatentDensity, taught: Side, scale: Floats
    ) -> LatentDensity:
        """``plain``, the density of all this, tilted by what is other, if anything is; for ``normal`` to be
        divided by."""
        other = self.other
        if other is None or not isinstance(plain, Kde | Mixture) or not isinstance(normal, Kde | Mixture):
            return plain
        return tilted(normal, plain, taught, other, scale)


def world(shipped: Background, normals: int) -> Behind:
    """The shipped background alone: where no other footage is given, what is normal is told from the world at large."""
    support = shipped.density.support
    sources = np.full(len(support), SHIPPED)
    return Behind(support, np.exp(shipped.density.log_weights), sources, normals)


def behind(
    latent: Floats, drives: NDArray[np.int64], beside: Sequence[Floats], shipped: Background | None
) -> Behind:
    """Join what is known. ``drives`` are numbered from 0; ``beside`` has the latents of one other drive each."""
    normals = int(drives.max()) + 1
    more = [np.full(len(rows), normals + i, np.int64) for i, rows in enumerate(beside)]
    joined, labels = np.concatenate([latent, *beside]), np.concatenate([drives, *more])
    chosen, weights = thinned(joined, labels)
    support, sources = joined[chosen], labels[chosen]
    if shipped is not None:
        support = np.concatenate([support, shipped.density.support])
        sources = np.concatenate([sources, np.full(len(shipped.density.support), SHIPPED)])
        weights = np.concatenate([0.5 * weights, 0.5 * np.exp(shipped.density.log_weights)])
    return Behind(support, weights, sources, normals)
