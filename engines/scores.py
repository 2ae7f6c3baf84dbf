"""What an encoder says of frames, what a bundle knows of normal ones, and the scores that follow from both.

``reference_scores`` is the definition, in numpy float64, that every engine must agree with."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from engines.density import Floats, Kde, LatentDensity, Projection


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What an encoder says of N frames; all but ``late`` only where the encoder has it.

    late: N×C×h×w map, or N×C. early: N×E statistics of early layers. reconstruction: N errors of the decoder.
    heat: N×h×w error map of the decoder."""

    late: NDArray[np.floating]
    early: NDArray[np.floating] | None = None
    reconstruction: NDArray[np.floating] | None = None
    heat: NDArray[np.floating] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """What single cells of the late map look like in normal footage, wherever in the picture they are."""

    projection: Projection
    density: Kde

    def heat(self, late: NDArray[np.floating]) -> Floats:
        """N×C×h×w late map -> N×h×w surprise of each cell, nats."""
        count, channels, height, width = late.shape
        rows = late.transpose(0, 2, 3, 1).reshape(-1, channels).astype(np.float64)
        return self.density.surprise(self.projection.latent(rows)).reshape(count, height, width)


def _nobody() -> NDArray[np.int64]:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Density:
    """What one bundle knows: how late features are pooled and projected, and what is normal there.

    pooling: cells × K, from the late map's cells to K pooled vectors (a column of 1/cells is the plain
    average). background is None where scores are not relative to one. early_projection and early: the same
    for the early statistics; None for encoders without them. within: k × k inverse covariance of the k
    leading latent directions around their own drive's mean: how far normal drives wander. cells: of the late
    map; None where it has none, or where the decoder's error is the heat map. normal_drives, background_drives:
    which taught drive each support point of ``normal`` (and ``early``) and of ``background`` comes from, -1 for
    none of them; empty for densities without support points."""

    pooling: Floats
    projection: Projection
    normal: LatentDensity
    background: LatentDensity | None
    early_projection: Projection | None
    early: Kde | None
    within: Floats
    cells: Cells | None = None
    normal_drives: NDArray[np.int64] = field(default_factory=_nobody)
    background_drives: NDArray[np.int64] = field(default_factory=_nobody)

    def damage(self, early: NDArray[np.floating] | None, frames: int) -> Floats:
        """-log density of the early statistics (N × E) of N ``frames``, nats; zeros where there are none."""
        if early is None or self.early is None or self.early_projection is None:
            return np.zeros(frames)
        return self.early.surprise(self.early_projection.latent(early.astype(np.float64)))


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What an engine says of N frames. Higher is stranger in every channel.

    surprise: N, -log density of the latent under the normal footage, nats.
    background: N, the same under the background (constant 0 where the bundle has none), nats.
    residual: N, length of the normalised feature outside the projection's span.
    damage: N, -log density of the early statistics, nats (0 where the encoder has none).
    reconstruction: N, error of the encoder's decoder (0 where it has none).
    latent: N × d.
    heat: N×h×w, where in the picture it is strange: surprise of each cell in nats, or the decoder's error (N×1×1
    zeros where the encoder has neither map nor decoder).
    """

    surprise: NDArray[np.floating]
    background: NDArray[np.floating]
    residual: NDArray[np.floating]
    damage: NDArray[np.floating]
    reconstruction: NDArray[np.floating]
    latent: NDArray[np.floating]
    heat: NDArray[np.floating]

    @property
    def domain(self) -> NDArray[np.floating]:
        """Surprise relative to the background: the log ratio of the two densities, nats."""
        return self.surprise - self.background

    def __len__(self) -> int:
        return len(self.surprise)


def part(scores: Scores, rows: slice) -> Scores:
    """Some frames' scores, as views."""
    return Scores(*(getattr(scores, f.name)[rows] for f in fields(Scores)))


def pooled(late: NDArray[np.floating], pooling: Floats) -> Floats:
    """Late map N×C×h×w (or N×C) and pooling h·w × K -> features N × C·K in float64."""
    cells = late.reshape(late.shape[0], late.shape[1], -1).astype(np.float64)
    return np.asarray((cells @ pooling).reshape(late.shape[0], -1))


def reference_scores(density: Density, features: Features) -> Scores:
    """Score encoder outputs in float64; what every engine must agree with."""
    rows = pooled(features.late, density.pooling)
    latent = density.projection.latent(rows)
    zeros = np.zeros(len(latent))
    return Scores(
        surprise=density.normal.surprise(latent),
        background=zeros if density.background is None else density.background.surprise(latent),
        residual=density.projection.residual(rows),
        damage=density.damage(features.early, len(latent)),
        reconstruction=zeros
        if features.reconstruction is None
        else features.reconstruction.astype(np.float64),
        latent=latent,
        heat=_heat(density, features),
    )


def _heat(density: Density, features: Features) -> Floats:
    if features.heat is not None:
        return features.heat.astype(np.float64)
    if density.cells is not None:
        return density.cells.heat(features.late)
    return np.zeros((len(features.late), 1, 1))
