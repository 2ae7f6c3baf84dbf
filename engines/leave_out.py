"""A bundle as though some of its drives had not been taught: leave-one-drive-out without teaching again.

The density keeps, of each support point, the drive it comes from, and the calibration keeps each held-out unit's
peaks; so both can do without a drive. What is left of it: a projection that was learnt from the footage itself, the
bandwidth, and a little in the thresholds, since the other units were scored with the drive still among the taught.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.decision import calibration_without
from engines.density import Direct, Kde, LatentDensity, logsumexp, within_precision
from engines.errors import CalibrationError
from engines.scores import Density, Scores

STILL_ALPHA = 0.01


def without(bundle: Bundle, drives: Set[int]) -> Bundle:
    """Return the bundle without ``drives``, numbers among its taught ones (``manifest.drives``, then ``others``).

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
        left = _kde_without(density.normal, ~mine)
        domain[mine] = left.surprise(support[mine])
    if density.background is not None:
        domain -= density.background.surprise(support)
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
    within = density.within
    if isinstance(normal, Kde):
        within = within_precision(normal.support[:, : len(within)], density.normal_drives[kept])
    return replace(
        density,
        normal=normal,
        background=None if density.background is None else _masked(density.background, kept_behind),
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
    return Kde(density.support[kept], log_weights - logsumexp(log_weights), density.bandwidth)
