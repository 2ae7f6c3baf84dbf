"""What the networks of the ablation say of the driving suite, read once and kept.

A recording is decoded once, and each network is shown the same pictures at its own size. Maps are averaged to a grid of
ROWS × COLUMNS cells and to one plain average, so that pooling stays a choice of the method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.arrays import npz
from engines.backends.onnx_runtime import OnnxRuntimeEngine
from engines.console import progress
from engines.encoders import open_encoder
from engines.faults.augment import random_fault
from engines.footage import Recording
from engines.frames import Image
from engines.whole_file import write_whole
from training.manifest import Row, read_manifest
from training.protocols import NORMAL, OTHER, Clip
from training.shipped.imagenet_encoder import make_encoder

WORKING_SIZE = (448, 672)
MOST_FRAMES = 24
EVERY_S = 0.2
ROWS, COLUMNS = 3, 5
COMMON_HEIGHT, COMMON_QUALITY = 240, 60
"""Resolution and JPEG quality to which harmonised pictures are brought."""

Maps = Callable[[Image], NDArray[np.floating]]
"""uint8 N×H×W×3 RGB at the network's size -> N×C×h×w."""


@dataclass(frozen=True, slots=True)
class Network:
    """One way to look at a picture. change: what is done to each picture first."""

    size: tuple[int, int]
    maps: Maps
    change: Callable[[Image, np.random.Generator], Image] | None = None


def harmonised(image: Image, random: np.random.Generator) -> Image:
    """The picture at a common resolution and JPEG quality, whatever it had."""
    small = cv2.resize(image, (COMMON_HEIGHT * 3 // 2, COMMON_HEIGHT), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, COMMON_QUALITY])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def weathered(image: Image, random: np.random.Generator) -> Image:
    """The picture with a mild fault: mist, drops, noise, dusk and their like, under which it is still the same scene."""
    small = cv2.resize(image, (336, 224), interpolation=cv2.INTER_AREA)
    return random_fault(np.asarray(small, np.uint8), random, 3)


def networks(weights: Path) -> dict[str, Network]:
    """Every network of the ablation; ``weights`` is the folder with those of MobileNetV2 and SqueezeNet 1.1."""

    def shipped(name: str) -> tuple[tuple[int, int], Maps]:
        engine = OnnxRuntimeEngine(open_encoder(name)[1].SerializeToString())
        return engine.input_size, lambda images: engine.features(images).late

    def published(size: tuple[int, int], late: int) -> Network:
        model = make_encoder(weights / "mobilenet_v2_1.0_224.npz", size, late)
        engine = OnnxRuntimeEngine(model.SerializeToString())
        return Network(size, lambda images: engine.features(images).late)

    large = shipped("road-large")
    return {
        "road": Network(*shipped("road")),
        "mobilenet 160 channels, 96×144": published((96, 144), 160),
        "mobilenet 320 channels, 160×240": published((160, 240), 320),
        "squeezenet, 224×224": Network((224, 224), squeezenet(weights / "squeezenet1_1_fp16.npz")),
        "road-large": Network(*large),
        "road-large, harmonised": Network(*large, harmonised),
        "road-large, weathered": Network(*large, weathered),
    }


def squeezenet(path: Path) -> Maps:
    """The last features of SqueezeNet 1.1 (Iandola et al. 2016), with which all this began."""
    import torch
    from torchvision.models import squeezenet1_1

    network = squeezenet1_1(weights=None)
    with np.load(path, allow_pickle=False) as stored:
        network.load_state_dict(
            {name: torch.from_numpy(stored[name].astype(np.float32)) for name in stored.files}
        )
    network.eval()
    mean, deviation = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])

    def maps(images: Image) -> NDArray[np.floating]:
        scaled = ((images - mean) / deviation).astype(np.float32).transpose(0, 3, 1, 2)
        with torch.inference_mode():
            return np.asarray(network.features(torch.from_numpy(np.ascontiguousarray(scaled))).numpy())

    return maps


def read_suite(data: Path, weights: Path, cache: Path) -> dict[str, list[Clip]]:
    """The clips of every network. What is in ``cache`` is not computed again."""
    rows = [r for r in read_manifest(data) if r.label in (NORMAL, OTHER)]
    known = networks(weights)
    cache.mkdir(parents=True, exist_ok=True)
    with progress("reading the suite", len(rows), "recordings") as advance:
        stored = []
        for number, row in enumerate(rows):
            stored.append(_read(row, known, cache / f"{number:03d}.npz", number))
            advance(1, row.drive)
    return {
        name: [
            Clip(
                row.drive, row.rig, row.label, row.ship, kept[f"{index}"].astype(np.float32),
                np.zeros((len(kept["times_s"]), 0), np.float32), kept["times_s"],
            )
            for row, kept in zip(rows, stored, strict=True)
        ]
        for index, name in enumerate(known)
    }  # fmt: skip


def _read(row: Row, known: dict[str, Network], path: Path, seed: int) -> dict[str, NDArray[Any]]:
    if path.is_file():
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    every_s = EVERY_S if row.recording.is_video else 0.0
    frames = list(Recording(row.recording, WORKING_SIZE, every_s=every_s))
    frames = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, MOST_FRAMES).astype(int))]
    found: dict[str, NDArray[Any]] = {"times_s": np.array([f.time_s for f in frames])}
    for index, network in enumerate(known.values()):
        random = np.random.default_rng(seed)
        images = [f.image if network.change is None else network.change(f.image, random) for f in frames]
        found[f"{index}"] = _gridded(network, images)
    write_whole(path, npz(found))
    return found


def _gridded(network: Network, images: Sequence[Image]) -> NDArray[np.float16]:
    rows = []
    size = network.size[::-1]
    for start in range(0, len(images), 8):
        batch = [cv2.resize(i, size, interpolation=cv2.INTER_AREA) for i in images[start : start + 8]]
        rows.append(_grid(network.maps(np.stack(batch).astype(np.uint8))))
    return np.concatenate(rows).astype(np.float16)


def _grid(maps: NDArray[np.floating]) -> NDArray[np.floating]:
    """N×C×h×w -> N × C × ROWS·COLUMNS + 1: averages of cells, row by row, which overlap where h or w does not divide;
    and last the average of all."""
    height, width = maps.shape[2:]
    cells = [
        maps[:, :, _part(i, ROWS, height), _part(j, COLUMNS, width)].mean((2, 3))
        for i in range(ROWS)
        for j in range(COLUMNS)
    ]
    return np.stack([*cells, maps.mean((2, 3))], axis=2)


def _part(index: int, parts: int, length: int) -> slice:
    return slice(index * length // parts, -(-(index + 1) * length // parts))
