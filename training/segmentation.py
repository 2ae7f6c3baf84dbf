"""How well a heat map says *where* a defect is, by masks in the layout of MVTec AD (Bergmann et al. 2021): NumPy and
OpenCV alone.

``test/KIND/*`` are pictures, ``test/good`` those without a defect, ``ground_truth/KIND/NAME_mask.png`` the defects of
each other one. Nothing is chosen here: a heat map comes in, and what it is worth comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import InputError
from engines.footage import Drive, Recording, find_drives
from engines.frames import Image
from engines.metrics import auprc, auroc, between

Heat: TypeAlias = Callable[[Image], NDArray[np.floating]]
"""uint8 N×H×W×3 RGB -> N×h×w, higher is stranger: ``engine.score(images).heat``."""

GOOD = "good"
MOST_FALSE = 0.3
"""Share of false pixels up to which the overlap of regions is integrated, as Bergmann et al. do."""
BATCH = 16


@dataclass(frozen=True, slots=True)
class Localisation:
    """auroc: that a pixel of a defect is hotter than one of none, over all pictures. precision: average precision of the same
    ranking, which is the share of defect pixels where there is none but chance. region_overlap: the share of a defect that
    is found, mean over defects, be they large or small, and over thresholds up to 30 % false pixels (PRO; .15 is
    chance). defects: AUROC of each kind against all pixels of none. pictures: how many were looked at."""

    auroc: float
    precision: float
    region_overlap: float
    defects: dict[str, float]
    pictures: int


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """One picture. kind: its folder. scores: H×W heat at the mask's size. mask: H×W, what is a defect."""

    kind: str
    scores: NDArray[np.float32]
    mask: NDArray[np.bool_]


def localise(heat: Heat, size: tuple[int, int], folder: Path) -> Localisation:
    """Judge ``heat``, which takes pictures of ``size`` (height, width), by the test pictures in ``folder``; what is not in
    the layout, or has no mask, raises InputError."""
    pictures = [picture for drive in _kinds(folder) for picture in _judged(heat, size, folder, drive)]
    sound = np.sort(np.concatenate([p.scores[~p.mask] for p in pictures]))
    kinds = {p.kind: [q.scores[q.mask] for q in pictures if q.kind == p.kind] for p in pictures}
    kinds.pop(GOOD, None)
    defects = {kind: auroc(between(sound, np.concatenate(inside))) for kind, inside in kinds.items()}
    curve = between(sound, np.concatenate([scores for kind in kinds.values() for scores in kind]))
    regions = [region for p in pictures for region in _regions(p)]
    return Localisation(auroc(curve), auprc(curve), _overlap(sound, regions), defects, len(pictures))


def _kinds(folder: Path) -> list[Drive]:
    found = find_drives([folder / "test"])
    if all(drive.path.name == GOOD for drive in found):
        raise InputError(
            folder / "test",
            "must hold a folder for each kind of defect, holds none",
            "see the layout of MVTec AD",
        )
    return found


def _judged(heat: Heat, size: tuple[int, int], folder: Path, drive: Drive) -> Iterator[_Judged]:
    kind = drive.path.name
    recording = Recording(drive, size)
    frames = iter(recording)
    while batch := list(islice(frames, BATCH)):
        maps = heat(np.stack([f.image for f in batch])).astype(np.float32)
        for frame, cells in zip(batch, maps, strict=True):
            mask = _mask(folder, kind, drive.files[frame.index], frame.luma.shape)
            yield _Judged(kind, np.asarray(cv2.resize(cells, mask.shape[::-1]), np.float32), mask)


def _mask(folder: Path, kind: str, picture: Path, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if kind == GOOD:
        return np.zeros(shape, np.bool_)
    file = folder / "ground_truth" / kind / f"{picture.stem}_mask.png"
    mask = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) if file.is_file() else None
    if mask is None:
        raise InputError(
            file, f"must be the mask of {picture.name}; it cannot be read", "see the layout of MVTec AD"
        )
    if mask.shape != shape or not mask.any():
        what = "is empty" if mask.shape == shape else f"is {mask.shape[0]} × {mask.shape[1]}"
        raise InputError(file, f"must mark a defect in {shape[0]} × {shape[1]} pixels, {what}", "correct it")
    return np.asarray(mask > 0)


def _regions(picture: _Judged) -> Iterator[NDArray[np.float32]]:
    """The scores of each connected defect, ascending."""
    count, labels = cv2.connectedComponents(picture.mask.astype(np.uint8))
    for region in range(1, count):
        yield np.sort(picture.scores[labels == region])


def _overlap(sound: NDArray[np.float32], regions: list[NDArray[np.float32]]) -> float:
    shares = np.linspace(0.0, MOST_FALSE, 301)
    thresholds = sound[np.ceil((1.0 - shares) * (len(sound) - 1)).astype(np.int64)]
    found = [1.0 - np.searchsorted(region, thresholds, "right") / len(region) for region in regions]
    return float(np.trapezoid(np.mean(found, axis=0), shares) / MOST_FALSE)
