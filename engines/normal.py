"""The pictures of normal footage in a bundle, and which of them are most like a frame."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.density import Floats, Kde, LatentDensity, Tilted, squared_distances

APART_S = 5.0
"""Pictures of one drive that are closer in time than this show the same moment."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Where the pictures of normal footage lie. names: their files in ``normal/``. times_s: N media seconds within
    their drives. latent: N × d, in the bundle's own whitened latent."""

    names: tuple[str, ...]
    times_s: Floats
    latent: Floats

    def pack(self) -> dict[str, Any]:
        """As the arrays of ``normal.npz``."""
        return {
            "names": np.array(self.names, np.str_),
            "times_s": self.times_s,
            "latent": self.latent.astype(np.float32),
        }

    def of(self, names: Container[str]) -> Moments:
        """Those of ``names``."""
        rows = [i for i, name in enumerate(self.names) if name in names]
        return Moments(tuple(self.names[i] for i in rows), self.times_s[rows], self.latent[rows])


def unpack(stored: Mapping[str, Any]) -> Moments:
    """The moments of ``normal.npz``."""
    return Moments(
        tuple(str(name) for name in stored["names"]),
        np.asarray(stored["times_s"], np.float64),
        np.asarray(stored["latent"], np.float64),
    )


def joined(parts: Sequence[Moments]) -> Moments:
    """All of them."""
    names = tuple(name for part in parts for name in part.names)
    return Moments(
        names,
        np.concatenate([part.times_s for part in parts]),
        np.concatenate([part.latent for part in parts]),
    )


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A picture of normal footage that is like a frame. time_s: in its drive. distance: in the directions of the latent
    that the density looks at, in standard deviations of what the latent is whitened by."""

    name: str
    drive: str
    time_s: float
    distance: float
    jpeg: bytes


class NormalPictures:
    """The pictures of a bundle, to be searched. ``usual``: the median distance of one of them to the nearest of another
    moment: what is near."""

    def __init__(self, folder: Path, drives: Sequence[str], moments: Moments, density: LatentDensity) -> None:
        self._drives, self._moments = drives, moments
        # Read now: who asks for neighbours must not wait for a disk.
        self._jpegs = [(folder / name).read_bytes() for name in moments.names]
        self._leading = _leading(density) or moments.latent.shape[1]
        self._points = moments.latent[:, : self._leading]
        self._numbers = np.array([int(name.partition("_")[0]) for name in moments.names], np.int64)
        between = squared_distances(self._points, self._points)
        for i in range(len(between)):
            between[i, self._same_moment(i)] = np.inf
        nearest = np.sqrt(between.min(axis=1, initial=np.inf))
        finite = nearest[np.isfinite(nearest)]
        self.usual = float(np.median(finite)) if finite.size else float("nan")

    def nearest(self, latent: NDArray[np.floating], count: int = 3) -> tuple[Neighbour, ...]:
        """Return the ``count`` pictures nearest to a frame's latent (d), of different moments, the nearest first; none
        for a latent that is not finite."""
        if not np.isfinite(latent).all():
            return ()
        point = np.asarray(latent[None, : self._leading], np.float64)
        distances = np.sqrt(squared_distances(point, self._points))[0]
        found: list[Neighbour] = []
        while len(found) < count and np.isfinite(distances).any():
            i = int(np.argmin(distances))
            found.append(self._neighbour(i, float(distances[i])))
            distances[self._same_moment(i)] = np.inf
        return tuple(found)

    def _same_moment(self, i: int) -> NDArray[np.bool_]:
        times_s = self._moments.times_s
        return np.asarray((self._numbers == self._numbers[i]) & (np.abs(times_s - times_s[i]) < APART_S))

    def _neighbour(self, i: int, distance: float) -> Neighbour:
        name = self._moments.names[i]
        drive = self._drives[self._numbers[i]]
        return Neighbour(name, drive, float(self._moments.times_s[i]), distance, self._jpegs[i])


def _leading(density: LatentDensity) -> int:
    """How many directions of the latent a density looks at; 0 for all."""
    match density:
        case Tilted():
            return _leading(density.density)
        case Kde():
            return density.leading
    return 0
