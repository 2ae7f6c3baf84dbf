"""A bundle as though some of its drives had not been taught: leave-one-drive-out without teaching again.

The density keeps, of each support point, the drive it comes from, and the calibration keeps each held-out unit's
peaks; so both can do without a drive, and a tilt is learnt anew. What is left of it: a projection that was learnt from
the footage itself, the bandwidth, and a little in the thresholds, since the other units were scored with the drive
still among the taught.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.decision import calibration_without
from engines.density import Direct, Kde, LatentDensity, Tilted, logsumexp, within_precision
from engines.errors import CalibrationError
from engines.scores import Density, Scores
from engines.tilt import Side, tilted

STILL_ALPHA = 0.01


def without(bundle: Bundle, drives: Set[int]) -> Bundle:
    """Return the bundle without ``drives``, numbers among those it knows (``manifest.known``).

    CalibrationError where that leaves nothing, or where the density is one that does not keep its drives apart.
    The graph on disk is not touched: score with it, then ``rescored``."""
    manifest = msgspec.structs.replace(
        bundle.manifest, calibration=calibration_without(bundle.calibration, drives)
    )
    return replace(bundle, manifest=manifest, density=_density_without(bundle.density, drives))


def rescored(scores: Scores, density: Density) -> Scores:
    """The scores of a graph's frames under another density on the same latents, in float64."""
    latent = scores.latent.astype(np.float64)
    background = density.background
    return replace(
        scores,
        surprise=density.normal.surprise(latent),
        background=np.zeros(len(latent)) if background is None else background.surprise(latent),
    )


def still_threshold(density: Density, alpha: float = STILL_ALPHA) -> float | None:
    """The level that a share ``alpha`` of single normal pictures exceeds, from the taught ones alone.

    Each is scored without its drive; in a single drive, whose pictures must be independent then, without itself.
    Drives weigh the same. None for a density without support points."""
    if not isinstance(density.normal, Kde) or not len(density.normal_drives):
        return None
    support, drives = density.normal.support, density.normal_drives
    alone = len(np.unique(drives)) == 1
    labels = np.arange(len(support)) if alone else drives
    domain = np.empty(len(support))
    for label in np.unique(labels):
        mine = labels == label
        pruned = replace(density, normal=_kde_without(density.normal, ~mine))
        left = pruned if alone else _density_without(density, {int(label)})
        domain[mine] = left.normal.surprise(support[mine])
        if left.background is not None:
            domain[mine] -= left.background.surprise(support[mine])
    order = np.argsort(domain)
    weights = np.exp(density.normal.log_weights)[order]
    # The next picture is one more, and may be the strangest: conformal, as every threshold here.
    reached = np.cumsum(weights) * len(weights) / (len(weights) + 1)
    return float(domain[order][min(int(np.searchsorted(reached, 1.0 - alpha)), len(order) - 1)])


def _density_without(density: Density, drives: Set[int]) -> Density:
    kept, kept_behind = (
        ~np.isin(labels, list(drives)) for labels in (density.normal_drives, density.background_drives)
    )
    normal = _masked(density.normal, kept)
    background = density.background
    if isinstance(background, Tilted):
        background = _tilted_without(density, background, normal, kept, kept_behind)
    elif background is not None:
        background = _masked(background, kept_behind)
    within = density.within
    if isinstance(normal, Kde):
        within = within_precision(normal.support[:, : len(within)], density.normal_drives[kept])
    return replace(
        density,
        normal=normal,
        background=background,
        early=density.early if density.early is None or not len(kept) else _kde_without(density.early, kept),
        within=within,
        normal_drives=density.normal_drives[kept],
        background_drives=density.background_drives[kept_behind],
    )


def _masked(density: LatentDensity, kept: NDArray[np.bool_]) -> LatentDensity:
    """The density without some of its points. A network's own score knows no drives."""
    if isinstance(density, Direct):
        return density
    if not isinstance(density, Kde):
        raise CalibrationError(
            "leave one drive out",
            "needs a kernel density; a mixture of Gaussians does not keep its drives apart",
            "judge it by drives it was not taught on, or teach with --density kde",
        )
    return _kde_without(density, kept)


def _kde_without(density: Kde, kept: NDArray[np.bool_]) -> Kde:
    """The kernels that are ``kept``, with weights that sum to 1 again."""
    if not kept.any():
        raise CalibrationError(
            "leave one drive out",
            "must leave some footage; the bundle was taught on nothing else",
            "judge it by drives it was not taught on",
        )
    log_weights = density.log_weights[kept]
    return replace(density, support=density.support[kept], log_weights=log_weights - logsumexp(log_weights))


def _tilted_without(
    density: Density,
    background: Tilted,
    normal: LatentDensity,
    kept: NDArray[np.bool_],
    kept_behind: NDArray[np.bool_],
) -> LatentDensity:
    """The background tilted anew by what is left; not tilted where nothing is left to tilt by."""
    plain = _masked(background.density, kept_behind)
    other = kept_behind & (density.background_drives > density.normal_drives.max(initial=-1))
    if (density.background_drives < 0).all():  # the background that ships, alone
        other = kept_behind
    assert isinstance(normal, Kde)
    assert isinstance(plain, Kde)
    assert isinstance(background.density, Kde)
    if not other.any():
        return Tilted(plain, background.weight, np.zeros_like(background.direction), 0.0)
    sides = _side(density.normal, kept), _side(background.density, other)
    return tilted(normal, plain, *sides, density.projection.scale)


def _side(density: LatentDensity, kept: NDArray[np.bool_]) -> Side:
    left = _masked(density, kept)
    assert isinstance(left, Kde)
    return Side(left.support, np.exp(left.log_weights))
