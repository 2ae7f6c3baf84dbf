"""What heat maps say of where MVTec's bottles are broken: the maps of bundles taught on good pictures alone."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.footage import Recording, find_drives
from engines.frames import Image
from training.leaderboard.figures import Heat
from training.leaderboard.models import Model
from training.segmentation import Localisation, localise
from training.teach import Lesson, teach

PACE = 1.0
"""Pictures per second: those that follow on nothing are calibrated on as if they were far apart."""
PLAIN_SIZE = (96, 96)


def heat(model: Model, bottle: Path) -> Heat:
    """The map that a bundle gives: surprise of cells, or what a decoder misses."""
    good = find_drives([bottle / "train" / "good"])
    with tempfile.TemporaryDirectory() as folder:
        encoder = (model.name, model.of_bottles, model.background)
        bundle, _ = teach(Path(folder) / "bottle", encoder, good, lesson=Lesson(images_per_second=PACE))
        engine = OnnxRuntimeEngine(bundle.model_path, 1)
        shape: list[tuple[int, ...]] = []

        def maps(images: Image) -> NDArray[np.floating]:
            found = engine.score(images).heat
            assert found is not None
            shape.append(found.shape[1:])
            return found

        found = localise(maps, engine.input_size, bottle)
    return _heat(model.name, shape[0], found)


def plain(bottle: Path) -> Heat:
    """What no model is needed for: how far every pixel is from the mean good picture."""
    (good,) = find_drives([bottle / "train" / "good"])
    mean = np.mean([f.image.astype(np.float64) for f in Recording(good, PLAIN_SIZE)], axis=0)
    found = localise(lambda images: np.abs(images - mean).mean(3), PLAIN_SIZE, bottle)
    return _heat("difference from the mean good picture", PLAIN_SIZE, found)


def _heat(name: str, shape: tuple[int, ...], found: Localisation) -> Heat:
    return Heat(name, (shape[0], shape[1]), found.auroc, found.precision, found.region_overlap)
