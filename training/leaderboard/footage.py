"""The driving suite and pictures of bottles, decoded once for all models, and what each model says of them, kept in a cache.

Features are kept by the sha256 of the encoder that made them, so that a new encoder is the only one that is asked again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.arrays import npz
from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.console import progress
from engines.density import Floats
from engines.footage import Recording, find_drives
from engines.frames import Image
from engines.whole_file import write_whole
from training.leaderboard.models import Model, features, key
from training.manifest import Row, read_manifest
from training.protocols import NORMAL, OTHER, Clip

WORKING_SIZE = (224, 336)
EVERY_S = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Filmed:
    """One recording of the suite, decoded. images: N×H×W×3 at WORKING_SIZE. changes: N, mean absolute difference to the
    frame EVERY_S before; NaN for stills."""

    row: Row
    images: Image
    times_s: Floats
    changes: Floats

    def clip(self, late: NDArray[Any]) -> Clip:
        """With N × D features."""
        row, none = self.row, np.zeros((len(late), 0), np.float32)
        return Clip(row.drive, row.rig, row.label, row.ship, late.astype(np.float32), none, self.times_s)


def film(data: Path, cache: Path, frames: int) -> list[Filmed]:
    """Every recording of the suite, up to ``frames`` evenly spaced frames each."""
    rows = [r for r in read_manifest(data) if r.label in (NORMAL, OTHER)]
    folder = cache / f"frames-{frames}"
    folder.mkdir(parents=True, exist_ok=True)
    filmed = []
    with progress("reading the suite", len(rows), "recordings") as advance:
        for row in rows:
            name = hashlib.sha256(str(row.recording.path.resolve()).encode()).hexdigest()[:16]
            filmed.append(_filmed(row, folder / f"{name}.npz", frames))
            advance(1, row.drive)
    return filmed


def _filmed(row: Row, path: Path, most: int) -> Filmed:
    if not path.is_file():
        is_video = row.recording.is_video
        found = list(Recording(row.recording, WORKING_SIZE, every_s=EVERY_S if is_video else 0.0))
        kept = np.unique(np.linspace(0, len(found) - 1, most).astype(int))
        changes = [
            np.abs(
                found[i].image.astype(np.int16) - found[i - 1 if i else min(1, len(found) - 1)].image
            ).mean()
            if is_video
            else np.nan
            for i in kept
        ]
        arrays = {
            "images": np.stack([found[i].image for i in kept]),
            "times_s": np.array([found[i].time_s for i in kept]),
            "changes": np.array(changes),
        }
        write_whole(path, npz(arrays))
    with np.load(path, allow_pickle=False) as stored:
        return Filmed(row, stored["images"], stored["times_s"], stored["changes"])


def encoded(model: Model, filmed: Sequence[Filmed], cache: Path) -> dict[str, list[Clip]]:
    """The suite through a model: its pooled features as ``late``, and what its decoder misses as ``reconstruction``."""
    path = cache / f"features-{len(filmed)}-{sum(len(f.images) for f in filmed)}-{key(model.graph)}.npz"
    if not path.is_file():
        engine = OnnxRuntimeEngine(model.graph.SerializeToString(), 1)
        arrays = {}
        with progress(f"{model.name} looks at the suite", len(filmed), "recordings") as advance:
            for number, one in enumerate(filmed):
                images = resized(one.images, engine.input_size)
                for name, rows in features(model.graph, model.background, images, engine).items():
                    arrays[_stored(name, number)] = rows
                advance(1, one.row.drive)
        write_whole(path, npz(arrays))
    with np.load(path, allow_pickle=False) as stored:
        return {
            name: [one.clip(stored[_stored(name, number)]) for number, one in enumerate(filmed)]
            for name in ("late", "reconstruction")
            if _stored(name, 0) in stored
        }


def _stored(name: str, number: int) -> str:
    return f"{number}" if name == "late" else f"{name} {number}"


SIDES = ("normal", "good", "defective")
"""Good pictures to learn from, good ones and defective ones to test."""


def pictured(model: Model, bottle: Path, cache: Path) -> dict[str, list[Clip]]:
    """MVTec AD's layout through a model: as ``encoded``, a clip for each of SIDES."""
    graph = model.of_bottles
    path = cache / f"bottle-{key(graph)}.npz"
    if not path.is_file():
        engine = OnnxRuntimeEngine(graph.SerializeToString(), 1)
        found: dict[str, list[Floats]] = {}
        for drive in [*find_drives([bottle / "train"]), *find_drives([bottle / "test"])]:
            images = np.stack([f.image for f in Recording(drive, engine.input_size)])
            is_taught = drive.path.parent.name == "train"
            which = "normal" if is_taught else "good" if drive.path.name == "good" else "defective"
            for name, rows in features(graph, model.background, images, engine).items():
                found.setdefault(which if name == "late" else f"{name} {which}", []).append(rows)
        write_whole(path, npz({which: np.concatenate(parts) for which, parts in found.items()}))
    with np.load(path, allow_pickle=False) as stored:
        names = {"late": "", "reconstruction": "reconstruction "}
        return {
            name: [_pictures(stored[prefix + side], side) for side in SIDES]
            for name, prefix in names.items()
            if prefix + SIDES[0] in stored
        }


def _pictures(rows: NDArray[Any], name: str) -> Clip:
    none = np.zeros((len(rows), 0), np.float32)
    return Clip(name, "bottle", name, False, rows.astype(np.float32), none, np.arange(len(rows)) / 1.0)


def resized(images: Image, size: tuple[int, int]) -> Image:
    """N×H×W×3 at ``size`` (height, width)."""
    return np.stack([cv2.resize(i, size[::-1], interpolation=cv2.INTER_AREA) for i in images]).astype(
        np.uint8
    )
