"""Random views of footage: crops, light, colour and mild damage, so that few drives show a background many scenes.

Random zooms make whole pictures of a kerb, a tree or a lorry, as Asano & Saeed (2021, "Extrapolating from a Single Image to
a Thousand Classes using Distillation") do to teach a network by very few pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from engines.footage import Recording, find_drives
from engines.frames import Image

WORKING_SIZE = (360, 540)
"""Height and width at which footage is kept in memory for cropping."""


def load_drives(paths: list[Path], every: int) -> list[list[Image]]:
    """Decode every ``every``-th frame of each drive at the working size; folders of stills are kept whole."""
    drives = []
    for drive in find_drives(paths):
        step = every if drive.is_video else 1
        drives.append([f.image for f in Recording(drive, WORKING_SIZE) if f.index % step == 0])
    return drives


def random_view(
    image: Image, size: tuple[int, int], random: np.random.Generator, *, whole: bool = False
) -> Image:
    """Return one augmented view (uint8, height × width × 3) of ``image``; ``whole`` leaves light, colour and
    frame alone."""
    if whole:
        return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    view = _crop(image, size, random)
    if random.random() < 0.5:
        view = view[:, ::-1]
    return _damage(_relight(np.ascontiguousarray(view), random), random)


def _crop(image: Image, size: tuple[int, int], random: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    whole = random.random() < 0.5
    area = random.uniform(0.7, 1.0) if whole else random.uniform(0.06, 0.5)
    stretch = np.exp(random.uniform(-0.25, 0.25))
    h = int(min(height, height * np.sqrt(area) * stretch))
    w = int(min(width, width * np.sqrt(area) / stretch))
    top, left = random.integers(0, height - h + 1), random.integers(0, width - w + 1)
    method = cv2.INTER_AREA if h > size[0] else cv2.INTER_LINEAR
    return np.asarray(
        cv2.resize(image[top : top + h, left : left + w], size[::-1], interpolation=method), np.uint8
    )


def _relight(view: Image, random: np.random.Generator) -> Image:
    gamma, gain = np.exp(random.normal(0, 0.3)), np.exp(random.normal(0, 0.15))
    tint = np.exp(random.normal(0, 0.08, 3))
    curve = (np.linspace(0, 1, 256) ** gamma)[:, None] * gain * tint * 255.0
    table = np.clip(curve, 0, 255).astype(np.uint8)
    lit = np.stack([table[:, c][view[:, :, c]] for c in range(3)], axis=2)
    if random.random() < 0.1:
        grey = cv2.cvtColor(lit, cv2.COLOR_RGB2GRAY)
        lit = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    return np.asarray(lit, np.uint8)


def _damage(view: Image, random: np.random.Generator) -> Image:
    if random.random() < 0.15:
        view = np.asarray(cv2.GaussianBlur(view, (0, 0), float(random.uniform(0.5, 4.0))), np.uint8)
    if random.random() < 0.15:
        noisy = view + random.normal(0, random.uniform(2, 15), view.shape)
        view = np.clip(noisy, 0, 255).astype(np.uint8)
    if random.random() < 0.3:
        _, data = cv2.imencode(".jpg", view, [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(20, 90))])
        view = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return view
