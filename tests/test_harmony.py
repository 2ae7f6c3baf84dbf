"""Does harmonisation hide what a recording was stored as? Measured on the real footage, which is not part of the project:
without it this test says so and skips."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engines.footage import Recording
from engines.frames import Image
from training.manifest import read_manifest
from training.train.augment import Augmentation, Harmony, Viewer, resized
from training.train.data import Sample

DRIVING = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "driving"
SIZE, KEPT, OWN = (96, 144), (120, 180), (270, 480)
DRIVES, FRAMES = 12, 6

pytestmark = [
    pytest.mark.footage,
    pytest.mark.skipif(
        not DRIVING.is_dir(), reason="the driving footage is not here (../shared/data/driving)"
    ),
]


def compressed(image: Image) -> Image:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 12])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


FORMATS: dict[str, Callable[[Image], Image]] = {
    "as it is": lambda image: image,
    "4:3": lambda image: image[:, 60:420],
    "letterbox": lambda image: image[50:220],
    "90 lines": lambda image: resized(resized(image, (90, 160)), OWN),
    "135 lines, JPEG 12": lambda image: compressed(resized(image, (135, 240))),
}
"""The same pictures as five data sets might keep them."""


def statistics(image: Image) -> list[float]:
    """Where along rows and columns the energy lies, and how sharp luma and chroma are: traces of a format."""
    ycc = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    luma = ycc[..., 0]
    bands: list[float] = []
    for axis in (0, 1):
        spectrum = np.abs(np.fft.rfft(luma - luma.mean(axis, keepdims=True), axis=axis)).mean(1 - axis)[1:]
        levels = [np.log(part.mean() + 1e-3) for part in np.array_split(spectrum, 6)]
        bands += [float(level - levels[0]) for level in levels[1:]]
    along, down = (np.log(np.abs(np.diff(luma, axis=axis)).mean() + 0.1) for axis in (1, 0))
    sharp = [np.log(np.abs(cv2.Laplacian(ycc[..., c], cv2.CV_32F)).mean() + 0.05) for c in (0, 1)]
    return [*bands, float(along - down), float(sharp[0] - np.log(luma.std() + 1.0)), float(sharp[1])]


def told(features: NDArray[np.float64]) -> float:
    """Share of pictures whose format the nearest centroid names, taught on all drives but theirs.

    features: drives × formats × frames × D."""
    right = []
    for drive in range(len(features)):
        taught = np.delete(features, drive, 0)
        scale = taught.std((0, 1, 2)) + 1e-9
        centroids = taught.mean((0, 2))
        distances = np.square((features[drive][:, :, None] - centroids) / scale).sum(3)
        right.append(distances.argmin(2) == np.arange(len(FORMATS))[:, None])
    return float(np.mean(right))


def test_formats_of_the_same_footage_are_told_less_after_harmonisation() -> None:
    """Five formats, so that a guess is right in .2. What is measured is in docs/training.md."""
    rows = {r.rig: r for r in read_manifest(DRIVING) if r.recording.is_video and r.rig != "idd"}
    read = (islice(Recording(r.recording, OWN, every_s=0.5), FRAMES) for r in rows.values())
    footage = [[frame.image for frame in frames] for frames in islice(read, DRIVES)]
    footage = [images for images in footage if len(images) == FRAMES]
    assert len(footage) >= 10

    def seen(harmony: Harmony | None) -> NDArray[np.float64]:
        viewer, random = Viewer(SIZE, Augmentation(crop=0.0, light=0.0), harmony), np.random.default_rng(0)

        def view(image: Image) -> list[float]:
            sample = Sample(resized(image, KEPT), image.shape[1] / image.shape[0])
            return statistics(viewer.view(sample, random)[0])

        return np.array(
            [[[view(keep(i)) for i in images] for keep in FORMATS.values()] for images in footage]
        )

    before, usual, strong = (
        told(seen(h)) for h in (None, Harmony(share=1.0), Harmony(share=1.0, height=48, quality=30))
    )
    print(f"told without harmonisation {before:.3f}, with it {usual:.3f}, with a strong one {strong:.3f}")
    assert before > 0.35
    assert usual < before - 0.05
    assert strong < usual
